"""Ports of the mesh: which of the bridge's ports are containers', and what each of them may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy_router.pipeline.selectors import container_of, network_index_of
from privacy_router.values.bridges import PortRow

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

    from privacy_router.config.models import PrivacyRouterConfig


_FIRST_EXPECTED = 100  # beyond the hops' numbers


@dataclass(frozen=True)
class MeshPort:
    """A port with a container behind it, or, with `container_id` None, the way into the mesh."""

    name: str
    ofport: int
    mac: str
    v4: IPv4Address
    v6: IPv6Address
    container_id: int | None

    def address(self, version: int) -> IPv4Address | IPv6Address:
        """Its only address of that IP version."""
        return self.v4 if version == 4 else self.v6


class Mesh:
    """The mesh's ports as the bridge has them now, kept row by row.

    `ports` by name, and `left_out`: why a port of the bridge gets no flows. Of two ports of one
    container the one with the lower network index is served.
    """

    def __init__(self, config: PrivacyRouterConfig) -> None:
        self._config = config
        self._claims: dict[int | None, dict[str, MeshPort]] = {}
        self._claim_of: dict[str, int | None] = {}
        self.ports: dict[str, MeshPort] = {}
        self.left_out: dict[str, str] = {}

    def put(self, row: PortRow, mac: str | None) -> set[str]:
        """Take in a row that is new or different; the names of all ports that changed by it.

        `mac` is the container's MAC where the port's own is another (Proxmox's veth).
        """
        found = admit(self._config, row, mac)
        changed = self.remove(row.name) if not isinstance(found, MeshPort) else self._claim(found)
        if isinstance(found, str):
            self.left_out[row.name] = found
        return changed

    def remove(self, name: str) -> set[str]:
        """Forget a port; the names of all ports that changed by it."""
        self.left_out.pop(name, None)
        if name not in self._claim_of:
            return set()
        number = self._claim_of.pop(name)
        self._claims[number].pop(name)
        return self._settle(number) | self._set(name, None)

    def _claim(self, port: MeshPort) -> set[str]:
        changed = set()
        if self._claim_of.get(port.name, port.container_id) != port.container_id:
            changed = self.remove(port.name)
        self._claim_of[port.name] = port.container_id
        self._claims.setdefault(port.container_id, {})[port.name] = port
        return changed | self._settle(port.container_id)

    def _settle(self, number: int | None) -> set[str]:
        claims = self._claims[number]
        served = min(claims, key=lambda name: (network_index_of(name) or 0, name), default=None)
        changed: set[str] = set()
        for name, port in claims.items():
            if name == served:
                self.left_out.pop(name, None)
                changed |= self._set(name, port)
            else:
                self.left_out[name] = f"container {number} is served by {served}"
                changed |= self._set(name, None)
        return changed

    def _set(self, name: str, port: MeshPort | None) -> set[str]:
        if self.ports.get(name) == port:
            return set()
        if port is None:
            del self.ports[name]
        else:
            self.ports[name] = port
        return {name}


def admit(config: PrivacyRouterConfig, row: PortRow, mac: str | None) -> MeshPort | str | None:
    """The mesh port that a row is; the reason why it cannot be one; or None when it is no
    container's at all, or not made yet.

    A port of ours is a hop's, also where the chain is without that hop: it is the host's exit, or
    still there while the chain changes, and never a container's of the same number.
    """
    if row.ours or row.name in (config.bridge_name, *config.privacy_port_names):
        return None
    if row.name == config.netmaker.interface and config.netmaker.enabled:
        return _port(row, mac, config.mesh_gateway_address, None)
    number = container_of(row.name)
    if number is None:
        return "neither a hop's port nor a container's"
    if number in _hops(config):
        return f"{number} is the id of a hop, which has a port of its own"
    addresses = config.mesh_address(number)
    if addresses is None:
        return f"mesh_subnet {config.mesh_subnet} has no address for the id {number}"
    return _port(row, mac, addresses, number)


def _hops(config: PrivacyRouterConfig) -> tuple[int, ...]:
    gateway = (config.wireguard.container_id,) if config.wireguard.enabled else ()
    return (*gateway, *((config.xray.container_id,) if config.xray_enabled else ()))


def _port(
    row: PortRow,
    mac: str | None,
    addresses: tuple[IPv4Interface, IPv6Interface],
    number: int | None,
) -> MeshPort | str | None:
    if row.ofport is None or row.ofport < 1:
        return None if row.error is None else f"Open vSwitch could not make it: {row.error}"
    behind = mac or row.attached_mac or _own_mac(row)
    if behind is None:
        return "the MAC of the container is not known; set external_ids:attached-mac of its port"
    v4, v6 = addresses
    return MeshPort(row.name, row.ofport, behind, v4.ip, v6.ip, number)


def _own_mac(row: PortRow) -> str | None:
    """An internal port is the container's own device, unless Proxmox's firewall lies between. One
    that is in another namespace has only the MAC that was asked for: with the userspace datapath
    vswitchd cannot read it there."""
    is_device = row.kind == "internal" and network_index_of(row.name) is None
    return (row.mac or row.mac_in_use) if is_device else None


def expected_ports(config: PrivacyRouterConfig) -> dict[str, MeshPort]:
    """The ports of the mesh that the configuration names, as if they were there.

    Their numbers and MACs are made up; for judging a configuration before the ports exist.
    """
    rows = (
        PortRow(name, "internal", None, _FIRST_EXPECTED + number, None, mac_in_use=_mac(number))
        for number, name in enumerate(config.mesh_port_names)
    )
    mesh = Mesh(config)
    for row in rows:
        mesh.put(row, None)
    return mesh.ports


def _mac(number: int) -> str:
    return "02:00:" + ":".join(f"{byte:02x}" for byte in number.to_bytes(4, "big"))
