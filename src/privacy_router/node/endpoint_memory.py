"""Where clients were last seen, by which a restarted gateway calls them."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError
from privacy_router.hops.gateway.hop import GATEWAY_TUNNEL
from privacy_router.host import namespaces, wireguard_uapi
from privacy_router.host.files import read_bounded, write_private
from privacy_router.json_input import read_json_untrusted

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.node.machine import NodeHost
    from privacy_router.values.wireguard import Endpoint

_DISCARD_PORT = 9
_NOTE_LIMIT_BYTES = 16 * 1024 * 1024


def load_endpoints(path: Path) -> dict[str, Endpoint]:
    """Where clients were last seen; empty when nothing (readable) was noted down."""
    try:
        found = read_json_untrusted(read_bounded(path, _NOTE_LIMIT_BYTES))
        return {key: wireguard_uapi.parse_endpoint(text) for key, text in found.items()}
    except (PrivacyRouterError, ValueError, AttributeError, TypeError):
        return {}


class EndpointMemory:
    """Remembers the clients' endpoints, and calls clients that a restarted gateway lost.

    A client that has a session keeps using it for 15 s before it notices that the gateway forgot
    it (WireGuard, section 6.5). The gateway knows better: a packet towards the client makes it
    open a new session itself, at the place where the client was last seen.
    """

    def __init__(self, machine: NodeHost, namespace: Path) -> None:
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
                self._trigger_handshake(str(network.network_address), network.version)
        return bool(lost)

    def _store(self) -> None:
        text = {
            key: wireguard_uapi.format_endpoint(endpoint) for key, endpoint in self._known.items()
        }
        write_private(self._machine.paths.endpoints, json.dumps(text).encode())

    def _trigger_handshake(self, address: str, version: int) -> None:
        family = socket.AF_INET if version == 4 else socket.AF_INET6

        def send() -> None:
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"", (address, _DISCARD_PORT))

        namespaces.run_in(self._namespace, send)
