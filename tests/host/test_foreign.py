"""What does not belong into a hop is recognised in the kernel's own words."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest

from privacy_router.host import foreign
from privacy_router.host.rtnetlink import Flag, ask, encode_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")
DONE, ERROR = 3, 2
NAMES = {7: "warp0"}


def message(kind: int, content: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(content), kind, 0, 0, 0) + content


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end and the kernel's."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        yield ends
    finally:
        for end in ends:
            end.close()


def qdisc(handle: int, parent: int, kind: bytes) -> bytes:
    fixed = struct.pack("=BxxxiIII", 0, 7, handle, parent, 0)
    return message(36, fixed + encode_attributes(((1, kind + b"\0"),)))


def test_only_what_another_program_made_is_foreign(
    line: tuple[socket.socket, socket.socket],
) -> None:
    """What the kernel gives each device has no handle; what hangs below another goes with it."""
    ours, kernels = line
    kernels.send(
        qdisc(0, 0xFFFFFFFF, b"pfifo_fast")
        + qdisc(0xFFFF0000, 0xFFFFFFF1, b"clsact")
        + qdisc(0x80010000, 0xFFFFFFFF, b"htb")
        + qdisc(0x80020000, 0x80010001, b"netem")
    )
    kernels.send(message(DONE, bytes(4)))
    found = dict(foreign._qdiscs(ours, NAMES))
    assert set(found) == {
        "queueing discipline clsact on warp0",
        "queueing discipline htb on warp0",
    }


def test_a_program_at_a_devices_door_is_found_and_its_removal_names_the_device() -> None:
    def door(attached: int) -> bytes:
        return encode_attributes(((2, bytes([attached])),))

    found = dict(foreign._programs({7: ("warp0", door(1)), 8: ("lo", door(0)), 9: ("x", b"")}))
    assert set(found) == {"program on warp0"}
    assert struct.unpack_from("=i", found["program on warp0"].content, 4) == (7,)


def test_a_refusal_of_the_kernel_is_an_error(line: tuple[socket.socket, socket.socket]) -> None:
    ours, kernels = line
    kernels.send(message(ERROR, struct.pack("=i", -1) + bytes(16)))
    with pytest.raises(PermissionError):
        ask(ours, 37, b"", Flag.REQUEST)


def test_an_order_that_is_carried_out_has_no_answer(
    line: tuple[socket.socket, socket.socket],
) -> None:
    ours, kernels = line
    kernels.send(message(ERROR, bytes(20)))
    assert ask(ours, 37, b"", Flag.REQUEST) == []
