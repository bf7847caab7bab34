"""The process that is wireguard-go: `python -m privacy_router.host.wireguard_runner DEVICE`.

It is denied one setting of its UDP sockets, UDP_GRO, by which the kernel hands over datagrams that
came in a row as one. Versions since October 2023 (Debian 13's) forget with it at which address of
the machine a datagram came in, and answer from the one that the kernel prefers: a client behind NAT
or a firewall that called another address of the machine never hears of it. Without the setting they
remember, as their source means them to (conn/bind_std.go: splitCoalescedMessages copies no control
messages, so that getSrcFromControl finds none).

Imports the standard library only: it is gone as soon as it has become wireguard-go.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from typing import Final

PROGRAM: Final = "wireguard-go"
_NOT_FOUND: Final = 127
"""How a shell says that there is no such program."""

# linux/seccomp.h, linux/filter.h, linux/audit.h, linux/prctl.h, linux/udp.h
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_UDP, _UDP_GRO = 17, 104
_SETSOCKOPT: Final = {"x86_64": (0xC000003E, 54), "aarch64": (0xC00000B7, 208)}
"""The architecture and the number of setsockopt(2) by what uname(2) calls the machine; both are
little-endian."""
_INSTRUCTION: Final = struct.Struct("=HBBI")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def main(arguments: list[str]) -> int:
    """Become wireguard-go; returns an exit code only when that fails."""
    if len(arguments) != 1:
        print(f"usage: python -m {__spec__.name} DEVICE", file=sys.stderr)
        return 2
    try:
        deny(without_receive_offload(*_SETSOCKOPT[os.uname().machine]))
    except (OSError, KeyError) as error:
        print(f"answers may come from another address than was called: {error}", file=sys.stderr)
    try:
        os.execvp(PROGRAM, [PROGRAM, "--foreground", *arguments])  # noqa: S606
    except OSError as error:
        print(f"{PROGRAM} cannot be run: {error.strerror}", file=sys.stderr)
        return _NOT_FOUND


def without_receive_offload(architecture: int, setsockopt: int) -> bytes:
    """A filter of system calls: all but setsockopt(…, SOL_UDP, UDP_GRO, …), which fails.

    See seccomp(2). Of an argument the lower half is looked at, since both are of type int.
    """
    wanted = (
        (_ARCHITECTURE_AT, architecture),
        (_NUMBER_AT, setsockopt),
        (_ARGUMENTS_AT + 8, _UDP),
        (_ARGUMENTS_AT + 16, _UDP_GRO),
    )
    made = b""
    for position, (offset, value) in enumerate(wanted):
        to_the_end = 2 * (len(wanted) - position) - 1
        made += _INSTRUCTION.pack(_LOAD, 0, 0, offset)
        made += _INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, to_the_end, value)
    made += _INSTRUCTION.pack(_RETURN, 0, 0, _FAIL | errno.ENOPROTOOPT)
    return made + _INSTRUCTION.pack(_RETURN, 0, 0, _ALLOW)


def deny(filter_: bytes) -> None:
    """Have the kernel apply the filter to this process, and to what it becomes. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(filter_) // _INSTRUCTION.size, filter_)
    for order in ((_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_SET_SECCOMP, _MODE_FILTER, program)):
        arguments = (ctypes.byref(one) if isinstance(one, _Program) else one for one in order)
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
