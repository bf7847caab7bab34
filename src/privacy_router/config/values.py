"""The kinds of value that the document holds: what is accepted, and in which words it is asked for.

Every kind carries an `Expected`, so a person reads one sentence that covers the whole rule instead
of the first bound that failed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Strict, StringConstraints
from pydantic_core import core_schema

from privacy_router.config.policies import CONTAINER_ID_MAX, CONTAINER_ID_MIN, parse_selector

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, ValidationInfo

INTERFACE_NAME_MAX_BYTES = 15
"""IFNAMSIZ of Linux without its closing NUL."""

RESERVED_PORT_NAMES = frozenset(
    {"all", "any", "controller", "flood", "in_port", "local", "none", "normal", "table", "unset"}
)
"""Names (lower case) that OpenFlow 1.3.5, 7.2.1 or Open vSwitch give to ports of their own."""

BASE_DIRECTORY = "base_directory"
"""Key of the validation context: where relative paths of the document start."""

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)\Z")
_KEY_MATERIAL = re.compile(r"[A-Za-z0-9+/_-]{42,43}={0,2}\Z")
_HOST_NAME_MAX_CHARS = 253
_PORT_MAX = 65535

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Expected:
    """Annotation: an error in the value is worded as what was expected, by this text."""

    words: str

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Wrap the annotated value's schema so that it has this one error."""
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="expected", custom_error_message=self.words
        )


def _interface_name(name: str) -> str:
    if name in {".", ".."} or name.isdigit() or name.lower() in RESERVED_PORT_NAMES:
        raise ValueError("not a name for an interface")
    return name


def is_host_name(name: str) -> bool:
    """Whether `name` is a host name (RFC 1123, 2.1) that may exist outside this machine."""
    labels = name.removesuffix(".").split(".")
    return (
        len(name) <= _HOST_NAME_MAX_CHARS
        and all(_LABEL.match(label) for label in labels)
        and not labels[-1].isdigit()
        and labels[-1].lower() != "localhost"
    )


def is_unicast(address: Address) -> bool:
    """Whether another machine can have this address: neither loopback, unspecified nor multicast.

    An IPv4 address inside an IPv6 one (RFC 4291, 2.5.5.2) is judged as what it stands for.
    """
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if inner is not None:
        return is_unicast(inner)
    future_use = isinstance(address, IPv4Address) and address.is_reserved
    return not (
        address.is_loopback
        or address.is_unspecified
        or address.is_multicast
        or address.is_link_local
        or future_use
    )


