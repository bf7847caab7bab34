"""The sections of the document, one model each.

The descriptions are what the JSON Schema and the manual say about each key.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from privacy_router.config import values as kind  # noqa: TC001 - pydantic reads the annotations

SEQUENCE_MAX_ITEMS = 4096
WARP_MTU_BYTES = 1280
WARP_KEEPALIVE_S = 25

Fingerprint = Literal[
    "chrome",
    "firefox",
    "safari",
    "ios",
    "android",
    "edge",
    "360",
    "qq",
    "random",
    "randomized",
]


def socket_name(container_id: int) -> str:
    """The bridge port of a container, after the pattern of the seed: `internal_{container_id}`."""
    return f"internal_{container_id}"


class Section(BaseModel):
    """What all parts of the document have in common: frozen, and no key that is not listed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WireGuardConfig(Section):
    """The gateway hop: where the client devices enter."""

    enabled: kind.Flag = Field(True, description="Whether clients may enter by WireGuard.")
    container_id: kind.ContainerId = Field(100, description="Container id of the gateway.")
    socket_port: kind.SocketName | None = Field(
        None, description="Bridge port of the gateway; internal_{container_id} when null."
    )
    zero_config: kind.Flag = Field(
        True, description="Whether the gateway's key pair is made on the first start."
    )
    listen_port: kind.Port = Field(51820, description="UDP port that the clients dial.")
    endpoint: kind.Host | None = Field(
        None, description="Public host name or IP address that the clients dial, without a port."
    )
    client_subnet: kind.Ipv4Subnet = Field(
        IPv4Network("10.101.0.0/24"),
        description="IPv4 subnet from which the clients get their addresses.",
    )
    client_subnet6: kind.Ipv6Subnet = Field(
        IPv6Network("fd70:7276:6174:1::/64"),
        description="IPv6 subnet from which the clients get their addresses.",
    )
    dns: Annotated[tuple[kind.ServerAddress, ...], Field(min_length=1, max_length=8)] = Field(
        (IPv4Address("1.1.1.1"), IPv6Address("2606:4700:4700::1111")),
        description="IP addresses of the DNS servers that the clients are told to use.",
    )
    mtu: kind.MtuBytes | None = Field(
        None, description="MTU of the clients' tunnel in bytes; chosen from the chain when null."
    )
    private_key_file: kind.FilePath | None = Field(
        None,
        description="File that holds the gateway's private key; needed when zero_config is false.",
    )

    @property
    def port_name(self) -> str:
        """The bridge port of the gateway."""
        return self.socket_port or socket_name(self.container_id)


class WarpConfig(Section):
    """The WARP hop: a WireGuard tunnel to Cloudflare, a service of the node itself."""

    enabled: kind.Flag = Field(True, description="Whether the chain passes through WARP.")
    interface: kind.InterfaceName = Field("warp0", description="Bridge port of the WARP hop.")
    wgcf_config: kind.FilePath | None = Field(
        None, description="wgcf profile to import; an account is registered when null."
    )
    accept_terms: kind.Flag = Field(
        False, description="Whether you accept Cloudflare's terms of service for WARP."
    )
    api_url: kind.WebAddress = Field(
        "https://api.cloudflareclient.com", description="Base address of the WARP account API."
    )
    trace_url: kind.WebAddress = Field(
        "https://www.cloudflare.com/cdn-cgi/trace",
        description="Page that tells whether a request came through WARP.",
    )
    mtu: kind.MtuBytes | None = Field(
        None,
        description="MTU of the WARP tunnel in bytes; the profile's, else 1280, when null.",
    )
    persistent_keepalive: kind.KeepaliveSeconds | None = Field(
        None,
        description="Seconds between keepalives to Cloudflare, 0 turns them off; "
        "the profile's, else 25, when null.",
    )

    @property
    def mtu_bytes(self) -> int:
        """MTU of the tunnel, where no profile says another."""
        return WARP_MTU_BYTES if self.mtu is None else self.mtu

    @property
    def keepalive_s(self) -> int:
        """Seconds between keepalives, where no profile says another; 0 for none."""
        default_s = WARP_KEEPALIVE_S
        return default_s if self.persistent_keepalive is None else self.persistent_keepalive


