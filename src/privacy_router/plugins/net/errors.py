"""What the kernel refuses, in words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.plugins.net.names import RouteName


Error = TypeVar("Error", bound=PrivacyRouterError)


class KernelRefusedError(PrivacyRouterError):
    """The kernel did not make a change."""


def not_on_the_link(kind: type[Error], route: RouteName, router: str, device: str | None) -> Error:
    """The error of that kind for a route by a router that the machine does not reach without
    another router."""
    link = "any link of the machine" if device is None else f"the link of {device}"
    prefix = route.destination.max_prefixlen
    return kind(
        f"the route to {route.destination}: its router {router} is not on {link}: no address, and"
        " no route without a router, has it",
        remedy=f'declare a route {{"to": "{router}/{prefix}", "dev": …}} too, or "onlink": true'
        " for this one, or correct the router's address",
    )


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
