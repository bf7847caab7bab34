"""Routes and policy rules as the kernel lists them: what the node's plans know of them, and of one
that has more than that (a source, a type of service, several ways, a negation …) its whole message.

Compared by what is known alone, such a one would look like the node's own; and only its own message
takes exactly it away. linux/rtnetlink.h, linux/fib_rules.h.
"""

from __future__ import annotations

import struct
import sys
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Final

from privacy_router.host.routes import is_cached, read_route
from privacy_router.host.rtnetlink import (
    Message,
    Verb,
    decode,
    decode_attributes,
    nested,
    u32,
)
from privacy_router.values.network import (
    FAMILY,
    KERNELS_RULES,
    LOCAL_TABLE,
    MAIN_TABLE,
    Network,
    Route,
    Routes,
    Rule,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from privacy_router.host.rtnetlink import Session
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
_NUMBERS: Final = {name: number for number, name in _KINDS.items()}
_TABLE_IN_ATTRIBUTE: Final = 256
_SCOPE_HOST: Final = 254
_SCOPE_NOWHERE: Final = 255
_DST, _OIF, _GATEWAY, _PRIORITY, _METRICS = 1, 4, 5, 6, 8  # RTA_…
_CACHEINFO, _TABLE, _PREFERENCE = 12, 15, 20
_KNOWN: Final = {_DST, _OIF, _GATEWAY, _PRIORITY, _METRICS, _CACHEINFO, _TABLE, _PREFERENCE}
_MTU: Final = 2  # RTAX_MTU
_KEPT_FLAGS: Final = 0x2 | 0x4  # RTNH_F_PERVASIVE, RTNH_F_ONLINK; the others say how it is now
_DEFAULT_METRIC_V6: Final = 1024
_PROTOCOL_KERNEL: Final = 2
_PROTOCOL_STATIC: Final = 4
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


def routes_in(
    session: Session, names: Mapping[int, str], addresses: Collection[tuple[str, Interface]]
) -> Routes:
    """Every route of the session's namespace; `names` are those of its devices, `addresses` where
    theirs lead: the other end of a link, or their own network. What says that the kernel made it,
    and is not what the kernel makes for these, was added by another program. Raises OSError."""
    found = Routes(set(), set())
    for family in _FAMILIES:
        for message in session.dump(Verb.GETROUTE, family):
            if is_cached(message):
                continue
            route = _route(message, names)
            kernels = message.fixed[5] == _PROTOCOL_KERNEL and _is_kernels(route, addresses)
            (found.kernels if kernels else found.added).add(route)
    return found


def default_device_in(session: Session, names: Mapping[int, str]) -> str | None:
    """The device of the IPv4 default route with the lowest metric, of the main table. Raises
    OSError."""
    found = [
        (message.number(_PRIORITY) or 0, device)
        for message in session.dump(Verb.GETROUTE, AF_INET)
        if message.fixed[1] == 0
        and (message.number(_TABLE) or message.fixed[4]) == MAIN_TABLE
        and (device := message.number(_OIF)) is not None
    ]
    return names.get(min(found)[1]) if found else None


def route_message(verb: Verb, route: Route, index: int | None) -> Message:
    """The order to have a route (NEWROUTE), or to take it away, added by any program and with any
    scope (DELROUTE); `index` is that of its device."""
    adds = verb is Verb.NEWROUTE
    scope = _SCOPE_NOWHERE if not adds else _SCOPE_HOST if route.kind == "local" else 0
    fixed = _FIXED.pack(
        FAMILY[route.destination.version],
        route.destination.prefixlen,
        *(0, 0),
        route.table if route.table < _TABLE_IN_ATTRIBUTE else 0,
        _PROTOCOL_STATIC if adds else 0,
        scope,
        _NUMBERS.get(route.kind) or int(route.kind),
        0,
    )
    return Message(verb, fixed, tuple(_route_attributes(route, index)))


def _route_attributes(route: Route, index: int | None) -> Iterator[tuple[int, bytes]]:
    yield _DST, route.destination.network_address.packed
    yield _TABLE, u32(route.table)
    if index is not None:
        yield _OIF, u32(index)
    if route.gateway is not None:
        yield _GATEWAY, route.gateway.packed
    if route.metric:
        yield _PRIORITY, u32(route.metric)
    if route.mtu_bytes is not None:
        yield nested(_METRICS, (_MTU, u32(route.mtu_bytes)))


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


def rules_in(session: Session) -> set[Rule]:
    """The policy rules of the session's namespace, the kernel's own too. Raises OSError."""
    return {
        _rule(message) for family in _FAMILIES for message in session.dump(Verb.GETRULE, family)
    }


def rule_message(verb: Verb, rule: Rule) -> Message:
    """The order to have a rule (NEWRULE) or to take it away (DELRULE)."""
    fixed = _FIXED.pack(
        rule.family,
        0 if rule.destination is None else rule.destination.prefixlen,
        0 if rule.source is None else rule.source.prefixlen,
        0,
        rule.table if rule.table < _TABLE_IN_ATTRIBUTE else 0,
        *(0, 0),
        _TO_TABLE,
        0,
    )
    return Message(verb, fixed, tuple(_rule_attributes(rule)))


def _rule_attributes(rule: Rule) -> Iterator[tuple[int, bytes]]:
    yield _RULE_PRIORITY, u32(rule.priority)
    yield _RULE_TABLE, u32(rule.table)
    if rule in KERNELS_RULES:  # another's is another rule to the kernel
        yield _RULE_PROTOCOL, bytes([_PROTOCOL_KERNEL])
    if rule.source is not None:
        yield _RULE_SRC, rule.source.network_address.packed
    if rule.destination is not None:
        yield _RULE_DST, rule.destination.network_address.packed
    if rule.input_device is not None:
        yield _RULE_IIF, rule.input_device.encode() + b"\0"
    if rule.mark is not None:
        yield _RULE_MARK, u32(rule.mark)


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


def removal(verb: Verb, extra: bytes) -> Message:
    """The order to take away the very route (DELROUTE) or rule (DELRULE) whose message that is."""
    message = decode(verb, extra)
    return read_route(message, {}).to_delete({}) if verb is Verb.DELROUTE else message
