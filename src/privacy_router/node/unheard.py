"""Read back what no event of the kernel tells of, cheaply enough to be read every second.

These are the WireGuard devices, most kernel settings, and what another program put into a hop's
namespace that has no place there. (Foreign nftables are heard of, and are read here all the same.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from privacy_router.hops.firewall import TABLE
from privacy_router.hops.settings import is_everywhere
from privacy_router.host import foreign, namespaces, nftables, sysctl
from privacy_router.host.wireguard_uapi import UapiError
from privacy_router.values.items import HOST, Key, Kind, PeerState, SecretTag, TunnelState
from privacy_router.values.wireguard import public_key_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from privacy_router.host.wireguard_uapi import DeviceStatus, PeerStatus
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import NodeState

Items = dict[Key, Any]

SETTINGS: Final = (Kind.SETTING, Kind.DEVICE_SETTING)
_FIREWALL: Final = f"{nftables.OUR_FAMILY} {TABLE}"


def observe_place(where: str, desired: NodeState, others: Collection[str] = ()) -> Items:
    """Kernel settings, and in a hop's namespace what is foreign there.

    `others` are settings of devices that are read too, though none is desired. Raises OSError.
    """
    keys = {name: Key(Kind.DEVICE_SETTING, where, name) for name in others}
    keys |= {key.name: key for key in desired.items if key.where == where and key.kind in SETTINGS}
    wanted = {name: desired.items[key] for name, key in keys.items() if key in desired.items}

    def work() -> Items:
        settings = read_settings_here(wanted) | sysctl.read_here(keys.keys() - wanted.keys())
        found = {keys[name]: value for name, value in settings.items() if value is not None}
        return {**found, **foreign_here(where)}

    return namespaces.run_in(None if where == HOST else namespaces.path_of(where), work)


def read_settings_here(wanted: Mapping[str, str]) -> dict[str, str | None]:
    """The values of these settings in the namespace that the calling thread is in; None for one
    that is missing. One that this kernel does not know, and need not, is as it should be."""
    settings = sysctl.read_here(wanted)
    for name, value in settings.items():
        if value is None and not is_everywhere(name):
            settings[name] = wanted[name]
    return settings


def foreign_here(where: str) -> Items:
    """What does not belong into the hop `where`, in whose namespace the calling thread is; others'
    nftables are firewalls. In the host's namespace nothing is foreign. Raises OSError."""
    if where == HOST:
        return {}
    items: Items = {
        Key(Kind.FOREIGN, where, name): value for name, value in foreign.read_here().items()
    }
    for table in nftables.tables_here():
        name = f"{table.family} {table.name}"
        if name != _FIREWALL:
            items[Key(Kind.FIREWALL, where, name)] = table
    return items


def observe_tunnels(desired: NodeState, machine: NodeHost) -> Iterator[tuple[Key, Any]]:
    """The WireGuard devices that are there; one that does not answer is told as such.

    Raises OSError.
    """
    for key in desired.items:
        if key.kind is not Kind.TUNNEL or not namespaces.exists(key.where):
            continue
        try:
            status = machine.wireguard.read(key.name, namespaces.path_of(key.where))
        except UapiError as error:
            yield key, error.message
            continue
        if status is not None and status.private_key:
            yield key, _tunnel_state(status, desired.items[key])


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
