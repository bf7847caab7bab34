"""A WARP tunnel as a WireGuard profile: wgcf's `wgcf-profile.conf`, or any other `.conf` (pure).

Format: wg(8) and wg-quick(8), section CONFIGURATION FILE FORMAT.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import defaultdict
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from typing import TYPE_CHECKING, TypeVar

from privacy_router.config.values import split_host_port
from privacy_router.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Reserved = tuple[int, int, int]
Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface
T = TypeVar("T")

TEXT_LIMIT_CHARS = 64 * 1024
SHOWN_PROBLEMS_MAX = 20
KEY_BYTES = 32
EVERYWHERE: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
WGCF_DNS = "1.1.1.1, 1.0.0.1, 2606:4700:4700::1111, 2606:4700:4700::1001"
DEFAULT_MTU_BYTES = 1280

_MTU_RANGE_BYTES = range(576, 65536)
_KEEPALIVE_RANGE_S = range(65536)
_ITEM = re.compile(r"\s*,\s*")


class ProfileError(InvalidError):
    """A profile or an account file cannot be used. `problems` are sentences without secrets."""

    def __init__(self, subject: str, problems: tuple[str, ...]) -> None:
        shown = problems[:SHOWN_PROBLEMS_MAX]
        more = len(problems) - len(shown)
        text = "; ".join(shown) + (f"; and {more} more" if more else "")
        super().__init__(
            f"{subject} cannot be used: {text}",
            remedy="correct what is named, or make the file again (wgcf generate)",
        )
        self.problems = problems


@dataclass(frozen=True)
class WarpProfile:
    """One tunnel with one peer. Keys are base64; `keepalive_s` 0 means off, None unset, as does
    `mtu_bytes` None.

    `endpoint_host` is an address without brackets or a host name. `reserved` are the bytes 1 to 3
    of every WireGuard message, where Cloudflare wants some. `left_out` are the names of keys that
    were there and are none of a tunnel's that a program has in its hand.
    """

    private_key: str = field(repr=False)
    v4: IPv4Interface | None
    v6: IPv6Interface | None
    peer_public_key: str
    endpoint_host: str
    endpoint_port: int
    mtu_bytes: int | None = DEFAULT_MTU_BYTES
    keepalive_s: int | None = None
    reserved: Reserved | None = None
    preshared_key: str | None = field(default=None, repr=False)
    allowed_ips: tuple[Network, ...] = EVERYWHERE
    left_out: tuple[str, ...] = field(default=(), compare=False)

    @property
    def addresses(self) -> tuple[Interface, ...]:
        """The addresses inside the tunnel, IPv4 first."""
        return tuple(address for address in (self.v4, self.v6) if address is not None)

    @property
    def endpoint(self) -> str:
        """Where the peer is, as `host:port`; IPv6 in brackets."""
        host = f"[{self.endpoint_host}]" if ":" in self.endpoint_host else self.endpoint_host
        return f"{host}:{self.endpoint_port}"


def render_profile(profile: WarpProfile) -> str:
    """The profile in the order of keys that wgcf uses; it holds a key, so keep the file private."""
    lines = ["[Interface]", f"PrivateKey = {profile.private_key}"]
    lines.append(f"Address = {', '.join(str(address) for address in profile.addresses)}")
    lines.append(f"DNS = {WGCF_DNS}")
    if profile.mtu_bytes is not None:
        lines.append(f"MTU = {profile.mtu_bytes}")
    lines += ["[Peer]", f"PublicKey = {profile.peer_public_key}"]
    if profile.preshared_key is not None:
        lines.append(f"PresharedKey = {profile.preshared_key}")
    lines.append(f"AllowedIPs = {', '.join(str(network) for network in profile.allowed_ips)}")
    lines.append(f"Endpoint = {profile.endpoint}")
    if profile.keepalive_s is not None:
        lines.append(f"PersistentKeepalive = {profile.keepalive_s}")
    if profile.reserved is not None:
        lines.append(f"Reserved = {', '.join(str(byte) for byte in profile.reserved)}")
    return "\n".join(lines) + "\n"


def parse_profile_untrusted(text: str) -> WarpProfile:
    """Read a WireGuard profile with one peer. Raises ProfileError, which quotes no values."""
    if len(text) > TEXT_LIMIT_CHARS:
        raise ProfileError("the WireGuard profile", (f"over {TEXT_LIMIT_CHARS} characters",))
    reader = _Reader(text)
    profile = reader.profile()
    if reader.problems or profile is None:
        raise ProfileError("the WireGuard profile", tuple(reader.problems))
    return profile


def decode_key(text: str) -> bytes:
    """The 32 bytes of a key in base64; raises ValueError, also for the all-zero key."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(raw) != KEY_BYTES or not any(raw):
        raise ValueError(f"not {KEY_BYTES} bytes")
    return raw


def decode_reserved(text: str) -> Reserved:
    """Three bytes, as numbers with commas or as base64; raises ValueError."""
    if "," in text:
        raw = bytes(int(item) for item in _ITEM.split(text))
    else:
        raw = base64.b64decode(text, validate=True)
    first, second, third = raw
    return (first, second, third)


_INTERFACE, _PEER = "interface", "peer"
_WITHOUT_A_FIELD = ("DNS", "ListenPort", "FwMark", "Table", "SaveConfig")
_HOOK_NAMES = ("PreUp", "PostUp", "PreDown", "PostDown")
_NAMES = {
    _INTERFACE: (
        *("PrivateKey", "Address", "MTU", "Reserved"),
        *_WITHOUT_A_FIELD,
        *_HOOK_NAMES,
    ),
    _PEER: (
        *("PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"),
        "Reserved",
    ),
}
_KEYS = {section: {name.lower(): name for name in names} for section, names in _NAMES.items()}
_HOOKS = frozenset(name.lower() for name in _HOOK_NAMES)
_REPEATABLE = frozenset({"address", "allowedips", "dns"})


