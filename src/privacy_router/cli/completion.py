"""Names that the shell completes: those that op-dbus knows, and none where it cannot be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.client import bus as daemons
from privacy_router.client.names import name_in
from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from privacy_router.client.bus import Daemon


def checkpoint_names(incomplete: str) -> list[str]:
    """The checkpoints that begin so, the newest first."""

    async def names(daemon: Daemon) -> list[str]:
        (rows,) = await daemon.call("ListCheckpoints")
        return [name for name, *_ in rows]

    return _beginning(incomplete, names)


def plugin_names(incomplete: str) -> list[str]:
    """The plugins that begin so."""
    return _beginning(incomplete, _of_objects("Plugins"))


def client_names(incomplete: str) -> list[str]:
    """The clients of the node that is up that begin so."""
    return _beginning(incomplete, _of_objects("Clients"))


def _of_objects(property_name: str) -> Callable[[Daemon], Coroutine[Any, Any, list[str]]]:
    async def names(daemon: Daemon) -> list[str]:
        return [name_in(path) for path in await daemon.property(property_name)]

    return names


def _beginning(
    incomplete: str, ask: Callable[[Daemon], Coroutine[Any, Any, list[str]]]
) -> list[str]:
    try:
        return [name for name in daemons.with_daemon(ask) if name.startswith(incomplete)]
    except PrivacyRouterError:
        return []
