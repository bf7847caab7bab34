"""WireGuard devices: the kernel's where there is one, else wireguard-go's, behind one interface.

A device is born in the caller's namespace and then moved: its UDP socket stays where it was born,
so that the namespace which holds the plain side needs no way to the network.
"""

from __future__ import annotations

import errno
import socket
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from privacy_router.host import wireguard_netlink, wireguard_uapi
from privacy_router.host.generic_netlink import family_number, open_generic
from privacy_router.host.namespaces import run_in
from privacy_router.host.rtnetlink import Flag, ask, translated
from privacy_router.host.wireguard_netlink import FAMILY_NAME
from privacy_router.host.wireguard_uapi import DeviceStatus, UapiError
from privacy_router.values.wireguard import UAPI_DIR

if TYPE_CHECKING:
    from privacy_router.values.wireguard import WireGuardConfig, WireGuardPeer

_HERE = Path("/proc/self/ns/net")  # named, so that the work gets a thread of its own
_UAPI_TIMEOUT_S = 1.0
"""For a whole question and its answer: a process that is stopped must not hold up its asker."""
_ANSWER_LIMIT_BYTES = 16 * 1024 * 1024


def kernel_has_wireguard() -> bool:
    """Whether the kernel has WireGuard; asking loads its module where there is one.

    Nothing is made for that, so that two commands which ask at once do not meet.
    """

    def work() -> bool:
        try:
            with open_generic() as line:
                family_number(line, FAMILY_NAME)
        except FileNotFoundError:
            return False
        return True

    return run_in(_HERE, work)


class WireGuardBackend(ABC):
    """How this machine makes WireGuard devices.

    `has_processes`: each device is held by a process of its own; otherwise the kernel makes it.
    """

    has_processes: ClassVar[bool]

    @abstractmethod
    def apply(self, name: str, namespace: Path | None, config: WireGuardConfig) -> None:
        """Make the device's whole configuration be `config`; sessions begin anew.

        Raises OSError, NetlinkError, UapiError.
        """

    @abstractmethod
    def set_mark(self, name: str, namespace: Path | None, mark: int) -> None:
        """Mark what the device's sockets send (0: not); sessions go on. Raises OSError,
        NetlinkError, UapiError."""

    @abstractmethod
    def update_peer(self, name: str, namespace: Path | None, peer: WireGuardPeer) -> None:
        """Add or change one peer. Raises OSError, NetlinkError, UapiError."""

    @abstractmethod
    def remove_peer(self, name: str, namespace: Path | None, public_key: str) -> None:
        """Take one peer away. Raises OSError, NetlinkError, UapiError."""

    @abstractmethod
    def read(self, name: str, namespace: Path | None) -> DeviceStatus | None:
        """The device's status, or None when there is no such device (or no process behind it).

        Raises OSError, NetlinkError, and UapiError for a process that does not answer.
        """


class UserspaceWireGuard(WireGuardBackend):
    """wireguard-go: one process a device, spoken to over its UNIX socket."""

    has_processes = True

    def apply(self, name: str, namespace: Path | None, config: WireGuardConfig) -> None:
        """Send the whole configuration."""
        del namespace  # the socket is a path, the same in every network namespace
        wireguard_uapi.decode_untrusted(self._ask(name, wireguard_uapi.encode_set(config)))

    def set_mark(self, name: str, namespace: Path | None, mark: int) -> None:
        """Send the mark."""
        del namespace
        wireguard_uapi.decode_untrusted(self._ask(name, wireguard_uapi.encode_set_mark(mark)))

    def update_peer(self, name: str, namespace: Path | None, peer: WireGuardPeer) -> None:
        """Send one peer."""
        del namespace
        wireguard_uapi.decode_untrusted(self._ask(name, wireguard_uapi.encode_update_peer(peer)))

    def remove_peer(self, name: str, namespace: Path | None, public_key: str) -> None:
        """Send the removal."""
        del namespace
        wireguard_uapi.decode_untrusted(
            self._ask(name, wireguard_uapi.encode_remove_peer(public_key))
        )

    def read(self, name: str, namespace: Path | None) -> DeviceStatus | None:
        """Ask for the status; a socket that no process answers counts as no device."""
        del namespace
        try:
            return wireguard_uapi.decode_untrusted(self._ask(name, wireguard_uapi.encode_get()))
        except (FileNotFoundError, ConnectionError):
            return None

    def _ask(self, name: str, request: bytes) -> bytes:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                return _converse(connection, UAPI_DIR / f"{name}.sock", request)
        except TimeoutError:
            raise UapiError(
                f"the WireGuard process {name} does not answer within {_UAPI_TIMEOUT_S:g} s",
                remedy="the node replaces it; if it stays silent, look at its log",
                retryable=True,
            ) from None


def _converse(connection: socket.socket, path: Path, request: bytes) -> bytes:
    """Raises TimeoutError when the answer is not whole in time, other OSErrors."""
    deadline = time.monotonic() + _UAPI_TIMEOUT_S
    connection.settimeout(_UAPI_TIMEOUT_S)
    connection.connect(str(path))
    connection.sendall(request)
    answer = bytearray()
    while not answer.endswith(b"\n\n"):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        piece = connection.recv(65536)
        if not piece or len(answer) > _ANSWER_LIMIT_BYTES:
            raise ConnectionResetError(errno.ECONNRESET, "the WireGuard process hung up")
        answer += piece
    return bytes(answer)


class KernelWireGuard(WireGuardBackend):
    """The kernel's own devices, over generic netlink."""

    has_processes = False

    def apply(self, name: str, namespace: Path | None, config: WireGuardConfig) -> None:
        """Drop all peers, set key, port and mark, then add the peers that are wanted."""
        found = self.read(name, namespace)
        for peer in found.peers if found is not None else ():
            self.remove_peer(name, namespace, peer.public_key)
        settings = wireguard_netlink.set_device(
            name,
            private_key=config.private_key,
            listen_port=config.listen_port,
            mark=config.firewall_mark,
        )
        _order(name, namespace, settings)
        for wanted_peer in config.peers:
            self.update_peer(name, namespace, wanted_peer)

    def set_mark(self, name: str, namespace: Path | None, mark: int) -> None:
        """Set the mark."""
        _order(name, namespace, wireguard_netlink.set_device(name, mark=mark))

    def update_peer(self, name: str, namespace: Path | None, peer: WireGuardPeer) -> None:
        """Set one peer."""
        _order(name, namespace, wireguard_netlink.set_peer(name, peer))

    def remove_peer(self, name: str, namespace: Path | None, public_key: str) -> None:
        """Remove one peer."""
        _order(name, namespace, wireguard_netlink.remove_peer(name, public_key))

    def read(self, name: str, namespace: Path | None) -> DeviceStatus | None:
        """Dump the device."""

        def work() -> list[bytes] | None:
            try:
                socket.if_nametoindex(name)
            except OSError:
                return None
            with translated(f"show {name}"):
                return _ask(wireguard_netlink.get_device(name), Flag.DUMP)

        answers = run_in(namespace, work)
        return wireguard_netlink.device_status(answers) if answers else None


def _order(name: str, namespace: Path | None, content: bytes) -> None:
    """Raises NetlinkError for what the kernel refuses."""

    def work() -> None:
        with translated(f"configure {name}"):
            _ask(content, Flag(0))

    run_in(namespace, work)


def _ask(content: bytes, flags: Flag) -> list[bytes]:
    with open_generic() as line:
        return ask(line, family_number(line, FAMILY_NAME), content, flags)