class XrayConfig(Section):
    """The XRay client hop: a REALITY connection to the XRay server of a VPS."""

    enabled: kind.Flag | None = Field(
        None,
        description="Whether the chain passes through XRay; null turns it on with a VPS address.",
    )
    container_id: kind.ContainerId = Field(101, description="Container id of the XRay client.")
    socket_port: kind.SocketName | None = Field(
        None, description="Bridge port of the XRay client; internal_{container_id} when null."
    )
    socks_port: kind.Port = Field(1080, description="TCP port of the SOCKS service of the client.")
    vps_address: kind.Host | None = Field(
        None, description="Host name or IP address of the VPS, without a port."
    )
    vps_port: kind.Port = Field(443, description="TCP port of the XRay server on the VPS.")
    tproxy_port: kind.Port = Field(
        12345,
        description="Port inside the hop that takes the clients' TCP and UDP; the next takes DNS.",
    )
    server_name: kind.HostName = Field(
        "dl.google.com", description="TLS server name that REALITY shows to the outside."
    )
    target: kind.HostPort | None = Field(
        None,
        description="Host and port to which the VPS hands strangers; {server_name}:443 when null.",
    )
    fingerprint: Fingerprint = Field(
        "chrome", description="Program whose TLS hello the XRay client imitates."
    )
    dns: Annotated[tuple[kind.ServerAddress, ...], Field(min_length=1, max_length=8)] = Field(
        (IPv4Address("1.1.1.1"),),
        description="IP addresses of the DNS servers that resolve the VPS, through the tunnel.",
    )

    @property
    def port_name(self) -> str:
        """The bridge port of the XRay client."""
        return self.socket_port or socket_name(self.container_id)

    @property
    def reality_target(self) -> str:
        """Where the VPS hands connections that are not ours, as `host:port`."""
        return self.target or f"{self.server_name}:443"


class VpsConfig(Section):
    """The VPS at the end of the chain, named a second time as the seed does."""

    xray_server: kind.Host | None = Field(
        None, description="The same as xray.vps_address; either may be given."
    )
    xray_port: kind.Port | None = Field(
        None, description="The same as xray.vps_port; either may be given."
    )


class PrivacySocket(Section):
    """A bridge port of a hop of the tunnel."""

    name: kind.SocketName = Field(description="Bridge port: internal_{container_id}.")
    container_id: kind.ContainerId = Field(description="Container id of the hop.")
    port_type: Literal["privacy"] = Field("privacy", description="Always privacy.")


class MeshSocket(Section):
    """A bridge port of a container on the mesh."""

    name: kind.SocketName = Field(description="Bridge port: internal_{container_id}.")
    container_id: kind.ContainerId = Field(description="Container id behind the port.")
    port_type: Literal["mesh"] = Field("mesh", description="Always mesh.")


class SocketNetworkingConfig(Section):
    """The bridge ports of the hops and of the mesh containers."""

    enabled: kind.Flag = Field(
        True, description="Whether hops and containers get ports on the bridge."
    )
    network_type: Literal["privacy"] = Field("privacy", description="Always privacy.")
    privacy_sockets: (
        Annotated[tuple[PrivacySocket, ...], Field(max_length=SEQUENCE_MAX_ITEMS)] | None
    ) = Field(None, description="Ports of the hops; taken from the enabled hops when null.")
    mesh_sockets: Annotated[tuple[MeshSocket, ...], Field(max_length=SEQUENCE_MAX_ITEMS)] | None = (
        Field(None, description="Ports on the mesh beside those of the containers that are listed.")
    )


class PrivacyFlow(Section):
    """A forwarding rule between the hops of the tunnel."""

    priority: kind.Priority = Field(
        100, description="Priority of the flow, 0 to 65535; higher wins."
    )
    match_fields: dict[kind.MatchField, kind.MatchValue] = Field(
        description="Fields and values that a packet must have, all of them."
    )
    actions: Annotated[tuple[kind.Action, ...], Field(min_length=1, max_length=64)] = Field(
        description="What happens to the packet, in this order, such as output:warp0."
    )
    description: kind.Sentence = Field("", description="One line for people.")


class FunctionRoute(Section):
    """A rule that sends the packets of one function to the container that serves it."""

    function: kind.Identifier = Field(description="Name of the function, such as vector_db.")
    target_socket: kind.SocketName = Field(description="Mesh port that serves the function.")
    match_fields: dict[kind.MatchField, kind.MatchValue] = Field(
        description="Fields and values that a packet of the function has, all of them."
    )
    priority: kind.Priority = Field(
        90, description="Priority of the flow, 0 to 65535; higher wins."
    )
    description: kind.Sentence = Field("", description="One line for people.")


