"""The namespaces of the three hops, item by item (pure). The routing is design section 2's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.chain.addresses import TRANSIT_MTU_BYTES, client_mtu_bytes, gateway_addresses
from privacy_router.chain.stations import GATEWAY_TUNNEL, SWITCH_NAMESPACE, WARP_TUNNEL
from privacy_router.hops.xray.settings import dns_tproxy_port
from privacy_router.plan import firewall
from privacy_router.plan.namespace import (
    NamespaceItems,
    anywhere,
    networks_of,
)
from privacy_router.values.items import HOST
from privacy_router.values.network import FAMILY, Neighbour, Route, Rule

if TYPE_CHECKING:
    from privacy_router.chain.stations import Chain, Station
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.plan.keys import NodeFacts
    from privacy_router.plan.namespace import Items
    from privacy_router.values.wireguard import WarpTunnel

TO_CLIENTS = 101
FROM_CLIENTS = 102
OUT = 103
TPROXY = 104


def gateway(config: PrivacyRouterConfig, chain: Chain, station: Station) -> Items:
    """The gateway: what clients send goes to the next hop, whatever its destination."""
    space = NamespaceItems(f"{station.namespace}", forwards=True)
    space.firewall(firewall.gateway(GATEWAY_TUNNEL, station.port, chain.clients))
    space.join_segment(station, chain, TRANSIT_MTU_BYTES)
    space.device(GATEWAY_TUNNEL, None, client_mtu_bytes(config))
    for address in gateway_addresses(config):
        space.address(GATEWAY_TUNNEL, address)
    following = chain.warp or chain.xray or chain.router
    for version in (4, 6):
        space.route(Route(anywhere(version), following.address(version), station.port))
    space.refuse_the_rest()
    return space.items


def warp(config: PrivacyRouterConfig, chain: Chain, station: Station, tunnel: WarpTunnel) -> Items:
    """The WARP hop: the turn from the gateway to XRay and back, and the way into the tunnel."""
    space = NamespaceItems(f"{station.namespace}", forwards=True)
    senders = networks_of(i.ip for i in chain.xray.interfaces) if chain.xray else chain.clients
    space.firewall(
        firewall.warp(
            station.port, WARP_TUNNEL, chain.clients, senders, hairpin=chain.xray is not None
        )
    )
    space.join_segment(station, chain, TRANSIT_MTU_BYTES)
    space.device(WARP_TUNNEL, None, config.warp.mtu_bytes)
    for address in (tunnel.v4, tunnel.v6):
        if address is not None:
            (own,) = networks_of([address.ip])
            space.address(WARP_TUNNEL, address)
            space.route(Route(anywhere(address.version), None, WARP_TUNNEL, table=OUT))
            space.rule(Rule(130, OUT, FAMILY[address.version], own))
    if chain.gateway is not None:
        _turn(space, chain, station, chain.gateway)
    for number, sender in enumerate(senders):
        space.rule(Rule(120 + number, OUT, FAMILY[sender.version], sender, None, station.port))
    for table in (OUT, TO_CLIENTS, FROM_CLIENTS):
        space.refuse_the_rest(table)
    space.refuse_the_rest()
    return space.items


def _turn(space: NamespaceItems, chain: Chain, station: Station, back: Station) -> None:
    """To the clients by the gateway; from them, where there is an XRay hop, to that."""
    for network in chain.clients:
        version = network.version
        space.rule(Rule(100, TO_CLIENTS, FAMILY[version], destination=network))
        space.route(Route(anywhere(version), back.address(version), station.port, table=TO_CLIENTS))
        if chain.xray is None:
            continue
        space.rule(Rule(110, FROM_CLIENTS, FAMILY[version], network, input_device=station.port))
        space.route(
            Route(anywhere(version), chain.xray.address(version), station.port, table=FROM_CLIENTS)
        )


def xray(config: PrivacyRouterConfig, chain: Chain, station: Station) -> Items:
    """The XRay hop: clients' packets into XRay by TPROXY, XRay's own to the way out."""
    space = NamespaceItems(f"{station.namespace}")
    # XRay binds its addresses before the bridge port that carries them is there
    space.sysctl({"ipv4/ip_nonlocal_bind": "1", "ipv6/ip_nonlocal_bind": "1"})
    # XRay gives an attempt to reach the VPS 16 s, and makes five: what clients send while there is
    # no answer is held for that long. With one repetition of a SYN an attempt takes 3 s.
    space.sysctl({"ipv4/tcp_syn_retries": "1"})
    space.firewall(
        firewall.xray(
            station.port,
            config.xray.tproxy_port,
            dns_tproxy_port(config.xray.tproxy_port),
            chain.clients,
            config.vps_port,
            config.xray.dns,
        )
    )
    space.join_segment(station, chain, TRANSIT_MTU_BYTES)
    _ways_out(space, config, chain, station)
    for version in (4, 6):
        space.route(Route(anywhere(version), None, "lo", table=TPROXY, kind="local"))
        space.rule(Rule(100, TPROXY, FAMILY[version], mark=firewall.TPROXY_MARK))
    space.refuse_the_rest()
    return space.items


def switch() -> Items:
    """The namespace of the node's own Open vSwitch: no address, no way out, nothing let through.

    Ports that are born here and belong to containers are none of the plan's business.
    """
    space = NamespaceItems(SWITCH_NAMESPACE, ipv6=False)
    space.sysctl({f"ipv6/conf/{which}/disable_ipv6": "1" for which in ("all", "default", "lo")})
    space.firewall(firewall.closed())
    space.refuse_the_rest()
    return space.items


def host_exit(
    config: PrivacyRouterConfig, chain: Chain, station: Station, xray: Station, facts: NodeFacts
) -> Items:
    """The host's share of a chain without WARP: XRay's connection to the VPS, over IPv4.

    IPv6 is left out, since a host that forwards it stops listening to its router.
    """
    space = NamespaceItems(HOST)
    (source,) = networks_of([xray.v4.ip])
    space.firewall(
        firewall.exit_of_host(
            station.port,
            source,
            config.vps_port,
            [address for address in config.xray.dns if address.version == 4],
            closed_uplink=None if facts.uplink_forwards else facts.uplink,
        )
    )
    space.device(station.port, station.mac, TRANSIT_MTU_BYTES)
    space.address(station.port, station.v4)
    for peer in chain.peers_of(station):
        space.neighbour(Neighbour(peer.v4.ip, peer.mac, station.port))
    for device in (station.port, *([facts.uplink] if facts.uplink else [])):
        space.device_sysctl({f"ipv4/conf/{device}/forwarding": "1"})
    return space.items


def _ways_out(
    space: NamespaceItems, config: PrivacyRouterConfig, chain: Chain, station: Station
) -> None:
    """To the clients and to the VPS, each with the MTU of its own way: what is larger than the MTU
    of its route the kernel cuts, and the bridge drops fragments unless it is told otherwise."""
    if chain.gateway is not None:
        back, mtu_bytes = chain.warp or chain.gateway, client_mtu_bytes(config)
        for network in chain.clients:
            way = back.address(network.version)
            space.route(Route(network, way, station.port, mtu_bytes=mtu_bytes))
    for version in (4, 6) if chain.warp else (4,):
        space.route(
            Route(
                anywhere(version),
                chain.router.address(version),
                station.port,
                mtu_bytes=config.warp.mtu_bytes if chain.warp else None,
            )
        )
