"""Field values as people write them: numbers, addresses, networks, flags, names; both ways."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from privacy_router.openflow.constants import CtState, PortNumber, TcpFlag
from privacy_router.openflow.fields import Form

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import IntFlag

    from privacy_router.openflow.fields import Field

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Single = int | str | IpAddress
FieldValue = Single | IpNetwork | tuple[Single, Single]

_FLAGS: Final[dict[str, type[IntFlag]]] = {"ct_state": CtState, "tcp_flags": TcpFlag}
_FRAGMENTS: Final = {
    "no": (0, 3),
    "yes": (1, 1),
    "first": (1, 3),
    "later": (3, 3),
    "not_later": (0, 2),
}
_FLAG: Final = re.compile(r"([+-])([a-z]+)")
_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")


def parse_value(field: Field, given: FieldValue) -> tuple[int, int]:
    """The (value, mask) of a field; the mask is `field.full_mask` when there is none.

    Raises ValueError, naming the field, for what does not fit it.
    """
    try:
        value, mask = _parse(field, given)
    except ValueError as error:
        raise ValueError(f"{field.name}={given!r}: {error}") from None
    if value < 0 or value > field.full_mask or mask < 0 or mask > field.full_mask:
        raise ValueError(f"{field.name}={given!r} does not fit {field.bits} bits")
    if value & ~mask:
        raise ValueError(f"{field.name}={given!r} has bits outside its mask")
    if mask not in (0, field.full_mask) and not field.maskable:
        raise ValueError(f"{field.name}={given!r}: this field takes no mask")
    return value, mask


def _parse(field: Field, given: object) -> tuple[int, int]:
    if isinstance(given, int):
        return given, field.full_mask
    if isinstance(given, tuple) and len(given) == 2:
        return _single(field, given[0]), _single(field, given[1])
    if isinstance(given, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return _address(field, given.network_address), int(given.netmask)
    if isinstance(given, str):
        return _parse_text(field, given)
    return _single(field, given), field.full_mask


def _parse_text(field: Field, text: str) -> tuple[int, int]:
    if field.name in _FLAGS and text[:1] in ("+", "-"):
        return _parse_flags(_FLAGS[field.name], text)
    if field.name in _FLAGS and text[:1].isalpha():
        return _parse_flags(_FLAGS[field.name], "+" + text.replace("|", "+"))[0], field.full_mask
    if field.form is Form.FRAGMENT and text in _FRAGMENTS:
        return _FRAGMENTS[text]
    if field.form in (Form.IPV4, Form.IPV6) and "/" in text:
        network = ipaddress.ip_network(text)
        return _address(field, network.network_address), int(network.netmask)
    value, slash, mask = text.partition("/")
    return _single(field, value), _single(field, mask) if slash else field.full_mask


def _parse_flags(flags: type[IntFlag], text: str) -> tuple[int, int]:
    value = mask = 0
    for sign, name in _FLAG.findall(text):
        if name.upper() not in flags.__members__:
            raise ValueError(f"there is no flag {name!r}")
        bit = int(flags[name.upper()])
        mask |= bit
        value |= bit if sign == "+" else 0
    if not _FLAG.sub("", text) == "":
        raise ValueError("flags are written like +syn-ack")
    return value, mask


def _single(field: Field, given: object) -> int:
    if isinstance(given, int):
        return given
    if isinstance(given, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return _address(field, given)
    if not isinstance(given, str):
        raise ValueError("this is no value of a field")  # noqa: TRY004 - one error for bad values
    if field.form is Form.MAC and _MAC.fullmatch(given):
        return int(given.replace(":", ""), 16)
    if field.form in (Form.IPV4, Form.IPV6) and ("." in given or ":" in given):
        return _address(field, ipaddress.ip_address(given))
    if field.form is Form.PORT and given.upper() in PortNumber.__members__:
        return int(PortNumber[given.upper()])
    return int(given, 0)


def _address(field: Field, address: IpAddress) -> int:
    expected = {Form.IPV4: 4, Form.IPV6: 6}.get(field.form)
    if address.version != expected:
        raise ValueError(f"an IPv{address.version} address does not belong here")
    return int(address)


# --- the other way ------------------------------------------------------------------------------


def format_value(field: Field, value: int, mask: int | None) -> str:
    """A value in the words of ovs-ofctl, e.g. "10.0.0.0/24", "+syn-ack", "0x5/0xf"."""
    if field.name in _FLAGS:
        return _format_flags(_FLAGS[field.name], value, mask)
    if field.form is Form.FRAGMENT:
        return _format_fragment(value, field.full_mask if mask is None else mask)
    write = _WRITERS[field.form]
    if mask is None:
        return write(value)
    if field.form in (Form.IPV4, Form.IPV6):
        return f"{write(value)}/{_format_prefix(field, mask)}"
    if field.form in (Form.DECIMAL, Form.PORT):
        return f"{value:#x}/{mask:#x}"
    return f"{write(value)}/{write(mask)}"


def _format_flags(flags: type[IntFlag], value: int, mask: int | None) -> str:
    tested = value if mask is None else mask
    if tested & ~sum(flags):
        return f"{value:#x}" if mask is None else f"{value:#x}/{mask:#x}"
    names = [(str(flag.name).lower(), value & flag) for flag in flags if tested & flag]
    if mask is None:
        return "|".join(name for name, _ in names) or "0"
    return "".join(f"{'+' if is_set else '-'}{name}" for name, is_set in names)


def _format_fragment(value: int, mask: int) -> str:
    for name, pair in _FRAGMENTS.items():
        if pair == (value, mask):
            return name
    return f"{value:#x}/{mask:#x}"


def _format_prefix(field: Field, mask: int) -> str:
    ones = mask.bit_count()
    if mask == (field.full_mask >> (field.bits - ones)) << (field.bits - ones):
        return str(ones)
    return _WRITERS[field.form](mask)


def format_mac(value: int) -> str:
    """A 48-bit number as "aa:bb:cc:dd:ee:ff"."""
    return value.to_bytes(6, "big").hex(":")


def format_port(port: int) -> str:
    """A port number, reserved ones by name."""
    known = PortNumber(port)
    return str(port) if known.name.startswith("UNKNOWN") else known.name


def _format_hex(value: int) -> str:
    return f"{value:#x}" if value else "0"


def format_ipv6(value: int) -> str:
    """RFC 5952, without its section 5: from Python 3.13 on `str` ends IPv4-mapped addresses as IPv4
    does, and a flow's text is the same with every version."""
    address = ipaddress.IPv6Address(value)
    if address.ipv4_mapped is None:
        return str(address)
    return f"::ffff:{value >> 16 & 0xFFFF:x}:{value & 0xFFFF:x}"


_WRITERS: Final[dict[Form, Callable[[int], str]]] = {
    Form.DECIMAL: str,
    Form.HEX: _format_hex,
    Form.FLAGS: _format_hex,
    Form.FRAGMENT: _format_hex,
    Form.PORT: format_port,
    Form.MAC: format_mac,
    Form.IPV4: lambda value: str(ipaddress.IPv4Address(value)),
    Form.IPV6: format_ipv6,
}
