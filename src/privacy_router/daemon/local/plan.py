"""What applying a document would change, worked out without op-dbus."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from privacy_router.client.names import bus_address
from privacy_router.client.rows import ChangeRow
from privacy_router.daemon.logging import set_up_logging
from privacy_router.daemon.plugins import all_plugins
from privacy_router.engine.journal import Journal
from privacy_router.engine.order import in_order
from privacy_router.engine.planning import make_preview
from privacy_router.engine.plugin import Trust
from privacy_router.host.dbus import Bus
from privacy_router.plugins.privacy_router import PrivacyRouterPlugin
from privacy_router.plugins.target import Machine

if TYPE_CHECKING:
    from privacy_router.engine.document import Source
    from privacy_router.engine.model import Change
    from privacy_router.node.paths import NodePaths


async def plan(paths: NodePaths, source: Source) -> list[ChangeRow]:
    """The changes that the document asks for. Raises what planning does."""
    set_up_logging(verbose=False)
    managed = Journal(paths.journal).managed() if paths.journal.exists() else {}
    bus = Bus(bus_address(os.environ))
    plugins = in_order(all_plugins(Machine(bus), PrivacyRouterPlugin(paths)))
    try:
        found = await make_preview(plugins, source, source.sections(), managed, Trust.OWNER)
    finally:
        await bus.close()
    return [_row(change) for change in found.changes]


def _row(change: Change) -> ChangeRow:
    key, mode = change.key, change.mode.value
    sides = (change.before, change.after)
    more = (mode, change.by, change.note)
    return ChangeRow(change.verb, key.plugin, key.kind, key.name, *sides, *more)
