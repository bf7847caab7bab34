"""WireGuard devices as to what they are told: keys, port, mark and peers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.host import namespaces
from privacy_router.host.wireguard_uapi import UapiError, format_endpoint
from privacy_router.node.endpoint_memory import load_endpoints
from privacy_router.node.kinds.contract import Down, PlacedKind, Role
from privacy_router.values.items import Kind
from privacy_router.values.wireguard import (
    PeerState,
    SecretTag,
    SilentTunnel,
    TunnelKey,
    TunnelState,
    TunnelValue,
    public_key_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.host.wireguard_uapi import DeviceStatus, PeerStatus
    from privacy_router.node.kinds.place import Place
    from privacy_router.node.kinds.session import Session
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import NodeState
    from privacy_router.values.wireguard import Endpoint, WireGuardConfig, WireGuardPeer

_log = structlog.get_logger()


def observe(place: Place) -> Iterator[tuple[TunnelKey, TunnelValue]]:
    """The desired devices that are there. Raises OSError."""
    for key, wanted in tunnels_of(place.desired):
        if key.where == place.where:
            found = read(key, wanted, place.machine)
            if found is not None:
                yield key, found


def tunnels_of(desired: NodeState) -> Iterator[tuple[TunnelKey, TunnelState]]:
    """The WireGuard devices of a state, in all of its places."""
    for key, value in desired.items.items():
        if isinstance(key, TunnelKey) and isinstance(value, TunnelState):
            yield key, value


def read(key: TunnelKey, wanted: TunnelState, machine: NodeHost) -> TunnelValue | None:
    """What the device is told now; None where there is none. Raises OSError."""
    try:
        status = machine.wireguard.read(key.device, namespaces.path_of(key.where))
    except UapiError as error:
        return SilentTunnel(error.message)
    if status is None or not status.private_key:
        return None
    return _tunnel_state(status, wanted)


def _tunnel_state(status: DeviceStatus, wanted: TunnelState) -> TunnelState:
    return TunnelState(
        public_key=public_key_of(status.private_key),
        listen_port=status.listen_port if wanted.listen_port is not None else None,
        peers={
            peer.public_key: _peer_state(peer, wanted.peers.get(peer.public_key))
            for peer in status.peers
        },
        firewall_mark=status.firewall_mark,
    )


def _peer_state(peer: PeerStatus, wanted: PeerState | None) -> PeerState:
    """A peer's endpoint counts where one is wanted: others may be anywhere."""
    moves = wanted is not None and wanted.endpoint is None
    return PeerState(
        allowed_ips=peer.allowed_ips,
        keepalive_s=peer.keepalive_s,
        preshared_key=SecretTag.of(peer.preshared_key),
        endpoint=None if moves else peer.endpoint,
    )


def apply(session: Session, key: TunnelKey, before: TunnelValue | None, after: TunnelValue) -> None:
    """Tell the device; sessions with peers that do not change go on undisturbed.

    With another key or port than it had, sessions begin anew: the peers' are of no use, and
    they answer to where they last heard from. Raises OSError, UapiError.
    """
    if not isinstance(after, TunnelState):
        raise TypeError(f"{key.name}: a device that does not answer is never wanted")
    device, namespace = key.device, namespaces.path_of(key.where)
    config = _with_endpoints(session, device)
    wireguard = session.machine.wireguard
    if not isinstance(before, TunnelState) or _identity(before) != _identity(after):
        wireguard.apply(device, namespace, config)
        return
    if before.firewall_mark != after.firewall_mark:
        wireguard.set_mark(device, namespace, after.firewall_mark)
    for public_key in before.peers.keys() - after.peers.keys():
        wireguard.remove_peer(device, namespace, public_key)
    for peer in config.peers:
        found = before.peers.get(peer.public_key)
        if found is None:
            wireguard.update_peer(device, namespace, peer)
        elif found != after.peers[peer.public_key]:
            _put_right(session, key, peer, found, after.peers[peer.public_key])


def remove(session: Session, key: TunnelKey, before: TunnelValue) -> None:
    """It goes with its process or its namespace."""
    del session, key, before


def _put_right(
    session: Session, key: TunnelKey, peer: WireGuardPeer, found: PeerState, wanted: PeerState
) -> None:
    """A peer that may move stays where it is; one that may not is put back, with a session of
    its own making: while packets come in from elsewhere, WireGuard waits for that place and
    begins none (section 6.5: what is received puts its own handshake off)."""
    wireguard, namespace = session.machine.wireguard, namespaces.path_of(key.where)
    if wanted.endpoint is None:
        peer = replace(peer, endpoint=None)
    elif found.endpoint != peer.endpoint:
        _tell_of_move(key.device, found.endpoint, peer.endpoint)
        wireguard.remove_peer(key.device, namespace, peer.public_key)
    wireguard.update_peer(key.device, namespace, peer)


def _with_endpoints(session: Session, device: str) -> WireGuardConfig:
    """A gateway that is made anew is told where its clients were, so that it can call them."""
    config = session.desired.tunnels[device]
    known = load_endpoints(session.machine.paths.endpoints)
    peers = tuple(
        replace(peer, endpoint=peer.endpoint or known.get(peer.public_key)) for peer in config.peers
    )
    return replace(config, peers=peers)


def _identity(device: TunnelState) -> tuple[str, int | None]:
    return device.public_key, device.listen_port


def _tell_of_move(device: str, found: Endpoint | None, wanted: Endpoint | None) -> None:
    if wanted is None:
        return
    _log.warning(
        "a tunnel led elsewhere than it should",
        tunnel=device,
        found=format_endpoint(found) if found is not None else "nowhere",
        led_to=format_endpoint(wanted),
    )


TUNNEL: Final = PlacedKind(
    kind=Kind.TUNNEL,
    domain="privacy",
    role=Role.OPENS,
    down=Down.TAKEN,
    keys=(TunnelKey,),
    values=(TunnelValue,),
    observe=observe,
    apply=apply,
    remove=remove,
)
