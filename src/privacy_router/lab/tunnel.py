"""The lab's own ends of WireGuard, Cloudflare's and the client's; this runs inside their hosts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.host import processes
from privacy_router.host.netlink import Netlink
from privacy_router.host.wireguard import KernelWireGuard, UserspaceWireGuard, WireGuardBackend
from privacy_router.lab.hosts import LabError
from privacy_router.lab.spawn_hosts import SCRATCH
from privacy_router.values.processes import ProcessSpec
from privacy_router.values.wireguard import wireguard_go

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.values.network import Interface
    from privacy_router.values.wireguard import WireGuardConfig, WireGuardPeer

_OWNER = "privacy-router-lab"
_PATIENCE_S = 5.0
_TURN_S = 0.005
_HERE = Path("/proc/self/ns/net")  # named, so that the work gets a thread of its own


class Tunnel:
    """A WireGuard device in the caller's own network namespace."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._backend: WireGuardBackend = UserspaceWireGuard()

    def start(self) -> None:
        """Make the device: the kernel's, or wireguard-go's where the kernel has none.

        Raises MissingPrerequisiteError, LabError.
        """
        with Netlink() as netlink:
            try:
                netlink.add_wireguard(self._name)
                self._backend = KernelWireGuard()
            except OSError:
                self._start_process()

    def _start_process(self) -> None:
        spec = ProcessSpec(self._name, wireguard_go(self._name, is_called=True))
        log = SCRATCH / f"{self._name}.log"
        processes.start(spec, _OWNER, log)
        deadline = time.monotonic() + _PATIENCE_S
        while self._backend.read(self._name, None) is None:
            if time.monotonic() > deadline:
                raise LabError(f"wireguard-go did not start: {_last_line(log)}")
            time.sleep(_TURN_S)

    def configure(
        self, config: WireGuardConfig, interfaces: Iterable[Interface], mtu_bytes: int
    ) -> None:
        """Give the device its keys and addresses, and turn it on."""
        self._backend.apply(self._name, None, config)
        with Netlink() as netlink:
            netlink.set_link(self._name, up=True, mtu_bytes=mtu_bytes)
            for interface in interfaces:
                netlink.replace_address(self._name, interface)

    def update_peer(self, peer: WireGuardPeer) -> None:
        """Let a peer in, or change it; may be called while an event loop runs."""
        self._backend.update_peer(self._name, _HERE, peer)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1] if lines else "it said nothing"
