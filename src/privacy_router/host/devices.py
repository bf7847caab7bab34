"""Network devices as the kernel lists them, and the orders to change them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.host.rtnetlink import Message, Verb, decode_attributes, u32

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LINK: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS, _NAME, _MTU, _BELOW, _MASTER, _LINKINFO, _ELSEWHERE = 1, 3, 4, 5, 10, 18, 37  # IFLA_…
_PROPERTIES, _OTHER_NAME = 52, 53  # IFLA_PROP_LIST, IFLA_ALT_IFNAME
_INFO_KIND: Final = 1
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
    info = dict(decode_attributes(message.get(_LINKINFO) or b""))
    kind = info.get(_INFO_KIND, b"").rstrip(b"\0").decode()
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


def link_change(
    index: int,
    *,
    up: bool | None = None,
    promiscuous: bool | None = None,
    mtu_bytes: int | None = None,
) -> Message:
    """The order to change a device; what is None stays as it is."""
    wanted = {_UP: up, _PROMISCUOUS: promiscuous}
    flags = sum(flag for flag, value in wanted.items() if value)
    mask = sum(flag for flag, value in wanted.items() if value is not None)
    message = Message(Verb.NEWLINK, _LINK.pack(0, 0, index, flags, mask))
    return message if mtu_bytes is None else message.with_attribute(_MTU, u32(mtu_bytes))
