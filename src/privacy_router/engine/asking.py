"""On whose behalf a run goes on: who asks over D-Bus is a process of its own, perhaps in a session
that the run is about to end."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

asking_pid: Final[ContextVar[int | None]] = ContextVar("asking_pid", default=None)
"""The process that asked; None when nobody did (a start, a signal, drift)."""
