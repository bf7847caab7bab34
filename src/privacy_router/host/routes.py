"""Routes as the kernel lists them, each with the message it came in."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Any, Final

from privacy_router.host.rtnetlink import Message, Verb, decode, u32

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.values.network import Address, Network

_FIXED: Final = struct.Struct("=BBBBBBBBI")  # …, table, protocol, scope, type, flags
_NEXTHOP: Final = struct.Struct("=HBBi")
_SCOPE_GLOBAL: Final = 0
_SCOPE_LINK: Final = 253
PROTOCOL_KERNEL: Final = 2
_PROTOCOL_STATIC: Final = 4
_UNICAST: Final = 1
LOCAL_TABLE: Final = 255
_TYPES: Final = {1: "unicast", 2: "local", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_TABLE_IN_ATTRIBUTE: Final = 252
_DST, _OIF, _GATEWAY, _METRIC, _MULTIPATH = 1, 4, 5, 6, 9  # RTA_…
_CACHEINFO, _TABLE, _VIA, _EXPIRES, _NH_ID = 12, 15, 18, 23, 30
_EXPIRES_AT: Final = slice(8, 12)  # rta_expires in struct rta_cacheinfo
_TICKS_PER_S: Final = 100  # USER_HZ
_NEVER: Final = 1 << 31  # from there on the number is negative: it is over
_F_CLONED: Final = 0x200
_F_ONLINK: Final = 0x4
_F_KEPT: Final = (
    0x2 | _F_ONLINK
)  # RTNH_F_PERVASIVE, RTNH_F_ONLINK; the others are the kernel's to set


def is_cached(message: Message) -> bool:
    """Whether that is no route, but what the kernel remembers of one: a path's MTU, a redirect.

    A listing of IPv4 has these, too; they go by themselves, and no order takes one away.
    """
    return bool(int.from_bytes(message.fixed[8:], sys.byteorder) & _F_CLONED)


@dataclass(frozen=True)
class RouteEntry:
    """A route; `names` are those of the devices that its message has by number."""

    message: Message
    names: tuple[tuple[int, str], ...]

    @cached_property
    def destination(self) -> Network:
        """Where it leads."""
        v6 = self.message.fixed[0] == AF_INET6
        value = self.message.get(_DST) or bytes(16 if v6 else 4)
        return ip_network((value, self.message.fixed[1]))

    @property
    def table(self) -> int:
        """The number of its table."""
        return self.message.number(_TABLE) or self.message.fixed[4]

    @property
    def metric(self) -> int:
        """The lower the better."""
        return self.message.number(_METRIC) or 0

    @property
    def protocol(self) -> int:
        """Who made it; rtm_protocol."""
        return self.message.fixed[5]

    @property
    def is_cached(self) -> bool:
        """Not a route, but what the kernel remembers of one."""
        return is_cached(self.message)

    @property
    def type_name(self) -> str:
        """unicast, unreachable …"""
        return _TYPES.get(self.message.fixed[7], str(self.message.fixed[7]))

    @property
    def is_unicast(self) -> bool:
        """A way to somewhere, and not a refusal or one of the machine's own addresses."""
        return self.message.fixed[7] == _UNICAST

    @property
    def gateway(self) -> Address | None:
        """The next router, where it has one."""
        value = self.message.get(_GATEWAY)
        via = self.message.get(_VIA)  # an IPv6 router for IPv4: the family, then the address
        value = via[2:] if value is None and via else value
        return ip_address(value) if value else None

    @property
    def devices(self) -> list[str]:
        """The devices that it leads out of."""
        return [name for _, name in self.names]

    @property
    def is_simple(self) -> bool:
        """One way only, written in the route itself."""
        ways = (_MULTIPATH, _NH_ID)
        return all(self.message.get(kind) is None for kind in ways)

    @property
    def has_nexthop_object(self) -> bool:
        """Whether its way is written elsewhere (`ip nexthop`)."""
        return self.message.get(_NH_ID) is not None

    @property
    def expires_s(self) -> int:
        """In how many seconds it goes away by itself, of an IPv6 route; 0 for never."""
        ticks = int.from_bytes((self.message.get(_CACHEINFO) or b"")[_EXPIRES_AT], sys.byteorder)
        v6 = self.message.fixed[0] == AF_INET6
        return -(-ticks // _TICKS_PER_S) if v6 and ticks < _NEVER else 0

    def to_add(self, indexes: Mapping[str, int], moved: Mapping[str, str] | None = None) -> Message:
        """The order to have it, by the devices' numbers now, through other devices if `moved` says
        so. Raises KeyError for a device that is not there."""
        numbers = {old: indexes[(moved or {}).get(name, name)] for old, name in self.names}
        *head, flags = _FIXED.unpack(self.message.fixed)
        message = Message(
            Verb.NEWROUTE,
            _FIXED.pack(*head, flags & _F_KEPT),
            self.message.without(_CACHEINFO).attributes,
        )
        if self.expires_s:
            message = message.with_attribute(_EXPIRES, u32(self.expires_s))
        if message.get(_NH_ID) is not None:
            return message.without(_OIF, _GATEWAY, _VIA, _MULTIPATH)
        return _renumbered(message, numbers)

    def to_delete(self, indexes: Mapping[str, int]) -> Message:
        """The order to take exactly it away. Raises KeyError for a device that is not there."""
        made = self.to_add(indexes)
        return Message(Verb.DELROUTE, made.fixed, made.attributes)

    @property
    def is_onlink(self) -> bool:
        """Whether the next router counts as on the link, also where other routes say otherwise."""
        return bool(int.from_bytes(self.message.fixed[8:], sys.byteorder) & _F_ONLINK)

    def leading(
        self,
        gateway: Address | None,
        device: tuple[int, str] | None,
        *,
        onlink: bool | None = None,
    ) -> RouteEntry:
        """The same by another way; `onlink` None leaves that as it is."""
        *head, protocol, scope, kind, flags = _FIXED.unpack(self.message.fixed)
        if onlink is not None:
            flags = flags | _F_ONLINK if onlink else flags & ~_F_ONLINK
        v4 = self.message.fixed[0] != AF_INET6
        scope = _SCOPE_LINK if v4 and gateway is None else _SCOPE_GLOBAL
        message = Message(
            Verb.NEWROUTE,
            _FIXED.pack(*head, protocol, scope, kind, flags & _F_KEPT),
            self.message.without(_VIA, _MULTIPATH, _NH_ID).attributes,
        ).with_attribute(_GATEWAY, gateway.packed if gateway else None)
        oif = u32(device[0]) if device else None
        return RouteEntry(message.with_attribute(_OIF, oif), (device,) if device else ())

    def same_as(self, other: RouteEntry, indexes: Mapping[str, int]) -> bool:
        """Whether both are the same route on the machine as it is now."""
        if not {*self.devices, *other.devices} <= indexes.keys():
            return False
        return _comparable(self.to_add(indexes)) == _comparable(other.to_add(indexes))

    def saved(self) -> dict[str, Any]:
        """As a JSON value."""
        return {"message": self.message.encode().hex(), "devices": [list(i) for i in self.names]}

    @classmethod
    def loaded(cls, value: dict[str, Any]) -> RouteEntry:
        """The opposite of `saved`."""
        names = tuple((int(index), str(name)) for index, name in value["devices"])
        return cls(decode(Verb.NEWROUTE, bytes.fromhex(value["message"])), names)


def read_route(message: Message, names: Mapping[int, str]) -> RouteEntry:
    """The route that a message describes."""
    indexes = [message.number(_OIF), *(index for index, _ in _nexthops(message))]
    used = dict.fromkeys(index for index in indexes if index)
    return RouteEntry(message, tuple((i, names[i]) for i in used if i in names))


def new_route(destination: Network, table: int, metric: int) -> RouteEntry:
    """A route as an operator types it in, that leads nowhere yet (see `leading`)."""
    family = int(AF_INET if destination.version == 4 else AF_INET6)
    fixed = _FIXED.pack(
        *(
            family,
            destination.prefixlen,
            0,
            0,
            table if table < 256 else _TABLE_IN_ATTRIBUTE,
            _PROTOCOL_STATIC,
        ),
        *(_SCOPE_GLOBAL, _UNICAST, 0),
    )
    message = Message(Verb.NEWROUTE, fixed).with_attribute(_TABLE, u32(table))
    if destination.prefixlen:
        message = message.with_attribute(_DST, destination.network_address.packed)
    if metric:
        message = message.with_attribute(_METRIC, u32(metric))
    return RouteEntry(message, ())


def _comparable(message: Message) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Without what goes by from one moment to the next."""
    return message.fixed, sorted(message.without(_EXPIRES).attributes)


def _nexthops(message: Message) -> list[tuple[int, int]]:
    """Index and position of each way of a route that has several."""
    data, at, found = message.get(_MULTIPATH) or b"", 0, []
    while at + _NEXTHOP.size <= len(data):
        length, _, _, index = _NEXTHOP.unpack_from(data, at)
        if length < _NEXTHOP.size:
            break
        found.append((index, at))
        at += length + (-length % 4)
    return found


def _renumbered(message: Message, numbers: Mapping[int, int]) -> Message:
    oif = message.number(_OIF)
    if oif is not None and oif in numbers:
        message = message.with_attribute(_OIF, u32(numbers[oif]))
    ways = message.get(_MULTIPATH)
    if ways is None:
        return message
    changed = bytearray(ways)
    for index, at in _nexthops(message):
        changed[at + 2] &= _F_KEPT
        changed[at + 4 : at + 8] = u32(numbers.get(index, index))
    return message.with_attribute(_MULTIPATH, bytes(changed))