def parse_address(text: str) -> Address | None:
    """The address that `text` writes, or None when it is something else."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def _host(text: str) -> str:
    address = parse_address(text)
    if is_host_name(text) if address is None else is_unicast(address):
        return text
    raise ValueError("neither a host name nor a unicast address")


def _host_name(text: str) -> str:
    if not is_host_name(text):
        raise ValueError("not a host name")
    return text


def split_host_port(text: str) -> tuple[str, int]:
    """Split `host:port` or `[IPv6 address]:port`; raises ValueError for anything else."""
    host, colon, port_text = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port_text):
        raise ValueError("no port")
    port = int(port_text)
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not 1 <= port <= _PORT_MAX or bracketed != (":" in bare):
        raise ValueError("not host:port")
    return _host(bare), port


def _host_port(text: str) -> str:
    split_host_port(text)
    return text


def _ipv4_network(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    if isinstance(value, str) and "/" in value:
        return IPv4Network(value)
    raise ValueError("not an IPv4 network")


def _ipv6_network(value: object) -> IPv6Network:
    if isinstance(value, IPv6Network):
        return value
    if isinstance(value, str) and "/" in value:
        return IPv6Network(value)
    raise ValueError("not an IPv6 network")


def _server_address(value: object) -> Address:
    address = parse_address(value) if isinstance(value, str) else value
    if not isinstance(address, (IPv4Address, IPv6Address)):
        raise ValueError("not an address")  # noqa: TRY004 - pydantic reports ValueError only
    if not is_unicast(address) or getattr(address, "scope_id", None):
        raise ValueError("not a unicast address")
    return address


def _is_web_address(parts: SplitResult) -> bool:
    plain = parts.username is None and not parts.query and not parts.fragment
    return plain and parts.scheme in {"http", "https"} and bool(parts.hostname)


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    port_is_valid = parts.port != 0
    if not (text.isprintable() and " " not in text and _is_web_address(parts) and port_is_valid):
        raise ValueError("not a web address")
    return text


def _file_path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("not a path")
    if _KEY_MATERIAL.match(value) and not value.startswith("/"):
        raise ValueError("a key instead of the file that holds it")
    base = (info.context or {}).get(BASE_DIRECTORY)
    return Path(value) if base is None else Path(base) / value


def _selector(text: str) -> str:
    parse_selector(text)
    return text


def _sentence(text: str) -> str:
    # Descriptions are printed on terminals: no control or direction characters.
    if not text.isprintable():
        raise ValueError("not one printable line")
    return text


def _whole_number(value: object) -> object:
    # True and 1.0 equal 1 in Python; the version is written as 1 only.
    if isinstance(value, bool | float):
        raise ValueError("not a whole number")  # noqa: TRY004 - pydantic reports ValueError only
    return value


Mode = Annotated[
    Literal["enforce", "observe-only"], Expected("enforce (keep it so) or observe-only (report)")
]
"""What becomes of a difference."""
Flag = Annotated[bool, Strict(), Expected("true or false")]
Port = Annotated[
    int,
    Strict(),
    Field(ge=1, le=_PORT_MAX),
    Expected("a port number, 1 to 65535"),
]
ContainerId = Annotated[
    int,
    Strict(),
    Field(ge=CONTAINER_ID_MIN, le=CONTAINER_ID_MAX),
    Expected("a container id, 100 to 999999999"),
]
MtuBytes = Annotated[
    int,
    Strict(),
    Field(ge=1280, le=1500),
    Expected("an MTU in bytes, 1280 to 1500"),
]
KeepaliveSeconds = Annotated[
    int,
    Strict(),
    Field(ge=0, le=65535),
    Expected("a number of seconds, 0 (off) to 65535"),
]
Priority = Annotated[int, Strict(), Field(ge=0, le=65535), Expected("a flow priority, 0 to 65535")]
PacketRate = Annotated[
    int,
    Strict(),
    Field(ge=1, le=1_000_000),
    Expected("a number of packets per second, 1 to 1000000, or null for no limit"),
]
Ttl = Annotated[
    int, Strict(), Field(ge=2, le=255), Expected("a TTL with which packets leave, 2 to 255")
]
ObfuscationLevel = Annotated[
    int, Strict(), Field(ge=0, le=3), Expected("an obfuscation level, 0 to 3")
]
InterfaceName = Annotated[
    str,
    # The kernel refuses "/", ":" and white space, and reads "%" as a pattern for numbering.
    StringConstraints(
        strict=True, min_length=1, max_length=INTERFACE_NAME_MAX_BYTES, pattern=r"^[!-$&-.0-9;-~]+$"
    ),
    AfterValidator(_interface_name),
    Expected(
        "an interface name: 1 to 15 bytes of printable ASCII without spaces, '/', ':' or '%', "
        "not a number and not a port name of OpenFlow's own"
    ),
]
SocketName = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=64, pattern=r"^[!-~]+$"),
    Expected("a socket name such as internal_100: printable ASCII without spaces"),
]
"""Looser than InterfaceName: its length and its number are judged together with the container."""
Identifier = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$"),
    Expected("a name of 1 to 64 letters, digits, '_', '-' or '.'"),
]
ContainerName = Annotated[
    str,
    StringConstraints(
        strict=True,
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$",
    ),
    Expected("a host label: 1 to 63 letters, digits or '-', no '-' at either end"),
]
Host = Annotated[
    str,
    Strict(),
    AfterValidator(_host),
    Expected(
        "a host name (its xn-- form when it is not ASCII) or an IP address, without a port; "
        "not a loopback, unspecified, link-local or multicast one"
    ),
]
HostName = Annotated[
    str, Strict(), AfterValidator(_host_name), Expected("a host name, not an IP address")
]
HostPort = Annotated[
    str, Strict(), AfterValidator(_host_port), Expected("a target such as dl.google.com:443")
]
WebAddress = Annotated[
    str,
    Strict(),
    AfterValidator(_web_address),
    Expected("a web address that starts with https:// (or http://), without user name or query"),
]
FilePath = Annotated[
    Path,
    BeforeValidator(_file_path),
    Expected("the path of a file (not the contents of that file)"),
]
Ipv4Subnet = Annotated[
    IPv4Network,
    BeforeValidator(_ipv4_network),
    Expected("an IPv4 subnet with its prefix length and no host bits, such as 10.102.0.0/24"),
]
Ipv6Subnet = Annotated[
    IPv6Network,
    BeforeValidator(_ipv6_network),
    Expected("an IPv6 subnet with its prefix length and no host bits, such as fd70::/64"),
]
ServerAddress = Annotated[
    IPv4Address | IPv6Address,
    BeforeValidator(_server_address),
    Expected("the IP address of a DNS server, not a loopback, unspecified or multicast one"),
]
Sentence = Annotated[
    str,
    StringConstraints(strict=True, max_length=200),
    AfterValidator(_sentence),
    Expected("one line of at most 200 printable characters"),
]
MatchField = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=64, pattern=r"^[a-z0-9_]+$"),
    Expected("the name of a match field such as in_port or tcp_dst"),
]
MatchValue = Annotated[
    Annotated[int, Strict(), Field(ge=0)]
    | Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100)],
    Expected("a text of 1 to 100 characters or a whole number from 0 up"),
]
Action = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=200, pattern=r"^[ -~]+$"),
    Expected("an action such as output:warp0"),
]
Selector = Annotated[
    str,
    StringConstraints(
        strict=True,
        max_length=64,
        pattern=r"^(container:(\*|[1-9][0-9]{2,8}(-[1-9][0-9]{2,8})?)|port:[!-~]+)$",
    ),
    AfterValidator(_selector),
    Expected(
        "a selector: container:*, container:200, container:100-199 (from 100 up, the lower id "
        "first) or port: with a pattern of '*' and '?' such as port:internal_*"
    ),
]
WholeNumberOnly = BeforeValidator(_whole_number)
