"""Routes and policy rules as the kernel lists them: what the node's plans know of them, and of one
that has more than that (a source, a type of service, several ways, a negation …) its whole message.

Compared by what is known alone, such a one would look like the node's own; and only its own message
takes exactly it away. linux/rtnetlink.h, linux/fib_rules.h.
"""

from __future__ import annotations

import errno
import struct
import sys
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Final

from privacy_router.host.routes import read_route
from privacy_router.host.rtnetlink import (
    Message,
    Session,
    Verb,
    ask,
    decode,
    decode_attributes,
    open_socket,
)
from privacy_router.values.network import LOCAL_TABLE, MAIN_TABLE, Network, Route, Routes, Rule

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from privacy_router.values.network import Interface

_FAMILIES: Final = (int(AF_INET), int(AF_INET6))
_FIXED: Final = struct.Struct("=BBBBBBBBI")
_KINDS: Final = dict(
    enumerate(
        (
            "unicast",
            "local",
            "broadcast",
            "anycast",
            "multicast",
            "blackhole",
            "unreachable",
            "prohibit",
        ),
        start=1,
    )
)
_DST, _OIF, _GATEWAY, _PRIORITY, _METRICS = 1, 4, 5, 6, 8  # RTA_…
_CACHEINFO, _TABLE, _PREFERENCE = 12, 15, 20
_KNOWN: Final = {_DST, _OIF, _GATEWAY, _PRIORITY, _METRICS, _CACHEINFO, _TABLE, _PREFERENCE}
_MTU: Final = 2  # RTAX_MTU
_KEPT_FLAGS: Final = 0x2 | 0x4  # RTNH_F_PERVASIVE, RTNH_F_ONLINK; the others say how it is now
_DEFAULT_METRIC_V6: Final = 1024
_PROTOCOL_KERNEL: Final = 2
_LINK_LOCAL: Final = ip_network("fe80::/10")
_MULTICAST: Final = ip_network("ff00::/8")

_RULE_DST, _RULE_SRC, _RULE_IIF, _RULE_PRIORITY, _RULE_MARK, _RULE_TABLE = 1, 2, 3, 6, 10, 15
_RULE_SUPPRESS_GROUP, _RULE_SUPPRESS_LENGTH, _RULE_MASK, _RULE_PROTOCOL = 13, 14, 16, 21
_RULE_USUAL: Final = {_RULE_SUPPRESS_GROUP, _RULE_SUPPRESS_LENGTH, _RULE_MASK}
"""Attributes that say nothing when all of their bits are set."""
_RULE_KNOWN: Final = {
    *(_RULE_DST, _RULE_SRC, _RULE_IIF, _RULE_PRIORITY, _RULE_MARK, _RULE_TABLE, _RULE_PROTOCOL),
    *_RULE_USUAL,
}
_TO_TABLE: Final = 1  # FR_ACT_TO_TBL
_INVERT: Final = 0x2  # FIB_RULE_INVERT


def routes_here(names: Mapping[int, str], addresses: Collection[tuple[str, Interface]]) -> Routes:
    """Every route of the namespace that the calling thread is in; `names` are those of its devices,
    `addresses` theirs. What says that the kernel made it, and is not what the kernel makes for
    these, was added by another program. Raises OSError."""
    found = Routes(set(), set())
    with open_socket(None) as line:
        for family in _FAMILIES:
            for content in ask(line, Verb.GETROUTE, bytes([family]).ljust(_FIXED.size, b"\0")):
                message = decode(Verb.NEWROUTE, content)
                route = _route(message, names)
                kernels = message.fixed[5] == _PROTOCOL_KERNEL and _is_kernels(route, addresses)
                (found.kernels if kernels else found.added).add(route)
    return found


