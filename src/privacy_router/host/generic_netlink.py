"""Generic netlink: the numbers of families that the kernel gives out; linux/genetlink.h."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Final

from privacy_router.host.rtnetlink import (
    Flag,
    ask,
    decode_attributes,
    encode_attributes,
    open_socket,
)

if TYPE_CHECKING:
    import socket

HEADER: Final = struct.Struct("=BBH")
"""genlmsghdr: command, version, reserved."""
_PROTOCOL: Final = 16  # NETLINK_GENERIC
_CONTROLLER: Final = 16  # GENL_ID_CTRL
_GET_FAMILY: Final = 3  # CTRL_CMD_GETFAMILY
_FAMILY_ID, _FAMILY_NAME = 1, 2  # CTRL_ATTR_FAMILY_…


def open_generic() -> socket.socket:
    """A socket in the namespace that the calling thread is in. Raises OSError."""
    return open_socket(None, protocol=_PROTOCOL)


def family_number(line: socket.socket, name: str) -> int:
    """The number of a family; asking loads the module that has it, where there is one. Raises
    OSError, FileNotFoundError where the kernel has none."""
    content = HEADER.pack(_GET_FAMILY, 1, 0)
    content += encode_attributes(((_FAMILY_NAME, name.encode() + b"\0"),))
    (answer,) = ask(line, _CONTROLLER, content, Flag(0))
    found = dict(decode_attributes(answer[HEADER.size :]))
    return int.from_bytes(found[_FAMILY_ID], sys.byteorder)
