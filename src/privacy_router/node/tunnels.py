"""WireGuard devices of the hops: born, told their configuration, and woken after a restart."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError
from privacy_router.host import namespaces, uapi
from privacy_router.host.files import read_bounded, write_private
from privacy_router.host.netlink import Netlink
from privacy_router.host.uapi import WireGuardConfig, WireGuardPeer
from privacy_router.json_input import read_json_untrusted
from privacy_router.plan.chain import GATEWAY_TUNNEL

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.host.uapi import Endpoint
    from privacy_router.node.machine import Machine
    from privacy_router.plan.state import Change, DesiredState

_DISCARD_PORT = 9
_NOTE_LIMIT_BYTES = 16 * 1024 * 1024


class TunnelApplier:
    """Applies changes of WireGuard devices."""

    def __init__(self, desired: DesiredState, machine: Machine) -> None:
        self._desired = desired
        self._machine = machine

    def ensure_born(self, name: str) -> None:
        """Have the device made, here in the host's namespace, where its UDP socket is to stay."""
        if self._machine.wireguard.command(name) is None:
            with Netlink() as netlink:
                if netlink.index(name) is None:
                    netlink.add_wireguard(name)

    def apply(self, change: Change) -> None:
        """Tell the device; sessions with peers that do not change go on undisturbed."""
        if change.after is None:
            return  # it goes with its process or its namespace
        name, namespace = change.key.name, namespaces.path_of(change.key.where)
        config = self._desired.tunnels[name]
        before = change.before
        if before is None or (before.public_key, before.listen_port) != (
            change.after.public_key,
            change.after.listen_port,
        ):
            self._machine.wireguard.apply(name, namespace, self._with_endpoints(name, config))
            return
        for peer in config.peers:
            if before.peers.get(peer.public_key) != change.after.peers[peer.public_key]:
                self._machine.wireguard.update_peer(name, namespace, peer)
        for key in before.peers.keys() - change.after.peers.keys():
            self._machine.wireguard.remove_peer(name, namespace, key)

    def _with_endpoints(self, name: str, config: WireGuardConfig) -> WireGuardConfig:
        """A gateway that is made anew is told where its clients were, so that it can call them."""
        if name != GATEWAY_TUNNEL:
            return config
        known = load_endpoints(self._machine.paths.endpoints)
        peers = tuple(
            WireGuardPeer(
                public_key=peer.public_key,
                allowed_ips=peer.allowed_ips,
                endpoint=known.get(peer.public_key),
                preshared_key=peer.preshared_key,
                keepalive_s=peer.keepalive_s,
            )
            for peer in config.peers
        )
        return WireGuardConfig(config.private_key, peers, config.listen_port)


def load_endpoints(path: Path) -> dict[str, Endpoint]:
    """Where clients were last seen; empty when nothing (readable) was noted down."""
    try:
        found = read_json_untrusted(read_bounded(path, _NOTE_LIMIT_BYTES))
        return {key: uapi.parse_endpoint(text) for key, text in found.items()}
    except (PrivacyRouterError, ValueError, AttributeError, TypeError):
        return {}


class EndpointMemory:
    """Remembers the clients' endpoints, and calls clients that a restarted gateway lost.

    A client that has a session keeps using it for 15 s before it notices that the gateway forgot
    it (WireGuard, section 6.5). The gateway knows better: a packet towards the client makes it
    open a new session itself, at the place where the client was last seen.
    """

    def __init__(self, machine: Machine, namespace: Path) -> None:
        self._machine = machine
        self._namespace = namespace
        self._known = load_endpoints(machine.paths.endpoints)

    def refresh(self) -> bool:
        """Note new endpoints down, call lost clients; True while one has not answered yet."""
        if not self._namespace.exists():
            return False
        status = self._machine.wireguard.read(GATEWAY_TUNNEL, self._namespace)
        if status is None:
            return False
        seen = {
            peer.public_key: peer.endpoint
            for peer in status.peers
            if peer.endpoint is not None and peer.last_handshake
        }
        is_noted = self._machine.paths.endpoints.exists()
        if not seen.items() <= self._known.items() or (self._known and not is_noted):
            self._known |= seen
            self._store()
        lost = [
            peer for peer in status.peers if peer.endpoint is not None and not peer.last_handshake
        ]
        for peer in lost:
            for network in peer.allowed_ips:
                self._poke(str(network.network_address), network.version)
        return bool(lost)

    def _store(self) -> None:
        text = {key: uapi.format_endpoint(endpoint) for key, endpoint in self._known.items()}
        write_private(self._machine.paths.endpoints, json.dumps(text).encode())

    def _poke(self, address: str, version: int) -> None:
        family = socket.AF_INET if version == 4 else socket.AF_INET6

        def send() -> None:
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"", (address, _DISCARD_PORT))

        namespaces.run_in(self._namespace, send)
