"""What the node puts into no hop's namespace, as the kernel lists it. What is found was put there
by another program, and can block, change or copy what passes.

IPsec policies, states and defaults (linux/xfrm.h), queueing disciplines and with them their filters
(linux/pkt_sched.h, linux/rtnetlink.h), BPF programs at a device's hooks (XDP, linux/if_link.h, and
tcx), next hops that stand by themselves (linux/nexthop.h), and legacy iptables. nftables are read
elsewhere.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from privacy_router.host import iptables, tcx
from privacy_router.host.namespaces import run_in
from privacy_router.host.rtnetlink import (
    Flag,
    Verb,
    ask,
    decode_attributes,
    encode_attributes,
    open_socket,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_NETLINK_XFRM: Final = 6
_ABSENT: Final = {errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT}
_GET_STATE, _GET_POLICY = 18, 21
_FLUSH_STATE, _FLUSH_POLICY = 28, 29
_SET_DEFAULT, _GET_DEFAULT = 39, 40
_EVERY_PROTOCOL: Final = b"\0"  # struct xfrm_usersa_flush
_DEFAULTS: Final = 3  # struct xfrm_userpolicy_default: in, forward, out
_BLOCK, _ACCEPT = 1, 2

_DELETE_QDISC, _GET_QDISC = 37, 38
_QDISC: Final = struct.Struct("=BxxxiIII")  # struct tcmsg: family, device, handle, parent, info
_ROOT, _DOOR = 0xFFFFFFFF, 0xFFFFFFF1  # TC_H_ROOT, TC_H_INGRESS (clsact's too)
_KIND: Final = 1  # TCA_KIND

_LINK: Final = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_SET_LINK: Final = 19
_NAME, _XDP = 3, 43  # IFLA_…
_XDP_FD, _XDP_ATTACHED = 1, 2
_NO_PROGRAM: Final = struct.pack("=i", -1)

_DELETE_NEXTHOP, _GET_NEXTHOP = 105, 106
_NEXTHOP_BYTES: Final = 8  # struct nhmsg
_NEXTHOP_ID: Final = 1


class Foreign(Protocol):
    """Something that does not belong there."""

    def remove_here(self) -> None:
        """Take it out of the namespace that the calling thread is in. Raises OSError."""


@dataclass(frozen=True)
class Listed:
    """What netlink lists, with the order to the kernel that takes it away."""

    protocol: int = field(repr=False)
    kind: int = field(repr=False)
    content: bytes = field(repr=False)

    def remove_here(self) -> None:
        """Give the order. Raises OSError."""
        with open_socket(None, protocol=self.protocol) as line:
            ask(line, self.kind, self.content, Flag.REQUEST)


def read_here() -> dict[str, Foreign]:
    """All of it in the namespace that the calling thread is in, by what it is. Raises OSError."""
    found: dict[str, Foreign] = dict(_ipsec())
    found.update((str(table), table) for table in iptables.read_here())
    with open_socket(None) as line:
        links = _links(line)
        found.update(_programs(links))
        found.update(_hooked(links))
        found.update(_qdiscs(line, {index: name for index, (name, _) in links.items()}))
        found.update(_nexthops(line))
    return found


def remove(namespace: Path, foreign: Foreign) -> None:
    """Take one away; one that is gone is. Raises OSError."""

    try:
        run_in(namespace, foreign.remove_here)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH, errno.ENODEV):
            raise


# --- IPsec ----------------------------------------------------------------------------------------


def _ipsec() -> Iterator[tuple[str, Listed]]:
    try:
        line = open_socket(None, protocol=_NETLINK_XFRM)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return  # a kernel without IPsec
    with line:
        if ask(line, _GET_POLICY, b""):
            yield "IPsec policies", Listed(_NETLINK_XFRM, _FLUSH_POLICY, b"")
        if ask(line, _GET_STATE, b""):
            yield "IPsec states", Listed(_NETLINK_XFRM, _FLUSH_STATE, _EVERY_PROTOCOL)
        if _BLOCK in _defaults(line):
            accept = bytes([_ACCEPT] * _DEFAULTS)
            yield "IPsec defaults", Listed(_NETLINK_XFRM, _SET_DEFAULT, accept)


def _defaults(line: socket.socket) -> bytes:
    try:
        answers = ask(line, _GET_DEFAULT, bytes(_DEFAULTS), Flag.REQUEST)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return b""  # before Linux 5.15
    return answers[0][:_DEFAULTS] if answers else b""


# --- at the devices -------------------------------------------------------------------------------


def _links(line: socket.socket) -> dict[int, tuple[str, bytes]]:
    """Name, and what is at its door, of each device by its number."""
    found = {}
    for content in ask(line, Verb.GETLINK, bytes(_LINK.size)):
        attributes = dict(decode_attributes(content[_LINK.size :]))
        name = attributes.get(_NAME, b"").rstrip(b"\0").decode(errors="replace")
        found[_LINK.unpack_from(content)[2]] = (name, attributes.get(_XDP, b""))
    return found


def _programs(links: Mapping[int, tuple[str, bytes]]) -> Iterator[tuple[str, Listed]]:
    for index, (name, door) in links.items():
        if any(dict(decode_attributes(door)).get(_XDP_ATTACHED, b"")):
            nothing = encode_attributes(((_XDP_FD, _NO_PROGRAM),))
            content = _LINK.pack(0, 0, index, 0, 0) + encode_attributes(((_XDP, nothing),))
            yield f"program on {name}", Listed(socket.NETLINK_ROUTE, _SET_LINK, content)


def _hooked(links: Mapping[int, tuple[str, bytes]]) -> Iterator[tuple[str, Foreign]]:
    for index, (name, _) in links.items():
        for number, attached in enumerate(tcx.read_here(index)):
            yield f"program {number} on the way {attached.direction} {name}", attached


def _qdiscs(line: socket.socket, names: Mapping[int, str]) -> Iterator[tuple[str, Listed]]:
    """Those at the root and at the door; others hang below. The kernel's own have no handle."""
    for content in ask(line, _GET_QDISC, bytes(_QDISC.size)):
        _, index, handle, parent, _ = _QDISC.unpack_from(content)
        if handle and parent in (_ROOT, _DOOR):
            kind = dict(decode_attributes(content[_QDISC.size :])).get(_KIND, b"")
            words = kind.rstrip(b"\0").decode(errors="replace")
            order = _QDISC.pack(0, index, handle, parent, 0)
            name = f"queueing discipline {words} on {names.get(index, index)}"
            yield name, Listed(socket.NETLINK_ROUTE, _DELETE_QDISC, order)


# --- next hops ------------------------------------------------------------------------------------


def _nexthops(line: socket.socket) -> Iterator[tuple[str, Listed]]:
    try:
        answers = ask(line, _GET_NEXTHOP, bytes(_NEXTHOP_BYTES))
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return  # before Linux 5.3
    for content in answers:
        number = dict(decode_attributes(content[_NEXTHOP_BYTES:])).get(_NEXTHOP_ID, b"")
        order = bytes(_NEXTHOP_BYTES) + encode_attributes(((_NEXTHOP_ID, number),))
        name = f"next hop {int.from_bytes(number, sys.byteorder)}"
        yield name, Listed(socket.NETLINK_ROUTE, _DELETE_NEXTHOP, order)
