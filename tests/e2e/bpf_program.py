"""A BPF program that drops every packet that comes in by a device, attached at its tcx hook.

    bpf_program.py DEVICE program | link | look

`program` attaches it by itself, `link` by a link that outlives this process (it is pinned nowhere:
a child process that sleeps keeps it), `look` prints how many are there.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import time

from privacy_router.host import tcx
from privacy_router.host.libc import bpf

LOAD_PROGRAM, ATTACH_PROGRAM, CREATE_LINK = 5, 8, 28
SCHEDULER_CLASSIFIER, TCX_INGRESS = 3, 46
DROP = struct.pack("<BBhi", 0xB7, 0, 0, 2)  # r0 = TC_ACT_SHOT
EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)
KEPT_S = 60.0


def load() -> int:
    """The program's descriptor."""
    code = ctypes.create_string_buffer(DROP + EXIT)
    license_text = ctypes.create_string_buffer(b"GPL")
    places = ctypes.addressof(code), ctypes.addressof(license_text)
    descriptor, _ = bpf(
        LOAD_PROGRAM, struct.pack("=IIQQ", SCHEDULER_CLASSIFIER, 2, *places) + bytes(96)
    )
    return descriptor


def main(device: str, what: str) -> None:
    """Do what the module says."""
    index = socket.if_nametoindex(device)
    if what == "look":
        print(len(list(tcx.read_here(index))))
    elif what == "program":
        bpf(ATTACH_PROGRAM, struct.pack("=IIIIIIQ", index, load(), TCX_INGRESS, 0, 0, 0, 0))
    elif os.fork() == 0:
        os.closerange(0, 3)
        bpf(CREATE_LINK, struct.pack("=IIII", load(), index, TCX_INGRESS, 0) + bytes(32))
        time.sleep(KEPT_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
