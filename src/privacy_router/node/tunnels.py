"""WireGuard devices of the hops: born, told their configuration, and woken after a restart."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from privacy_router.errors import PrivacyRouterError
from privacy_router.hops.gateway.hop import GATEWAY_TUNNEL
from privacy_router.host import namespaces, wireguard_uapi
from privacy_router.host.files import read_bounded, write_private
from privacy_router.host.netlink import Netlink
from privacy_router.host.wireguard_uapi import format_endpoint
from privacy_router.json_input import read_json_untrusted
from privacy_router.values.items import TunnelState

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.items import Change, PeerState
    from privacy_router.values.wireguard import Endpoint, WireGuardConfig, WireGuardPeer

_log = structlog.get_logger()

_DISCARD_PORT = 9
_KERNELS = "wireguard"
_NOTE_LIMIT_BYTES = 16 * 1024 * 1024


class TunnelApplier:
    """Applies changes of WireGuard devices."""

    def __init__(self, desired: DesiredState, machine: NodeHost) -> None:
        self._desired = desired
        self._machine = machine

    def make(self, name: str, path: Path, inside: Netlink) -> bool:
        """Have the kernel make the device, in its namespace at once, where it cannot be taken for
        another program's; its UDP socket is in the host's, where it is made from. False where a
        process makes it."""
        if self._machine.wireguard.has_processes:
            return False
        link = inside.links().get(name)
        if link is not None and link.kind != _KERNELS:
            inside.delete_link(name)
        if link is None or link.kind != _KERNELS:
            with Netlink() as netlink, namespaces.opened(path) as target:
                netlink.add_wireguard(name, target)
        return True

    def apply(self, change: Change) -> None:
        """Tell the device; sessions with peers that do not change go on undisturbed.

        With another key or port than it had, sessions begin anew: the peers' are of no use, and
        they answer to where they last heard from. Raises OSError, UapiError.
        """
        if change.after is None:
            return  # it goes with its process or its namespace
        name, namespace = change.key.name, namespaces.path_of(change.key.where)
        config = self._with_endpoints(self._desired.tunnels[name])
        before, after = change.before, change.after
        if not isinstance(before, TunnelState) or _identity(before) != _identity(after):
            self._machine.wireguard.apply(name, namespace, config)
            return
        if before.firewall_mark != after.firewall_mark:
            self._machine.wireguard.set_mark(name, namespace, after.firewall_mark)
        for key in before.peers.keys() - after.peers.keys():
            self._machine.wireguard.remove_peer(name, namespace, key)
        for peer in config.peers:
            found = before.peers.get(peer.public_key)
            if found is None:
                self._machine.wireguard.update_peer(name, namespace, peer)
            elif found != after.peers[peer.public_key]:
                self._put_right(name, namespace, peer, found, after.peers[peer.public_key])

    def _put_right(
        self,
        name: str,
        namespace: Path,
        peer: WireGuardPeer,
        found: PeerState,
        wanted: PeerState,
    ) -> None:
        """A peer that may move stays where it is; one that may not is put back, with a session of
        its own making: while packets come in from elsewhere, WireGuard waits for that place and
        begins none (section 6.5: what is received puts its own handshake off)."""
        if wanted.endpoint is None:
            peer = replace(peer, endpoint=None)
        elif found.endpoint != peer.endpoint:
            _tell_of_move(name, found.endpoint, peer.endpoint)
            self._machine.wireguard.remove_peer(name, namespace, peer.public_key)
        self._machine.wireguard.update_peer(name, namespace, peer)

    def _with_endpoints(self, config: WireGuardConfig) -> WireGuardConfig:
        """A gateway that is made anew is told where its clients were, so that it can call them."""
        known = load_endpoints(self._machine.paths.endpoints)
        peers = tuple(
            replace(peer, endpoint=peer.endpoint or known.get(peer.public_key))
            for peer in config.peers
        )
        return replace(config, peers=peers)


def _identity(device: TunnelState) -> tuple[str, int | None]:
    return device.public_key, device.listen_port


def _tell_of_move(name: str, found: Endpoint | None, wanted: Endpoint | None) -> None:
    if wanted is None:
        return
    _log.warning(
        "a tunnel led elsewhere than it should",
        tunnel=name,
        found=format_endpoint(found) if found is not None else "nowhere",
        led_to=format_endpoint(wanted),
    )


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
