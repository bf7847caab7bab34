"""The few system calls that Python 3.11 does not offer, by way of libc."""

from __future__ import annotations

import ctypes
import errno
import os
from enum import IntFlag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)


class CloneFlag(IntFlag):
    """Kinds of namespace; see namespaces(7)."""

    NEWNS = 0x00020000
    NEWUTS = 0x04000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000


class MountFlag(IntFlag):
    """Flags of mount(2)."""

    BIND = 0x1000
    RECURSIVE = 0x4000
    PRIVATE = 0x40000
    SHARED = 0x100000


_UMOUNT_DETACH = 2
_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "armv7l": 386}
_PR_SET_PDEATHSIG = 1


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)


def setns(namespace_fd: int, kind: CloneFlag) -> None:
    """Move the calling thread into the namespace behind `namespace_fd`; setns(2)."""
    _check(_LIBC.setns(namespace_fd, int(kind)), "setns")


def unshare(kinds: CloneFlag) -> None:
    """Give the calling thread namespaces of its own; unshare(2)."""
    _check(_LIBC.unshare(int(kinds)), "unshare")


def mount(source: str, target: Path | str, kind: str | None, flags: MountFlag) -> None:
    """Mount; mount(2)."""
    fs_type = kind.encode() if kind else None
    _check(
        _LIBC.mount(source.encode(), str(target).encode(), fs_type, int(flags), None), str(target)
    )


def unmount(target: Path) -> None:
    """Detach a mount at once and release it when it is no longer used; umount2(2)."""
    _check(_LIBC.umount2(str(target).encode(), _UMOUNT_DETACH), str(target))


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to signal this process when its parent ends; prctl(2)."""
    _check(_LIBC.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def getsockopt(line: socket.socket, level: int, option: int, asked: bytes) -> bytes:
    """What the kernel makes of `asked`, of the same length; getsockopt(2)."""
    content = ctypes.create_string_buffer(asked, len(asked))
    size = ctypes.c_uint32(len(asked))
    result = _LIBC.getsockopt(line.fileno(), level, option, content, ctypes.byref(size))
    _check(result, "getsockopt")
    return content.raw[: size.value]


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """The result of bpf(2), and what it left in the place of the attributes."""
    content = ctypes.create_string_buffer(attributes, len(attributes))
    number = _SYS_BPF.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "bpf")
    result = _LIBC.syscall(number, command, content, len(attributes))
    _check(min(result, 0), "bpf")
    return result, content.raw
