"""The document of a node (the seed's JSON, `version: 1`) as frozen models.

A section that is left out takes its defaults; a key that is not listed is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from privacy_router.config import values as kind
from privacy_router.config.plugins.dns import DnsConfig
from privacy_router.config.plugins.login1 import Login1Config
from privacy_router.config.plugins.net import NetConfig
from privacy_router.config.plugins.openflow import BridgeFlowsConfig
from privacy_router.config.plugins.packagekit import PackagekitConfig
from privacy_router.config.plugins.pcidecl import PcideclConfig
from privacy_router.config.plugins.sessdecl import SessdeclConfig
from privacy_router.config.plugins.systemd import SystemdConfig
from privacy_router.config.problems import DOCUMENT_PATH, ConfigError, Problem
from privacy_router.config.sections import (
    SEQUENCE_MAX_ITEMS,
    ContainerConfig,
    MeshSocket,
    NetmakerConfig,
    OpenFlowConfig,
    Section,
    SocketNetworkingConfig,
    VpsConfig,
    WarpConfig,
    WireGuardConfig,
    XrayConfig,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT_VERSION = 1

HopName = Literal["gateway", "warp", "xray"]


def fits_mesh(network: kind.Network, container_id: int) -> bool:
    """Whether a container's id leads to an address before the last one of a mesh subnet."""
    return container_id < network.num_addresses - 1


class NodeNetwork(Section):
    """The node's share of the network: its bridge, subnets and ports; what is `net`'s business."""

    bridge_name: kind.InterfaceName = Field("ovsbr0", description="Open vSwitch bridge to use.")
    datapath: Literal["auto", "system", "netdev"] = Field(
        "auto", description="OVS datapath: system (kernel), netdev (userspace) or whichever works."
    )
    transit_subnet: kind.Ipv4Subnet = Field(
        IPv4Network("10.102.0.0/24"),
        description="IPv4 subnet of the privacy segment between the hops.",
    )
    transit_subnet6: kind.Ipv6Subnet = Field(
        IPv6Network("fd70:7276:6174::/64"),
        description="IPv6 subnet of the privacy segment between the hops.",
    )
    mesh_subnet: kind.Ipv4Subnet = Field(
        IPv4Network("10.103.0.0/16"),
        description="IPv4 subnet of the containers on the mesh; a container has its id as the host"
        " part of its address.",
    )
    mesh_subnet6: kind.Ipv6Subnet = Field(
        IPv6Network("fd70:7276:6174:3::/64"),
        description="IPv6 subnet of the containers on the mesh.",
    )
    socket_networking: SocketNetworkingConfig = Field(
        default_factory=SocketNetworkingConfig, description="Ports of the bridge."
    )


class PrivacyConfig(Section):
    """The hops of the tunnel; what is `privacy`'s business, and all that `plugins.privacy` has."""

    wireguard: WireGuardConfig = Field(
        default_factory=WireGuardConfig, description="The gateway, where the clients enter."
    )
    warp: WarpConfig = Field(
        default_factory=WarpConfig, description="The tunnel to Cloudflare WARP."
    )
    xray: XrayConfig = Field(default_factory=XrayConfig, description="The XRay client.")
    vps: VpsConfig = Field(default_factory=VpsConfig, description="The VPS with the XRay server.")


class NodeFlows(Section):
    """What the node's bridge does with packets; what is `openflow`'s business."""

    openflow: OpenFlowConfig = Field(
        default_factory=OpenFlowConfig, description="Flows of the bridge."
    )


class NodeMesh(Section):
    """The node's mesh; what is `netmaker`'s business."""

    netmaker: NetmakerConfig = Field(
        default_factory=NetmakerConfig, description="The mesh of the containers."
    )


class NodeContainers(Section):
    """The containers beside the tunnel; what is `lxc`'s business."""

    containers: Annotated[tuple[ContainerConfig, ...], Field(max_length=SEQUENCE_MAX_ITEMS)] = (
        Field((), description="Containers on the bridge beside the tunnel.")
    )


