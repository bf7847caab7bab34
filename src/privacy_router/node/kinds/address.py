"""Addresses of devices. One whose kernel's routes are gone counts as missing: it is of no use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.node.kinds.contract import Down, PlacedKind, Role
from privacy_router.node.kinds.place import path_of
from privacy_router.values.items import Kind
from privacy_router.values.network import AddressKey, AddressValue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Place
    from privacy_router.node.kinds.session import Session


def observe(place: Place) -> Iterator[tuple[AddressKey, AddressValue]]:
    """Every address but the link-local ones. Raises OSError, NetlinkError."""
    for device, address in place.netlink.all_addresses():
        if place.routes.follow(device, address):
            yield AddressKey(place.where, device, address), AddressValue(device, address)


def apply(
    session: Session, key: AddressKey, before: AddressValue | None, after: AddressValue
) -> None:
    """Put it on its device, with the kernel's routes."""
    del before
    session.netlink(path_of(key.where)).replace_address(after.device, after.address)


def remove(session: Session, key: AddressKey, before: AddressValue) -> None:
    """Take it off; with its device it has gone already."""
    netlink = session.netlink(path_of(key.where))
    if netlink.index(before.device) is not None:
        netlink.delete_address(before.device, before.address)


ADDRESS: Final = PlacedKind(
    kind=Kind.ADDRESS,
    domain="net",
    role=Role.OPENS,
    down=Down.WITH_NAMESPACE,
    keys=(AddressKey,),
    values=(AddressValue,),
    observe=observe,
    apply=apply,
    remove=remove,
)
