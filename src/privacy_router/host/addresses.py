"""Addresses as the kernel lists them, each with the message it came in."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING, Final

from privacy_router.host.rtnetlink import Message, Verb, decode, u32
from privacy_router.values.network import FAMILY

if TYPE_CHECKING:
    from privacy_router.values.network import Interface

_FIXED: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
SCOPE_GLOBAL: Final = 0
SCOPE_HOST: Final = 254
_SCOPES: Final = {0: "global", 200: "site", 253: "link", 254: "host"}
_FOREVER: Final = 0xFFFFFFFF
_ADDRESS, _LOCAL, _LABEL, _BROADCAST, _CACHEINFO, _FLAGS = 1, 2, 3, 4, 6, 8  # IFA_…
_F_TEMPORARY: Final = 0x01  # of an IPv6 address; of an IPv4 one it is IFA_F_SECONDARY
_F_NODAD: Final = 0x02
_F_KEPT: Final = 0x02 | 0x100 | 0x200 | 0x400  # NODAD MANAGETEMPADDR NOPREFIXROUTE MCAUTOJOIN


@dataclass(frozen=True)
class AddressEntry:
    """An address on a device."""

    device: str
    message: Message

    @cached_property
    def address(self) -> Interface:
        """The address with its prefix length."""
        value = self.message.get(_LOCAL) or self.message.get(_ADDRESS) or b""
        return ip_interface((value, self.message.fixed[1]))

    @cached_property
    def peer(self) -> Interface:
        """The other end of a link, where it names one; else the address itself. The kernel makes a
        route to the network of this."""
        value = self.message.get(_ADDRESS) or self.message.get(_LOCAL) or b""
        return ip_interface((value, self.message.fixed[1]))

    @property
    def scope(self) -> int:
        """How far it is valid: SCOPE_GLOBAL or less"""
        return self.message.fixed[3]

    @property
    def scope_name(self) -> str:
        """As people call it."""
        return _SCOPES.get(self.scope, str(self.scope))

    @property
    def broadcast(self) -> str | None:
        """The broadcast address, of IPv4."""
        value = self.message.get(_BROADCAST)
        return str(ip_address(value)) if value else None

    @property
    def is_temporary(self) -> bool:
        """Whether the kernel makes and renews it for itself (RFC 8981)."""
        return self.address.version == 6 and bool(self.flags & _F_TEMPORARY)

    @property
    def is_movable(self) -> bool:
        """Whether it is valid everywhere, and was set by a program or an operator."""
        return self.scope == SCOPE_GLOBAL and not self.is_temporary

    @property
    def expires(self) -> bool:
        """Whether it expires unless it is renewed."""
        value = self.message.get(_CACHEINFO)
        return value is not None and value[4:8] != u32(_FOREVER)

    @property
    def is_leased(self) -> bool:
        """Of one that expires: whether a DHCP server gave it out. Those made of a router's
        advertisement are one of a network's many; DHCPv6 gives out single ones (RFC 8415, 21.6)."""
        return self.address.network.prefixlen == 128 or self.address.version == 4

    @property
    def flags(self) -> int:
        """IFA_F_…"""
        return self.message.number(_FLAGS) or self.message.fixed[2]

    def to_add(self, index: int, *, label: bool = True) -> Message:
        """The order to have it on the device of that index, usable at once."""
        v6 = self.address.version == 6
        family, length, _, scope, _ = _FIXED.unpack(self.message.fixed)
        flags = self.flags & _F_KEPT | (_F_NODAD if v6 else 0)
        message = Message(
            Verb.NEWADDR,
            _FIXED.pack(family, length, 0, scope, index),
            self.message.with_attribute(_FLAGS, u32(flags)).attributes,
        )
        return message if label else message.without(_LABEL)

    def to_delete(self) -> Message:
        """The order to take it off its device."""
        kept = tuple(i for i in self.message.attributes if i[0] in {_ADDRESS, _LOCAL})
        return Message(Verb.DELADDR, self.message.fixed, kept)

    def for_good(self) -> AddressEntry:
        """The same without an end."""
        return AddressEntry(self.device, self.message.without(_CACHEINFO))

    def saved(self) -> list[str]:
        """As a JSON value."""
        return [self.device, self.message.encode().hex()]

    @classmethod
    def loaded(cls, value: list[str]) -> AddressEntry:
        """The opposite of `saved`."""
        return cls(value[0], decode(Verb.NEWADDR, bytes.fromhex(value[1])))


def new_address(device: str, address: Interface, broadcast: str | None) -> AddressEntry:
    """An address as an operator types it in."""
    local = address.ip.packed
    attributes: list[tuple[int, bytes]] = [(_LOCAL, local), (_ADDRESS, local)]
    if broadcast is not None:
        attributes.append((_BROADCAST, ip_address(broadcast).packed))
    scope = SCOPE_HOST if address.is_loopback else SCOPE_GLOBAL
    fixed = _FIXED.pack(FAMILY[address.version], address.network.prefixlen, 0, scope, 0)
    return AddressEntry(device, Message(Verb.NEWADDR, fixed, tuple(attributes)))


def address_removal(address: Interface, index: int) -> Message:
    """The order to take an address off the device of that index, without what else it has: the
    other end of a link, which the kernel would compare too."""
    fixed = _FIXED.pack(FAMILY[address.version], address.network.prefixlen, 0, 0, index)
    return Message(Verb.DELADDR, fixed, ((_LOCAL, address.ip.packed),))


def device_index(message: Message) -> int:
    """The index of the device that an address is on."""
    return int(_FIXED.unpack(message.fixed)[4])
