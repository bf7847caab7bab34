"""BPF programs at a device's tcx hooks (Linux 6.6), where no queueing discipline tells of them.

Source: bpf(2) and linux/bpf.h (union bpf_attr).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.host.libc import bpf

if TYPE_CHECKING:
    from collections.abc import Iterator

_DETACH_PROGRAM, _PROGRAM_BY_ID, _QUERY = 9, 13, 16
_LINK_BY_ID, _DETACH_LINK = 30, 34
_DIRECTIONS: Final = {46: "into", 47: "out of"}  # BPF_TCX_INGRESS, BPF_TCX_EGRESS
# index, attach type, query and attach flags, program ids, count, programs' flags, link ids,
# links' flags, revision
_ASKED: Final = struct.Struct("=IIIIQI4xQQQQ")
_ID: Final = struct.Struct("=III")
_DETACHED: Final = struct.Struct("=IIIIIIQ")
_MOST: Final = 64  # programs at one hook: the kernel takes no more (BPF_MPROG_MAX)
_ABSENT: Final = {errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Attached:
    """A program, or the link that holds it, at a device's hook."""

    index: int
    hook: int
    program: int
    link: int

    @property
    def direction(self) -> str:
        """What it sees: the packets `into` or `out of` the device."""
        return _DIRECTIONS[self.hook]

    def remove_here(self) -> None:
        """Detach it. Raises OSError; ENOENT when it is gone."""
        by_id = _LINK_BY_ID if self.link else _PROGRAM_BY_ID
        descriptor, _ = bpf(by_id, _ID.pack(self.link or self.program, 0, 0))
        try:
            if self.link:
                bpf(_DETACH_LINK, struct.pack("=I", descriptor))
            else:
                order = _DETACHED.pack(self.index, descriptor, self.hook, 0, 0, 0, 0)
                bpf(_DETACH_PROGRAM, order)
        finally:
            os.close(descriptor)


def read_here(index: int) -> Iterator[Attached]:
    """The programs at the hooks of a device, by its index in the namespace that the calling thread
    is in; none where the kernel has no such hooks. Raises OSError."""
    for hook in _DIRECTIONS:
        programs, links = (ctypes.c_uint32 * _MOST)(), (ctypes.c_uint32 * _MOST)()
        places = ctypes.addressof(programs), ctypes.addressof(links)
        asked = _ASKED.pack(index, hook, 0, 0, places[0], _MOST, 0, places[1], 0, 0)
        try:
            _, answer = bpf(_QUERY, asked)
        except OSError as error:
            if error.errno in _ABSENT:
                return
            if error.errno in (errno.ENOENT, errno.ENODEV):
                continue  # nothing was ever attached there, or the device is gone
            raise
        for place in range(_ASKED.unpack(answer)[5]):
            yield Attached(index, hook, programs[place], links[place])
