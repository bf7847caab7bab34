"""The bridge's ports that are the node's, and what is set on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.node.kinds.contract import Down, NodeKind, Role
from privacy_router.values.bridges import (
    PortItemKey,
    PortKey,
    PortSettingKey,
    PortSpec,
    SwitchValue,
)
from privacy_router.values.items import ItemValue, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Look
    from privacy_router.node.kinds.session import Session


def observe(look: Look) -> Iterator[tuple[PortItemKey, ItemValue]]:
    """Those that are the node's by their mark or by its plan; others are containers'."""
    row, bridge = look.bridge, look.desired.bridge.name
    if row is None:
        return
    for setting, value in row.port_settings.items():
        yield PortSettingKey(bridge, setting), SwitchValue(value)
    for port in row.ports.values():
        key = PortKey(bridge, port.name)
        if port.ours or key in look.desired.items:
            yield key, port.spec


def apply(session: Session, key: PortItemKey, before: ItemValue | None, after: ItemValue) -> None:
    """Have all of the bridge made."""
    del key, before, after
    session.switch.begin()


def remove(session: Session, key: PortItemKey, before: ItemValue) -> None:
    """The same: what is not wanted goes with it."""
    del key, before
    session.switch.begin()


PORT: Final = NodeKind(
    kind=Kind.PORT,
    domain="net",
    role=Role.APART,
    down=Down.WITH_BRIDGE,
    keys=(PortKey, PortSettingKey),
    values=(PortSpec, SwitchValue),
    observe=observe,
    apply=apply,
    remove=remove,
)
