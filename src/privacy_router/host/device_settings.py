"""The kernel settings of all devices of a namespace at once, as one value to compare.

A file for each setting (host/sysctl.py) costs a hundred times as much to read. The kernel lists
them by number beside each device; linux/if_link.h (IFLA_AF_SPEC), linux/ip.h, linux/ipv6.h.
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6
from typing import Final

from privacy_router.host.rtnetlink import (
    Verb,
    ask,
    decode_attributes,
    encode_attributes,
    open_socket,
    u32,
)

_LINK: Final = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_AF_SPEC, _EXT_MASK = 26, 29  # IFLA_…
_WITHOUT_STATISTICS: Final = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_SETTINGS_OF: Final = {int(AF_INET): 1, int(AF_INET6): 2}  # IFLA_INET_CONF, IFLA_INET6_CONF

Snapshot = tuple[tuple[int, tuple[bytes, ...]], ...]
"""The number of each device and its settings, as the kernel writes them."""


def snapshot_here() -> Snapshot:
    """Of the namespace that the calling thread is in: equal as long as no setting of a device
    changes. Raises OSError."""
    request = bytes(_LINK.size) + encode_attributes(((_EXT_MASK, u32(_WITHOUT_STATISTICS)),))
    with open_socket(None) as line:
        return tuple(_settings(content) for content in ask(line, Verb.GETLINK, request))


def _settings(content: bytes) -> tuple[int, tuple[bytes, ...]]:
    attributes = dict(decode_attributes(content[_LINK.size :]))
    protocols = dict(decode_attributes(attributes.get(_AF_SPEC, b"")))
    return _LINK.unpack_from(content)[2], tuple(
        dict(decode_attributes(protocols.get(family, b""))).get(settings, b"")
        for family, settings in _SETTINGS_OF.items()
    )