class _Reader:
    """One pass over the lines, then one over the values; collects every problem on the way."""

    def __init__(self, text: str) -> None:
        self.problems: list[str] = []
        self._values: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._section: str | None = None
        self._peers = 0
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
            content = line.partition("#")[0].strip()
            if content.startswith("["):
                self._enter(number, content)
            elif content:
                self._take(number, content)

    def _enter(self, number: int, header: str) -> None:
        name = header.removeprefix("[").removesuffix("]").strip().lower()
        self._section = name if name in _KEYS else None
        if self._section is None:
            self._note_problem(number, "a section that is neither [Interface] nor [Peer]")
        self._peers += name == _PEER
        if name == _PEER and self._peers == 2:
            self._note_problem(number, "a second [Peer]; one is expected")

    def _take(self, number: int, content: str) -> None:
        name, equals, value = (part.strip() for part in content.partition("="))
        known = _KEYS.get(self._section or "", {})
        key = name.lower()
        if not equals:
            self._note_problem(number, "not of the form Key = Value")
        elif self._section is None:
            self._note_problem(number, "a key outside [Interface] and [Peer]")
        elif key not in known:
            near = get_close_matches(key[:40], known, n=1)
            hint = f"; did you mean {known[near[0]]}?" if near else ""
            self._note_problem(number, f"an unknown key{hint}")
        elif key in _HOOKS:
            self._note_problem(number, f"{known[key]} runs commands; remove the line")
        elif self._values[key] and key not in _REPEATABLE:
            self._note_problem(number, f"{known[key]} for the second time")
        else:
            self._values[key].append((number, value))

    def _note_problem(self, number: int, what: str) -> None:
        self.problems.append(f"line {number}: {what}")

    def profile(self) -> WarpProfile | None:
        """The profile, or None after a problem was noted."""
        private_key = self._required("PrivateKey", _key, "32 bytes in base64")
        public_key = self._required("PublicKey", _key, "32 bytes in base64")
        endpoint = self._required("Endpoint", split_host_port, "host:port or [IPv6 address]:port")
        v4, v6 = self._addresses()
        mtu_bytes = self._one("MTU", _number(_MTU_RANGE_BYTES), "576 to 65535")
        keepalive_s = self._one("PersistentKeepalive", _keepalive, "0 to 65535, or off")
        reserved = self._one("Reserved", decode_reserved, "three bytes")
        preshared_key = self._one("PresharedKey", _key, "32 bytes in base64")
        allowed_ips = tuple(self._each("AllowedIPs", _network, "networks"))
        if self.problems or private_key is None or public_key is None or endpoint is None:
            return None
        return WarpProfile(
            private_key=private_key,
            v4=v4,
            v6=v6,
            peer_public_key=public_key,
            endpoint_host=endpoint[0],
            endpoint_port=endpoint[1],
            mtu_bytes=mtu_bytes,
            keepalive_s=keepalive_s,
            reserved=reserved,
            preshared_key=preshared_key,
            allowed_ips=allowed_ips or EVERYWHERE,
            left_out=self._left_out(),
        )

    def _left_out(self) -> tuple[str, ...]:
        """The keys that have no field; wgcf's own DNS, which each of its profiles has, is no
        wish."""
        dns = ", ".join(value for _, value in self._values["dns"])
        found = [name for name in _WITHOUT_A_FIELD if self._values[name.lower()]]
        return tuple(name for name in found if name != "DNS" or dns != WGCF_DNS)

    def _required(self, name: str, parse: Callable[[str], T], expected: str) -> T | None:
        if not self._values[name.lower()]:
            section = "Interface" if name.lower() in _KEYS[_INTERFACE] else "Peer"
            self.problems.append(f"{name} is missing in [{section}]")
        return self._one(name, parse, expected)

    def _one(self, name: str, parse: Callable[[str], T], expected: str) -> T | None:
        for number, value in self._values[name.lower()]:
            try:
                return parse(value)
            except ValueError:
                self._note_problem(number, f"{name} is not {expected}")
        return None

    def _each(self, name: str, parse: Callable[[str], T], expected: str) -> Iterator[T]:
        for number, value in self._values[name.lower()]:
            for item in _ITEM.split(value):
                try:
                    yield parse(item)
                except ValueError:
                    self._note_problem(number, f"{name} are not {expected}")

    def _addresses(self) -> tuple[IPv4Interface | None, IPv6Interface | None]:
        found = list(self._each("Address", ip_interface, "IP addresses"))
        v4 = [address for address in found if isinstance(address, IPv4Interface)]
        v6 = [address for address in found if isinstance(address, IPv6Interface)]
        if not found and not self._values["address"]:
            self.problems.append("Address is missing in [Interface]")
        if len(v4) > 1 or len(v6) > 1:
            number = self._values["address"][-1][0]
            self._note_problem(number, "more than one Address of a family")
        return (v4[0] if v4 else None, v6[0] if v6 else None)


def _key(text: str) -> str:
    decode_key(text)
    return text


def _network(text: str) -> Network:
    return ip_network(text, strict=False)


def _number(allowed: range) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
        if value not in allowed:
            raise ValueError("out of range")
        return value

    return parse


def _keepalive(text: str) -> int:
    return 0 if text.lower() == "off" else _number(_KEEPALIVE_RANGE_S)(text)
