"""The XRay hop: clients' packets into XRay by TPROXY, XRay's own to the way out (pure)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.chain.addresses import TRANSIT_MTU_BYTES, client_mtu_bytes
from privacy_router.chain.stations import Role, Task
from privacy_router.hops.hop import Hop, namespace_path
from privacy_router.hops.keys import Part
from privacy_router.hops.namespace import NamespaceItems, anywhere, networks_of
from privacy_router.hops.xray import command
from privacy_router.hops.xray.firewall import TPROXY_MARK, ruleset
from privacy_router.hops.xray.settings import Vps, client_settings, dns_tproxy_port
from privacy_router.values import programs
from privacy_router.values.confinement import Capability, Confinement
from privacy_router.values.network import FAMILY, Route, Rule
from privacy_router.values.processes import ProcessSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.hop import HopContext
    from privacy_router.values.items import Items

XRAY_PROCESS = "xray"
XRAY_ROLE = Role("xray", 3, Task.PROXY)
XRAY_NAMESPACE = f"{XRAY_ROLE.namespace}"
_TPROXY = 104


class Xray(Hop):
    """XRay, which ends the clients' connections and carries what they say to the VPS."""

    role = XRAY_ROLE
    programs = (XRAY_PROCESS,)
    needs = frozenset({Part.XRAY})
    resets_connections = True

    def is_wanted(self, config: PrivacyRouterConfig) -> bool:
        """See Hop."""
        return config.xray_enabled

    def port(self, config: PrivacyRouterConfig) -> str:
        """See Hop."""
        return config.xray_port_name

    def items(self, context: HopContext) -> Items:
        """It forwards nothing: what XRay does not take ends here."""
        config, station = context.config, context.station
        space = NamespaceItems(XRAY_NAMESPACE)
        # XRay binds its addresses before the bridge port that carries them is there
        space.sysctl({"ipv4/ip_nonlocal_bind": "1", "ipv6/ip_nonlocal_bind": "1"})
        # XRay gives an attempt to reach the VPS 16 s, and makes five: what clients send while there
        # is no answer is held for that long. With one repetition of a SYN an attempt takes 3 s.
        space.sysctl({"ipv4/tcp_syn_retries": "1"})
        space.firewall(
            ruleset(
                station.port,
                config.xray.tproxy_port,
                dns_tproxy_port(config.xray.tproxy_port),
                context.segment.clients,
                config.vps_port,
                config.xray.dns,
            )
        )
        space.join_segment(station, context.segment, TRANSIT_MTU_BYTES)
        _ways_out(space, context)
        for version in (4, 6):
            space.route(Route(anywhere(version), None, "lo", table=_TPROXY, kind="local"))
            space.rule(Rule(100, _TPROXY, FAMILY[version], mark=TPROXY_MARK))
        space.refuse_the_rest()
        return space.items

    def processes(self, context: HopContext) -> Sequence[ProcessSpec]:
        """XRay itself, once its identity is known."""
        return () if context.keys.xray is None else (_process(context),)

    def run_files(self, run_dir: Path) -> tuple[Path, ...]:
        """XRay's settings, for its process alone to read."""
        return (_settings_file(run_dir),)


def _ways_out(space: NamespaceItems, context: HopContext) -> None:
    """To the clients and to the VPS, each with the MTU of its own way: what is larger than the MTU
    of its route the kernel cuts, and the bridge drops fragments unless it is told otherwise."""
    station = context.station
    for leg in context.segment.client_legs(station):
        for network in networks_of(leg.senders):
            way = leg.before(station).address(network.version)
            mtu_bytes = client_mtu_bytes(context.config, context.segment)
            space.route(Route(network, way, station.port, mtu_bytes=mtu_bytes))
    following, way_out = context.leg.after(station), context.leg.last
    for version in way_out.role.versions:
        way = following.address(version)
        out = Route(anywhere(version), way, station.port, mtu_bytes=way_out.mtu_bytes)
        space.route(out)


def _settings_file(run_dir: Path) -> Path:
    return run_dir / "xray.json"


def _process(context: HopContext) -> ProcessSpec:
    file = _settings_file(Path(context.facts.run_dir))
    return ProcessSpec(
        name=XRAY_PROCESS,
        argv=command.arguments(str(file)),
        env={
            # started anew when its way out changes: its connections and its clients' UDP sessions
            # belong to the old way, on which no answer comes any more
            "PRIVACY_ROUTER_WAY_OUT": context.leg.last.hop,
            # Go's garbage collector lets the heap grow by half, not to twice what is in use: of
            # 170 MB under much DNS 30 MB less, at no cost in time that could be measured
            "GOGC": "50",
        },
        namespace=namespace_path(context.station),
        inputs=json.dumps(_settings(context), sort_keys=True).encode(),
        input_file=file,
        confinement=Confinement(
            # transparent sockets and marks; ports that are below 1024, if such are configured
            capabilities=(Capability.NET_ADMIN, Capability.NET_BIND_SERVICE),
            address_families=("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"),
            readable=(str(file), *programs.places()),
        ),
    )


def _settings(context: HopContext) -> dict[str, Any]:
    config, identity = context.config, context.keys.xray
    if identity is None or config.vps_address is None:
        raise ValueError("the XRay hop needs an identity and a VPS")
    vps = Vps(
        address=config.vps_address,
        port=config.vps_port,
        server_name=config.xray.server_name,
        fingerprint=config.xray.fingerprint,
        dns_servers=config.xray.dns,
    )
    return client_settings(
        identity,
        vps,
        tproxy_port=config.xray.tproxy_port,
        socks_listen=[interface.ip for interface in context.station.interfaces],
        socks_port=config.xray.socks_port,
    )
