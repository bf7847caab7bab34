"""Give back what the machine's own plugins have taken over, without a daemon: what `down` does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from privacy_router.client.names import bus_address
from privacy_router.daemon.plugins import all_plugins
from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.journal import Journal
from privacy_router.errors import PrivacyRouterError
from privacy_router.host.dbus import Bus
from privacy_router.plugins.privacy_router import PrivacyRouterPlugin
from privacy_router.plugins.target import Machine

if TYPE_CHECKING:
    from privacy_router.node.paths import NodePaths


async def release_all(paths: NodePaths) -> int:
    """Undo a run that was cut short, and declare nothing; how many changes that took.

    The caller holds the node's lock, and has taken the node itself down. Raises what applying does.
    """
    journal = paths.journal
    if not journal.exists() and not journal.is_symlink():  # a link to nowhere is refused below
        return 0
    bus = Bus(bus_address(os.environ))
    node = PrivacyRouterPlugin(paths, going_down=True)
    engine = Engine(all_plugins(Machine(bus), node), Journal(paths.journal))
    try:
        await engine.recover()
        if engine.confirmation.number is not None:
            await engine.roll_back("taken down")
        return len((await engine.apply(Source())).changes)
    finally:
        await engine.close()
        await bus.close()


def not_given_back(error: PrivacyRouterError) -> PrivacyRouterError:
    """What `down` says when that fails: the same error, and what it is about."""
    told = PrivacyRouterError(
        f"what other plugins have taken over is not given back: {error.message}",
        remedy=error.remedy,
        retryable=error.retryable,
    )
    told.exit_code = error.exit_code
    return told