# The last base has the first keys.
class PrivacyRouterConfig(NodeContainers, NodeMesh, NodeFlows, PrivacyConfig, NodeNetwork):
    """Everything about one node: the keys of all its domains in one place."""

    @property
    def vps_address(self) -> str | None:
        """Host name or IP address of the VPS, whichever of the two places names it."""
        return self.xray.vps_address or self.vps.xray_server

    @property
    def vps_port(self) -> int:
        """TCP port of the XRay server on the VPS, whichever of the two places names it."""
        return self.xray.vps_port if self.vps.xray_port is None else self.vps.xray_port

    @property
    def xray_enabled(self) -> bool:
        """Whether the chain passes through XRay, once `null` is resolved."""
        if self.xray.enabled is None:
            return self.vps_address is not None
        return self.xray.enabled

    @property
    def chain_hops(self) -> tuple[HopName, ...]:
        """The enabled hops in the order in which a client's packet passes them."""
        return tuple(hop for hop, (enabled, _) in self.hops.items() if enabled)

    @property
    def hops(self) -> Mapping[HopName, tuple[bool, str]]:
        """Each hop that has a section of the document, in the order of the chain: whether it is
        enabled, and its bridge port."""
        return {
            "gateway": (self.wireguard.enabled, self.gateway_port),
            "warp": (self.warp.enabled, self.warp_port),
            "xray": (self.xray_enabled, self.xray_port_name),
        }

    @property
    def gateway_port(self) -> str:
        """Bridge port of the gateway, enabled or not."""
        return self.wireguard.port_name

    @property
    def warp_port(self) -> str:
        """Bridge port of the WARP hop, enabled or not."""
        return self.warp.interface

    @property
    def xray_port_name(self) -> str:
        """Bridge port of the XRay client, enabled or not."""
        return self.xray.port_name

    def hop_port(self, hop: HopName) -> str:
        """Bridge port of a hop, enabled or not."""
        return self.hops[hop][1]

    @property
    def privacy_port_names(self) -> tuple[str, ...]:
        """Bridge ports of the enabled hops (WARP's too), in the order of the chain."""
        return tuple(self.hop_port(hop) for hop in self.chain_hops)

    @property
    def mesh_sockets(self) -> tuple[MeshSocket, ...]:
        """Ports of the mesh containers: those listed as sockets, then those only of containers."""
        listed = self.socket_networking.mesh_sockets or ()
        names = {socket.name for socket in listed}
        derived = tuple(
            MeshSocket(name=container.port_name, container_id=container.id)
            for container in self.containers
            if container.network_type == "mesh" and container.port_name not in names
        )
        return (*listed, *derived) if self.socket_networking.enabled else ()

    @property
    def mesh_port_names(self) -> tuple[str, ...]:
        """Bridge ports of the mesh: Netmaker's interface when enabled, then the containers'."""
        gateway = (self.netmaker.interface,) if self.netmaker.enabled else ()
        return (*gateway, *(socket.name for socket in self.mesh_sockets))

    @property
    def mesh_gateway_address(self) -> tuple[IPv4Interface, IPv6Interface]:
        """Where the mesh containers find the node: the first address of either mesh subnet."""
        return self._in_mesh(1)

    def mesh_address(self, container_id: int) -> tuple[IPv4Interface, IPv6Interface] | None:
        """The addresses of a mesh container: those of the mesh subnets plus its id.

        None when one of the subnets is too small for this id.
        """
        for network in (self.mesh_subnet, self.mesh_subnet6):
            if not fits_mesh(network, container_id):
                return None
        return self._in_mesh(container_id)

    def _in_mesh(self, offset: int) -> tuple[IPv4Interface, IPv6Interface]:
        v4, v6 = self.mesh_subnet, self.mesh_subnet6
        return (
            IPv4Interface((v4.network_address + offset, v4.prefixlen)),
            IPv6Interface((v6.network_address + offset, v6.prefixlen)),
        )

    def container_for(self, port: str) -> int | None:
        """Container id behind a bridge port; None for `warp0`, the mesh interface and strangers."""
        ids = {socket.name: socket.container_id for socket in self.mesh_sockets}
        if self.xray_enabled:
            ids[self.xray_port_name] = self.xray.container_id
        if self.wireguard.enabled:
            ids[self.gateway_port] = self.wireguard.container_id
        return ids.get(port)


NODE_DOMAINS: Mapping[str, type[Section]] = {
    "net": NodeNetwork,
    "lxc": NodeContainers,
    "openflow": NodeFlows,
    "netmaker": NodeMesh,
    "privacy": PrivacyConfig,
}
"""The domains that a node consists of, by the names of their plugins."""


def sections_of(node: PrivacyRouterConfig) -> dict[str, Section]:
    """What each domain has to do for the node. Each key of a node is in one of them."""
    return {
        name: model(**{key: getattr(node, key) for key in model.model_fields})
        for name, model in NODE_DOMAINS.items()
    }


def node_of(sections: Mapping[str, Section]) -> PrivacyRouterConfig:
    """The node of these sections; a domain that is left out does as usual."""
    keys = {key: value for section in sections.values() for key, value in section}
    return PrivacyRouterConfig(**keys)


class Plugins(Section):
    """The plugins that the document configures; what is left out is left alone."""

    net: NetConfig | None = Field(None, description="Bridges, interfaces, addresses and routes.")
    systemd: SystemdConfig | None = Field(None, description="Units, their files and properties.")
    login1: Login1Config | None = Field(None, description="What the login manager does.")
    sessdecl: SessdeclConfig | None = Field(
        None, description="Sessions that may or may not be there."
    )
    dns: DnsConfig | None = Field(None, description="How the machine resolves names.")
    pcidecl: PcideclConfig | None = Field(None, description="PCI devices and their drivers.")
    packagekit: PackagekitConfig | None = Field(
        None, description="Packages that are installed or not."
    )
    openflow: BridgeFlowsConfig | None = Field(
        None, description="Flows, groups, meters and policies on bridges."
    )
    privacy: PrivacyConfig | None = Field(
        None, description="The hops of a privacy router that is as usual in everything else."
    )
    privacy_router: PrivacyRouterConfig | None = Field(
        None, description="The privacy router of this node."
    )

    @property
    def node(self) -> PrivacyRouterConfig | None:
        """The privacy router, whichever section declares it; None without either."""
        if self.privacy_router is None and self.privacy is not None:
            return node_of({"privacy": self.privacy})
        return self.privacy_router


class Document(Section):
    """A whole document."""

    version: Annotated[Literal[1], kind.WholeNumberOnly, kind.Expected("1")] = Field(
        description="Version of this format; always 1."
    )
    plugins: Plugins = Field(description="Plugins by name.")

    @property
    def config(self) -> PrivacyRouterConfig:
        """The privacy router's part. Raises ConfigError when the document has none."""
        node = self.plugins.node
        if node is None:
            missing = Problem("plugins.privacy_router", "nothing", "this section; {} will do")
            raise ConfigError(DOCUMENT_PATH, [missing])
        return node
