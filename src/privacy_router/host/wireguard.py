"""WireGuard devices: the kernel's where there is one, else wireguard-go's, behind one interface.

A device is born in the caller's namespace and then moved: its UDP socket stays where it was born,
so that the namespace which holds the plain side needs no way to the network.
"""

from __future__ import annotations

import errno
import socket
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy_router.host import wireguard_uapi
from privacy_router.host.namespaces import run_in
from privacy_router.host.netlink_library import NetlinkError, wireguard_session
from privacy_router.host.wireguard_uapi import DeviceStatus, PeerStatus, UapiError
from privacy_router.values.wireguard import UAPI_DIR

if TYPE_CHECKING:
    from collections.abc import Sequence

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
            with wireguard_session():
                return True
        except NetlinkError:
            return False

    return run_in(_HERE, work)


class WireGuardBackend(ABC):
    """How this machine makes WireGuard devices."""

    @abstractmethod
    def command(self, name: str) -> tuple[str, ...] | None:
        """The program that holds device `name`, or None where the kernel does."""

    @abstractmethod
    def apply(self, name: str, namespace: Path | None, config: WireGuardConfig) -> None:
        """Make the device's whole configuration be `config`; sessions begin anew.

        Raises OSError, UapiError.
        """

    @abstractmethod
    def set_mark(self, name: str, namespace: Path | None, mark: int) -> None:
        """Mark what the device's sockets send (0: not); sessions go on. Raises OSError,
        UapiError."""

    @abstractmethod
    def update_peer(self, name: str, namespace: Path | None, peer: WireGuardPeer) -> None:
        """Add or change one peer. Raises OSError, UapiError."""

    @abstractmethod
    def remove_peer(self, name: str, namespace: Path | None, public_key: str) -> None:
        """Take one peer away. Raises OSError, UapiError."""

    @abstractmethod
    def read(self, name: str, namespace: Path | None) -> DeviceStatus | None:
        """The device's status, or None when there is no such device (or no process behind it).

        Raises OSError, and UapiError for a process that does not answer.
        """


class UserspaceWireGuard(WireGuardBackend):
    """wireguard-go: one process a device, spoken to over its UNIX socket."""

    def command(self, name: str) -> tuple[str, ...]:
        """One wireguard-go in the foreground."""
        return ("wireguard-go", "--foreground", name)

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
        """Ask for the status; a socket that nobody answers counts as no device."""
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

    def command(self, name: str) -> None:
        """No process: the device is added over netlink."""
        del name

    def apply(self, name: str, namespace: Path | None, config: WireGuardConfig) -> None:
        """Drop all peers, set key, port and mark, then add the peers that are wanted."""
        found = self.read(name, namespace)
        for peer in found.peers if found is not None else ():
            self.remove_peer(name, namespace, peer.public_key)
        _set(
            name,
            namespace,
            private_key=config.private_key,
            listen_port=config.listen_port,
            fwmark=config.firewall_mark,
        )
        for wanted_peer in config.peers:
            self.update_peer(name, namespace, wanted_peer)

    def set_mark(self, name: str, namespace: Path | None, mark: int) -> None:
        """Set the mark."""
        _set(name, namespace, fwmark=mark)

    def update_peer(self, name: str, namespace: Path | None, peer: WireGuardPeer) -> None:
        """Set one peer."""
        _set(name, namespace, peer=_peer_request(peer))

    def remove_peer(self, name: str, namespace: Path | None, public_key: str) -> None:
        """Remove one peer."""
        _set(name, namespace, peer={"public_key": public_key, "remove": True})

    def read(self, name: str, namespace: Path | None) -> DeviceStatus | None:
        """Dump the device."""

        def work() -> Sequence[Any] | None:
            try:
                socket.if_nametoindex(name)
            except OSError:
                return None
            with wireguard_session() as link:
                return list(link.info(name))

        messages = run_in(namespace, work)
        return _device_status(messages) if messages else None


def _set(name: str, namespace: Path | None, **request: Any) -> None:
    def work() -> None:
        with wireguard_session() as link:
            link.set(name, **request)

    run_in(namespace, work)


def _peer_request(peer: WireGuardPeer) -> dict[str, Any]:
    request: dict[str, Any] = {
        "public_key": peer.public_key,
        "persistent_keepalive": peer.keepalive_s,
        "replace_allowed_ips": True,
        "allowed_ips": [str(network) for network in peer.allowed_ips],
        "preshared_key": peer.preshared_key or wireguard_uapi.NO_KEY,
    }
    if peer.endpoint is not None:
        address, port = peer.endpoint
        request |= {"endpoint_addr": str(address), "endpoint_port": port}
    return request


def _device_status(messages: Sequence[Any]) -> DeviceStatus:
    """What a dump says. A long one comes in several messages, cut even within a peer's networks;
    the next message then begins with the same peer's key and the rest of them."""
    peers: dict[str, PeerStatus] = {}
    for message in messages:
        for part in message.get_attr("WGDEVICE_A_PEERS") or ():
            peer = _peer_status(part)
            known = peers.get(peer.public_key)
            peers[peer.public_key] = (
                replace(known, allowed_ips=known.allowed_ips | peer.allowed_ips) if known else peer
            )
    first = messages[0]
    return DeviceStatus(
        private_key=_text(first.get_attr("WGDEVICE_A_PRIVATE_KEY")),
        listen_port=int(first.get_attr("WGDEVICE_A_LISTEN_PORT") or 0),
        peers=tuple(peers.values()),
        firewall_mark=int(first.get_attr("WGDEVICE_A_FWMARK") or 0),
    )


def _peer_status(peer: Any) -> PeerStatus:
    endpoint = peer.get_attr("WGPEER_A_ENDPOINT")
    handshake = peer.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME") or {}
    return PeerStatus(
        public_key=_text(peer.get_attr("WGPEER_A_PUBLIC_KEY")),
        endpoint=(ip_address(endpoint["addr"]), int(endpoint["port"])) if endpoint else None,
        allowed_ips=frozenset(
            ip_network(entry["addr"]) for entry in (peer.get_attr("WGPEER_A_ALLOWEDIPS") or ())
        ),
        keepalive_s=int(peer.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") or 0),
        last_handshake=float(handshake.get("tv_sec", 0)) + handshake.get("tv_nsec", 0) / 1e9,
        rx_bytes=int(peer.get_attr("WGPEER_A_RX_BYTES") or 0),
        tx_bytes=int(peer.get_attr("WGPEER_A_TX_BYTES") or 0),
        preshared_key=wireguard_uapi.known_key(_text(peer.get_attr("WGPEER_A_PRESHARED_KEY"))),
    )


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
