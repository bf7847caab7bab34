"""Nothing here may block the event loop."""

from __future__ import annotations

from tests.blocking import no_blocking_in_the_loop

__all__ = ["no_blocking_in_the_loop"]
