"""The bridge, and what is set on it or, where that is the node's own, on all of Open vSwitch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.node.kinds.contract import Down, NodeKind, Role
from privacy_router.values.bridges import BridgeItemKey, BridgeKey, BridgeSettingKey, SwitchValue
from privacy_router.values.items import ItemValue, Kind, Present

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Look
    from privacy_router.node.kinds.session import Session


def observe(look: Look) -> Iterator[tuple[BridgeItemKey, ItemValue]]:
    """The node's bridge and every setting that is not Open vSwitch's default."""
    row, bridge = look.bridge, look.desired.bridge
    if row is None:
        return
    yield BridgeKey(bridge.name), Present()
    settings = {**row.bridge_settings, **(row.root_settings if bridge.whole else {})}
    for setting, value in settings.items():
        yield BridgeSettingKey(bridge.name, setting), SwitchValue(value)


def apply(session: Session, key: BridgeItemKey, before: ItemValue | None, after: ItemValue) -> None:
    """Have all of the bridge made."""
    del key, before, after
    session.switch.begin()


def remove(session: Session, key: BridgeItemKey, before: ItemValue) -> None:
    """Delete the bridge; a setting goes when all of the bridge is made."""
    del before
    if isinstance(key, BridgeKey):
        session.switch.delete_bridge(key.bridge)
    else:
        session.switch.begin()


BRIDGE: Final = NodeKind(
    kind=Kind.BRIDGE,
    domain="net",
    role=Role.APART,
    down=Down.TAKEN,
    keys=(BridgeKey, BridgeSettingKey),
    values=(Present, SwitchValue),
    observe=observe,
    apply=apply,
    remove=remove,
)
