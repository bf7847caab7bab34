"""Whether a device's driver is left the checksums of what is sent; ethtool(8), linux/ethtool.h.

These functions are for the network namespace that the calling thread is in.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from typing import Final

_SIOCETHTOOL: Final = 0x8946
_GET, _SET = 0x16, 0x17  # ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM
_REQUEST: Final = struct.Struct("16sP16x")  # struct ifreq, as long as its longest content
_VALUE: Final = struct.Struct("=II")  # struct ethtool_value: the command and its number


def offloads_checksums(name: str) -> bool | None:
    """Whether the kernel sends by this device with checksums left to its driver (for some protocol,
    at least); None when there is no such device. Raises OSError."""
    try:
        return bool(_ask(name, _GET))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return None


def set_offloading(name: str, *, wanted: bool) -> None:
    """Have the driver compute the checksums of what is sent, or have the kernel do it before.

    Raises OSError, with EOPNOTSUPP for a device whose driver has no choice.
    """
    _ask(name, _SET, int(wanted))


def _ask(name: str, command: int, number: int = 0) -> int:
    value = ctypes.create_string_buffer(_VALUE.pack(command, number), _VALUE.size)
    request = _REQUEST.pack(name.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        fcntl.ioctl(line, _SIOCETHTOOL, request)
    return int(_VALUE.unpack(value.raw)[1])
