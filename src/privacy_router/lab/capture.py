"""Captures on the lab's links: one packet socket each, opened inside the host at its end.

A veth link shows both of its directions at either end. Frames are judged as they come and not
kept, except in a pcap file where one is asked for.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
import time
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Self

from privacy_router.errors import VerificationError
from privacy_router.host.namespaces import run_in
from privacy_router.lab import internet
from privacy_router.lab.leak_rules import LinkEvidence

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from privacy_router.lab.hosts import LabHost
    from privacy_router.lab.internet import Cable
    from privacy_router.lab.leak_rules import Rules

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 64 * 1024 * 1024
_FRAME_LIMIT_BYTES = 262144
_SOURCE_MAC = slice(6, 12)
_TURN_S = 0.05
_PCAP_MAGIC = 0xA1B23C4D  # nanoseconds; pcap-savefile(5)
_PCAP_ETHERNET = 1


class LinkCapture:
    """A capture on one link. `evidence` and `dropped` are complete after `stop`."""

    def __init__(
        self, cable: Cable, hosts: Mapping[str, LabHost], rules: Rules, pcap: Path | None = None
    ) -> None:
        self.cable = cable
        self.dropped = 0
        self.evidence = LinkEvidence(
            cable.name, of_isp=cable.of_isp, uplink="node" in (cable.first, cable.second)
        )
        self._rules = rules
        self._buffer = bytearray(_FRAME_LIMIT_BYTES)
        self._failure: BaseException | None = None
        device = cable.device(cable.first)
        self._socket = run_in(hosts[cable.first].network, lambda: _open(device))
        self._mac = bytes(self._socket.getsockname()[4])
        self._pcap = _open_pcap(pcap) if pcap is not None else None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"capture-{cable.name}")
        self._thread.daemon = True
        self._thread.start()

    def _read(self) -> None:
        try:
            while not self._ending.is_set():
                self._take_one()
            while self._take_one():
                pass
        except Exception as error:  # handed to the caller that stops the capture
            self._failure = error

    def _take_one(self) -> bool:
        """Take a frame; False when none came within a turn."""
        try:
            length = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return False
        frame = bytes(memoryview(self._buffer)[:length])
        own = frame[_SOURCE_MAC] == self._mac
        self.evidence.take(frame, self._rules, from_far_end=not own)
        if self._pcap is not None:
            _write_pcap(self._pcap, frame)
        return True

    def stop(self) -> None:
        """Let nothing more in, take all that has come, and end.

        Raises VerificationError when the capture broke.
        """
        _refuse_frames(self._socket)
        self._ending.set()
        self._thread.join()
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self.dropped = struct.unpack("II", statistics)[1]
        self._socket.close()
        if self._pcap is not None:
            self._pcap.close()
        if self._failure is not None:
            raise VerificationError(
                f"the capture on {self.cable.name} broke: {self._failure}"
            ) from self._failure


def _open(device: str) -> socket.socket:
    capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    capture.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    capture.bind((device, _ETH_P_ALL))
    # the kernel's own timeout: Python's would cost another system call a frame
    turn = struct.pack("ll", 0, int(_TURN_S * 1_000_000))
    capture.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, turn)
    return capture


def _refuse_frames(capture: socket.socket) -> None:
    """Attach a filter (one instruction: return 0) that keeps new frames out; socket(7)."""
    program = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))
    pointer = ctypes.addressof(program)
    capture.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, pointer))


def _open_pcap(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("wb")
    header = struct.pack("=IHHiIII", _PCAP_MAGIC, 2, 4, 0, 0, _FRAME_LIMIT_BYTES, _PCAP_ETHERNET)
    file.write(header)
    return file


def _write_pcap(file: IO[bytes], frame: bytes) -> None:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    file.write(struct.pack("=IIII", seconds, nanoseconds, len(frame), len(frame)) + frame)


class Captures:
    """Captures on every link of a lab: `with Captures(hosts, rules) as captures: …`.

    Leaving raises VerificationError when a capture broke.
    """

    def __init__(
        self, hosts: Mapping[str, LabHost], rules: Rules, pcap_dir: Path | None = None
    ) -> None:
        self._hosts = hosts
        self._rules = rules
        self._pcap_dir = pcap_dir
        self._links: list[LinkCapture] = []
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            for cable in internet.CABLES:
                pcap = self._pcap_dir / f"{cable.name}.pcap" if self._pcap_dir else None
                capture = LinkCapture(cable, self._hosts, self._rules, pcap)
                exits.callback(capture.stop)
                self._links.append(capture)
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()

    @property
    def dropped(self) -> int:
        """Frames that the kernel had no room for; known after the end."""
        return sum(link.dropped for link in self._links)

    @property
    def evidence(self) -> dict[str, LinkEvidence]:
        """What was seen, by link."""
        return {link.cable.name: link.evidence for link in self._links}

    @property
    def cleartext_packets(self) -> int:
        """Packets on the ISP's links in which something of a client could be read."""
        return sum(evidence.cleartext_packets for evidence in self.evidence.values())

    @property
    def foreign_packets(self) -> int:
        """Packets that left the node for strangers."""
        return sum(evidence.foreign_packets for evidence in self.evidence.values())

    @property
    def examples(self) -> list[str]:
        """The first findings in words."""
        return [line for evidence in self.evidence.values() for line in evidence.examples]
