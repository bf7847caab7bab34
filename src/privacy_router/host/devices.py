"""Network devices as the kernel lists them, and the orders to change them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.host.rtnetlink import (
    Message,
    Verb,
    decode_attributes,
    encode_attributes,
    nested,
    u32,
)
from privacy_router.values.network import Link

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LINK: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS, _NAME, _MTU, _BELOW, _MASTER, _LINKINFO, _ELSEWHERE = 1, 3, 4, 5, 10, 18, 37  # IFLA_…
_PROPERTIES, _OTHER_NAME = 52, 53  # IFLA_PROP_LIST, IFLA_ALT_IFNAME
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1  # IFLA_INFO_…, VETH_INFO_PEER
_NAMESPACE_FD, _STATS, _CARRIER = 28, 23, 33  # IFLA_NET_NS_FD, IFLA_STATS64, IFLA_CARRIER
_COUNTERS: Final = struct.Struct("=4Q")  # of rtnl_link_stats64: packets in, out, bytes in, out
_NAME_MOST_BYTES: Final = 15  # IFNAMSIZ, with a zero at the end
_UP: Final = 0x1
_PROMISCUOUS: Final = 0x100
_ETHERNET: Final = 1  # ARPHRD_ETHER


@dataclass(frozen=True)
class Device:
    """A network device; `master` is the one that it is a port of, and `below` the one that it was
    made on: a VLAN's, a macvlan's. `other_names` are its alternative ones (ip-link(8), altname)."""

    name: str
    index: int
    mac: str
    mtu_bytes: int
    up: bool
    promiscuous: bool
    kind: str
    master: str | None
    below: str | None
    is_ethernet: bool
    other_names: tuple[str, ...] = ()


def read_device(message: Message, names: Mapping[int, str]) -> Device:
    """The device that a message describes."""
    _, hardware, index, flags, _ = _LINK.unpack(message.fixed)
    kind = _kind(message)
    # a pair's other end is no device below, nor is one of another namespace by the same number
    is_on_it = kind != "veth" and message.get(_ELSEWHERE) is None
    return Device(
        name=name_in(message),
        index=index,
        mac=(message.get(_ADDRESS) or b"").hex(":"),
        mtu_bytes=message.number(_MTU) or 0,
        up=bool(flags & _UP),
        promiscuous=bool(flags & _PROMISCUOUS),
        kind=kind,
        master=names.get(message.number(_MASTER) or 0),
        below=names.get(message.number(_BELOW) or 0) if is_on_it else None,
        is_ethernet=hardware == _ETHERNET,
        other_names=tuple(_other_names(message.get(_PROPERTIES) or b"")),
    )


def read_link(message: Message) -> Link:
    """The same as what a node's plans know of a device, with its counters."""
    _, _, index, flags, _ = _LINK.unpack(message.fixed)
    counters = (message.get(_STATS) or b"")[: _COUNTERS.size].ljust(_COUNTERS.size, b"\0")
    rx_packets, tx_packets, rx_bytes, tx_bytes = _COUNTERS.unpack(counters)
    return Link(
        name=name_in(message),
        index=index,
        mac=(message.get(_ADDRESS) or b"").hex(":"),
        mtu_bytes=message.number(_MTU) or 0,
        up=bool(flags & _UP),
        carrier=any(message.get(_CARRIER) or b""),
        kind=_kind(message),
        rx_bytes=rx_bytes,
        tx_bytes=tx_bytes,
        rx_packets=rx_packets,
        tx_packets=tx_packets,
    )


def _kind(message: Message) -> str:
    """`veth`, `wireguard` …; empty for hardware."""
    info = dict(decode_attributes(message.get(_LINKINFO) or b""))
    return info.get(_INFO_KIND, b"").rstrip(b"\0").decode()


def names_in(message: Message) -> set[str]:
    """Every name of the device that a message describes."""
    return {name_in(message), *_other_names(message.get(_PROPERTIES) or b"")}


def _other_names(properties: bytes) -> Iterator[str]:
    for kind, value in decode_attributes(properties):
        if kind == _OTHER_NAME:
            yield value.rstrip(b"\0").decode(errors="surrogateescape")


def name_in(message: Message) -> str:
    """The name of the device that a message describes."""
    return (message.get(_NAME) or b"").rstrip(b"\0").decode(errors="surrogateescape")


def index_in(message: Message) -> int:
    """The index of the device that a message describes."""
    return int(_LINK.unpack(message.fixed)[2])


# --- orders -------------------------------------------------------------------------------------


def link_change(
    index: int,
    *,
    up: bool | None = None,
    promiscuous: bool | None = None,
    mtu_bytes: int | None = None,
    mac: str | None = None,
) -> Message:
    """The order to change a device; what is None stays as it is."""
    wanted = {_UP: up, _PROMISCUOUS: promiscuous}
    flags = sum(flag for flag, value in wanted.items() if value)
    mask = sum(flag for flag, value in wanted.items() if value is not None)
    attributes: list[tuple[int, bytes]] = []
    if mac is not None:
        attributes.append((_ADDRESS, bytes.fromhex(mac.replace(":", ""))))
    if mtu_bytes is not None:
        attributes.append((_MTU, u32(mtu_bytes)))
    return Message(Verb.NEWLINK, _LINK.pack(0, 0, index, flags, mask), tuple(attributes))


def link_named(name: str) -> Message | None:
    """The question for the device of that name; None for what cannot be one."""
    if not 0 < len(name.encode()) <= _NAME_MOST_BYTES:
        return None
    return Message(Verb.GETLINK, bytes(_LINK.size), ((_NAME, _text(name)),))


def link_move(index: int, target_fd: int) -> Message:
    """The order to move a device into the namespace behind a descriptor."""
    fixed = _LINK.pack(0, 0, index, 0, 0)
    return Message(Verb.NEWLINK, fixed, ((_NAMESPACE_FD, u32(target_fd)),))


def link_removal(index: int) -> Message:
    """The order to delete a device."""
    return Message(Verb.DELLINK, _LINK.pack(0, 0, index, 0, 0))


def new_link(name: str, kind: str, target_fd: int | None = None, *info: bytes) -> Message:
    """The order to make a device, in the namespace behind a descriptor if that is given; `info` is
    what is particular to its kind."""
    data = [(_INFO_DATA, piece) for piece in info]
    attributes = [*_named(name, target_fd), nested(_LINKINFO, (_INFO_KIND, _text(kind)), *data)]
    return Message(Verb.NEWLINK, bytes(_LINK.size), tuple(attributes))


def veth_peer(name: str, target_fd: int | None) -> bytes:
    """The far end of a pair, as what is particular to a device of the kind veth; veth(4)."""
    peer = bytes(_LINK.size) + encode_attributes(tuple(_named(name, target_fd)))
    return encode_attributes(((_VETH_PEER, peer),))


def _named(name: str, target_fd: int | None) -> Iterator[tuple[int, bytes]]:
    yield _NAME, _text(name)
    if target_fd is not None:
        yield _NAMESPACE_FD, u32(target_fd)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"
