"""The tables of legacy iptables (not nft's), which nftables neither lists nor removes.

A table is there once a program has looked at it, and stays as long as its network namespace; it
does something only when it has a rule, or a policy that does not accept. Source: the kernel's
linux/netfilter_ipv4/ip_tables.h and netfilter_ipv6/ip6_tables.h.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privacy_router.host.libc import getsockopt

if TYPE_CHECKING:
    from collections.abc import Iterator

_GET_INFO, _GET_ENTRIES, _SET_REPLACE = 64, 65, 64  # IPT_SO_…, and the same of IP6T_SO_…
_INFO: Final = struct.Struct("=32sI5I5III")  # struct ipt_getinfo
_ENTRIES: Final = struct.Struct("=32sI4x")  # struct ipt_get_entries, without what follows
_REPLACE: Final = struct.Struct("=32sIII5I5IIQ")  # struct ipt_replace, without what follows
_OFFSETS: Final = struct.Struct("=HH")  # target_offset, next_offset
_TARGET: Final = struct.Struct("=H29sB")  # struct xt_entry_target
_VERDICT: Final = struct.Struct("=i4x")
_ACCEPT: Final = -2  # -NF_ACCEPT - 1
_ERROR_NAME: Final = b"ERROR"
_ERROR_PADDING_BYTES: Final = 32
_COUNTER_BYTES: Final = 16
_HOOKS: Final = 5


@dataclass(frozen=True)
class Family:
    """One version of IP: where its options are, and the layout of its entries in bytes."""

    program: str
    domain: int
    level: int
    names: str
    entry_bytes: int
    offsets_at: int


_FAMILIES: Final = (
    Family("iptables", socket.AF_INET, socket.IPPROTO_IP, "ip_tables_names", 112, 88),
    Family("ip6tables", socket.AF_INET6, socket.IPPROTO_IPV6, "ip6_tables_names", 168, 140),
)


@dataclass(frozen=True)
class LegacyTable:
    """A table that does something."""

    family: Family
    name: str

    def __str__(self) -> str:
        return f"{self.family.program} table {self.name}"

    def remove_here(self) -> None:
        """Leave the table without a rule, and with policies that accept. Raises OSError."""
        with closing(_socket(self.family)) as line:
            info = _info(line, self.family, self.name)
            counters = ctypes.create_string_buffer(info.entries * _COUNTER_BYTES)
            request = blank(self.family, self.name, info.valid_hooks)
            old = struct.pack("=IQ", info.entries, ctypes.addressof(counters))
            head = request[: _REPLACE.size - len(old)] + old
            line.setsockopt(self.family.level, _SET_REPLACE, head + request[_REPLACE.size :])


@dataclass(frozen=True)
class _Info:
    """What the kernel says of a table; places are bytes from its first entry on."""

    valid_hooks: int
    hook_entries: tuple[int, ...]
    entries: int
    size: int

    @property
    def hooks(self) -> tuple[int, ...]:
        """The hooks at which the table is asked."""
        return tuple(hook for hook in range(_HOOKS) if self.valid_hooks & 1 << hook)


def read_here() -> Iterator[LegacyTable]:
    """The tables of the namespace that the calling thread is in that do something.

    Raises OSError.
    """
    for family in _FAMILIES:
        for name in _names(family):
            if not _is_blank(family, name):
                yield LegacyTable(family, name)


def blank(family: Family, name: str, valid_hooks: int) -> bytes:
    """A table with a policy that accepts at each of its hooks, as struct ipt_replace."""
    hooks = [hook for hook in range(_HOOKS) if valid_hooks & 1 << hook]
    accepts = _entry(family, b"", _VERDICT.pack(_ACCEPT))
    places = {hook: number * len(accepts) for number, hook in enumerate(hooks)}
    at = [places.get(hook, 0) for hook in range(_HOOKS)]
    last = _entry(family, _ERROR_NAME, _ERROR_NAME.ljust(_ERROR_PADDING_BYTES, b"\0"))
    content = accepts * len(hooks) + last
    entries = len(hooks) + 1
    head = (name.encode(), valid_hooks, entries, len(content), *at, *at, 0, 0)
    return _REPLACE.pack(*head) + content


def _entry(family: Family, target: bytes, content: bytes) -> bytes:
    """An entry for every packet, with its target."""
    size = _TARGET.size + len(content)
    offsets = _OFFSETS.pack(family.entry_bytes, family.entry_bytes + size)
    entry = bytes(family.offsets_at) + offsets
    return entry.ljust(family.entry_bytes, b"\0") + _TARGET.pack(size, target, 0) + content


def _names(family: Family) -> list[str]:
    """The tables that are there; none where the kernel has no legacy iptables."""
    try:
        return Path("/proc/thread-self/net", family.names).read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []


def _is_blank(family: Family, name: str) -> bool:
    with closing(_socket(family)) as line:
        try:
            info = _info(line, family, name)
            if info.entries != len(info.hooks) + 1:
                return False
            content = _entries(line, family, name, info.size)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return False  # another program is writing it
            raise
    return all(_accepts(family, content, info.hook_entries[hook]) for hook in info.hooks)


def _accepts(family: Family, content: bytes, place: int) -> bool:
    """Whether the entry there is one that takes every packet and accepts it."""
    entry = content[place : place + family.entry_bytes]
    target, _ = _OFFSETS.unpack_from(entry, family.offsets_at)
    _, name, _ = _TARGET.unpack_from(content, place + target)
    (verdict,) = _VERDICT.unpack_from(content, place + target + _TARGET.size)
    return target == family.entry_bytes and not name.strip(b"\0") and verdict == _ACCEPT


def _socket(family: Family) -> socket.socket:
    return socket.socket(family.domain, socket.SOCK_RAW, socket.IPPROTO_RAW)


def _info(line: socket.socket, family: Family, name: str) -> _Info:
    asked = name.encode().ljust(_INFO.size, b"\0")
    answer = getsockopt(line, family.level, _GET_INFO, asked)
    _, valid_hooks, *places, entries, size = _INFO.unpack(answer)
    return _Info(valid_hooks, tuple(places[:_HOOKS]), entries, size)


def _entries(line: socket.socket, family: Family, name: str, size: int) -> bytes:
    asked = _ENTRIES.pack(name.encode(), size) + bytes(size)
    return getsockopt(line, family.level, _GET_ENTRIES, asked)[_ENTRIES.size :]
