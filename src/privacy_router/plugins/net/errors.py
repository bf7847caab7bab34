"""What the kernel refuses, in words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from collections.abc import Iterator


class KernelRefusedError(PrivacyRouterError):
    """The kernel did not make a change."""


@contextmanager
def doing(what: str, remedy: str = "") -> Iterator[None]:
    """Name what could not be done. Raises KernelRefusedError in place of OSError."""
    try:
        yield
    except OSError as error:
        raise KernelRefusedError(
            f"cannot {what}: {error.strerror or error}",
            remedy=remedy or "see whether the document says something else about it",
        ) from error