def _is_kernels(route: Route, addresses: Collection[tuple[str, Interface]]) -> bool:
    """Whether the kernel makes such a route by itself: for an address, or its network."""
    if route.table == LOCAL_TABLE or route.kind in ("multicast", "anycast", "broadcast"):
        return True
    if route.kind != "unicast" or route.gateway is not None or route.table != MAIN_TABLE:
        return False
    networks = {interface.network for device, interface in addresses if device == route.device}
    own = route.destination in networks
    return own or _is_within(route.destination, _LINK_LOCAL, _MULTICAST)


def _is_within(network: Network, *wider: Network) -> bool:
    return any(network.network_address in one for one in wider if one.version == network.version)


def _route(message: Message, names: Mapping[int, str]) -> Route:
    family, length, *_, kind, _ = _FIXED.unpack(message.fixed)
    destination = message.get(_DST) or bytes(4 if family == AF_INET else 16)
    gateway = message.get(_GATEWAY)
    metric = message.number(_PRIORITY) or 0
    metrics = dict(decode_attributes(message.get(_METRICS) or b""))
    mtu = metrics.get(_MTU)
    name = _KINDS.get(kind, str(kind))
    return Route(
        destination=ip_network((destination, length)),
        gateway=ip_address(gateway) if gateway else None,
        # the kernel hangs an unreachable IPv6 route on lo; the plan has no device there
        device=None if name == "unreachable" else names.get(message.number(_OIF) or 0),
        table=message.number(_TABLE) or MAIN_TABLE,
        kind=name,
        metric=0 if family == AF_INET6 and metric == _DEFAULT_METRIC_V6 else metric,
        mtu_bytes=int.from_bytes(mtu, sys.byteorder) if mtu else None,
        extra=message.encode() if _has_more(message, metrics) else b"",
    )


def _has_more(message: Message, metrics: Mapping[int, bytes]) -> bool:
    _, _, source_length, service, *_, flags = _FIXED.unpack(message.fixed)
    unknown = {kind for kind, _ in message.attributes} - _KNOWN
    preferred = any(message.get(_PREFERENCE) or b"")
    expires = read_route(message, {}).expires_s
    rest = (source_length, service, flags & _KEPT_FLAGS, unknown, metrics.keys() - {_MTU})
    return any(rest) or preferred or bool(expires)


def rules_here() -> set[Rule]:
    """The policy rules of the namespace that the calling thread is in. Raises OSError."""
    with open_socket(None) as line:
        return {
            _rule(decode(Verb.NEWRULE, content))
            for family in _FAMILIES
            for content in ask(line, Verb.GETRULE, bytes([family]).ljust(_FIXED.size, b"\0"))
        }


def _rule(message: Message) -> Rule:
    family, to_length, from_length, *_ = _FIXED.unpack(message.fixed)
    source, destination = message.get(_RULE_SRC), message.get(_RULE_DST)
    device = message.get(_RULE_IIF)
    return Rule(
        priority=message.number(_RULE_PRIORITY) or 0,
        table=message.number(_RULE_TABLE) or 0,
        family=family,
        source=ip_network((source, from_length)) if source else None,
        destination=ip_network((destination, to_length)) if destination else None,
        input_device=device.rstrip(b"\0").decode(errors="replace") if device else None,
        mark=message.number(_RULE_MARK),
        extra=message.encode() if _rule_has_more(message) else b"",
    )


def _rule_has_more(message: Message) -> bool:
    _, _, _, service, *_, action, flags = _FIXED.unpack(message.fixed)
    return (
        bool(service or flags & _INVERT)
        or action != _TO_TABLE
        or any(
            kind not in _RULE_KNOWN or (kind in _RULE_USUAL and set(value) != {0xFF})
            for kind, value in message.attributes
        )
    )


def delete_here(verb: Verb, extra: bytes) -> None:
    """Take away the very route (DELROUTE) or rule (DELRULE) whose message that is, if it is there.
    Raises OSError."""
    message = decode(verb, extra)
    if verb is Verb.DELROUTE:
        message = read_route(message, {}).to_delete({})
    try:
        with Session(None) as session:
            session.request(message)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH):
            raise