class RateLimits(Section):
    """How many packets of a kind each port by itself may send in a second."""

    arp: kind.PacketRate | None = Field(
        100, description="ARP packets per second of each port; null for no limit."
    )
    icmp: kind.PacketRate | None = Field(
        200, description="ICMP and ICMPv6 packets per second of each port; null for no limit."
    )
    syn: kind.PacketRate | None = Field(
        1000, description="New TCP connections per second of each port; null for no limit."
    )
    dns: kind.PacketRate | None = Field(
        500, description="DNS queries per second of each port; null for no limit."
    )


class FlowTemplate(Section):
    """A flow in which {container_id}, {port_name} and {bridge} stand for what a port has."""

    priority: kind.Priority = Field(
        80, description="Priority of the flow, 0 to 65535; higher wins."
    )
    match_fields: dict[kind.MatchField, kind.MatchValue] = Field(
        default_factory=dict,
        description="Fields and values that a packet must have, all of them.",
    )
    actions: Annotated[tuple[kind.Action, ...], Field(min_length=1, max_length=64)] = Field(
        description="What happens to the packet, in this order, such as output:{port_name}."
    )
    description: kind.Sentence = Field("", description="One line for people.")


class FlowPolicy(Section):
    """A flow for every port that a selector selects, those of tomorrow too."""

    name: kind.Identifier = Field(description="Name of the policy.")
    selector: kind.Selector = Field(
        description="The ports: container:*, container:200, container:100-199 or port:internal_*."
    )
    template: FlowTemplate = Field(description="The flow that each of these ports gets.")


class OpenFlowConfig(Section):
    """What the bridge does with packets."""

    enabled: kind.Flag = Field(
        True, description="Whether flows are installed; without them the bridge drops all packets."
    )
    enable_security_flows: kind.Flag = Field(
        True, description="Whether invalid, spoofed and excessive packets are dropped first."
    )
    obfuscation_level: kind.ObfuscationLevel = Field(
        2, description="How far traffic patterns are hidden, 0 (not at all) to 3."
    )
    privacy_flows: (
        Annotated[tuple[PrivacyFlow, ...], Field(max_length=SEQUENCE_MAX_ITEMS)] | None
    ) = Field(None, description="Flows between the hops; taken from the chain when null.")
    additional_flows: Annotated[tuple[PrivacyFlow, ...], Field(max_length=SEQUENCE_MAX_ITEMS)] = (
        Field((), description="Flows on the privacy segment besides the privacy flows.")
    )
    function_routing: Annotated[tuple[FunctionRoute, ...], Field(max_length=SEQUENCE_MAX_ITEMS)] = (
        Field((), description="Which mesh port serves which function.")
    )
    rates: RateLimits = Field(
        default_factory=RateLimits,
        description="Packets per second that each port may send; in force with the security flows.",
    )
    fragments: Literal["drop", "reassemble"] = Field(
        "drop",
        description="IP fragments: drop, or reassemble (they pass whole or not at all).",
    )
    normal_ttl: kind.Ttl = Field(
        64, description="TTL and hop limit of all packets from obfuscation level 2 up."
    )
    flow_policies: Annotated[tuple[FlowPolicy, ...], Field(max_length=SEQUENCE_MAX_ITEMS)] = Field(
        (), description="Flows for ports by their name or their container, as the ports appear."
    )


class NetmakerConfig(Section):
    """The Netmaker mesh of the containers."""

    enabled: kind.Flag = Field(False, description="Whether this node is part of a Netmaker mesh.")
    interface: kind.InterfaceName = Field("nm-privacy", description="Bridge port of the mesh.")
    network_name: kind.Identifier = Field(
        "privacy-mesh", description="Name of the Netmaker network."
    )
    per_node_interface: kind.Flag = Field(
        True, description="Whether the node has one mesh interface for all its containers."
    )
    node_id: kind.Identifier | None = Field(
        None, description="Netmaker's id of this node; given by the server when null."
    )


class ContainerConfig(Section):
    """A container on the bridge beside the tunnel."""

    id: kind.ContainerId = Field(description="Container id.")
    name: kind.ContainerName = Field(description="Host name of the container.")
    container_type: kind.Identifier = Field(description="What it serves, such as vector_db.")
    socket_port: kind.SocketName | None = Field(
        None, description="Bridge port of the container; internal_{id} when null."
    )
    network_type: Literal["mesh", "privacy"] = Field(
        "mesh", description="Its network: mesh, or privacy for a hop of the tunnel itself."
    )

    @property
    def port_name(self) -> str:
        """The bridge port of the container."""
        return self.socket_port or socket_name(self.id)
