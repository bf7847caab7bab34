"""From a configuration, its keys and the machine's facts to the node's desired state (pure)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.chain import stations as chains
from privacy_router.chain.stations import (
    GATEWAY_TUNNEL,
    SWITCH_NAMESPACE,
    WARP_SOCKET_MARK,
    WARP_TUNNEL,
)
from privacy_router.hops.gateway import device_config
from privacy_router.hops.xray import command
from privacy_router.hops.xray.settings import Vps, client_settings
from privacy_router.pipeline.compile import Pipeline
from privacy_router.plan import hops
from privacy_router.plan.desired import DesiredState, NodeState, PlannedState
from privacy_router.plan.guard import host_guards
from privacy_router.plan.namespace import anywhere
from privacy_router.values import rulesets
from privacy_router.values.bridges import BridgeSpec, PortSpec
from privacy_router.values.confinement import Capability, Confinement
from privacy_router.values.items import HOST, Key, Kind, PeerState, SecretTag, TunnelState
from privacy_router.values.processes import ProcessSpec
from privacy_router.values.wireguard import UAPI_DIR, WireGuardConfig, WireGuardPeer, public_key_of

if TYPE_CHECKING:
    from privacy_router.chain.stations import Chain
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.plan.keys import KeySet, NodeFacts, NodeKeys, PlanningKeys
    from privacy_router.plan.namespace import Items
    from privacy_router.values.wireguard import WarpTunnel

XRAY_PROCESS = "xray"
OVS_PROCESSES = ("ovsdb-server", "ovs-vswitchd")
TUN_DEVICE = "/dev/net/tun"


def compile_node(config: PrivacyRouterConfig, keys: NodeKeys, facts: NodeFacts) -> DesiredState:
    """Everything that the node has to be, as items; see `plan.state`."""
    return DesiredState(**vars(_compile(config, keys, facts)))


def plan_node(config: PrivacyRouterConfig, keys: PlanningKeys, facts: NodeFacts) -> PlannedState:
    """The same to look at, with what depends on keys that are not known marked."""
    found = _compile(config, keys, facts)
    stand_ins: dict[Key, str] = {}
    for part, reason in keys.stand_ins.items():
        other = _compile(config, keys.with_another(part), facts)
        depends = (key for key in found.items if found.items[key] != other.items.get(key))
        stand_ins |= dict.fromkeys(depends, reason)
    return PlannedState(**vars(found), stand_ins=stand_ins)


def _compile(config: PrivacyRouterConfig, keys: KeySet, facts: NodeFacts) -> NodeState:
    config = _with_profile(config, keys.warp)
    chain = chains.build(config)
    bridge = _bridge(config, chain, facts)
    tunnels = _tunnels(config, chain, keys)
    processes = _processes(config, chain, keys, facts)
    items: Items = {
        **_guard_items(config, chain, keys),
        **_hop_items(config, chain, keys),
        **_exit_items(config, chain, facts),
        **(hops.switch() if facts.private_ovs else {}),
        **_bridge_items(bridge),
        **_tunnel_items(chain, tunnels),
    }
    for spec in processes.values():
        items[Key(Kind.PROCESS, "node", spec.name)] = spec.fingerprint
    pipeline = Pipeline(config, chain)
    pipeline.require_valid()
    return NodeState(items, bridge, pipeline, processes, tunnels)


def _with_profile(config: PrivacyRouterConfig, tunnel: WarpTunnel | None) -> PrivacyRouterConfig:
    """The configuration with what it leaves to the profile of the WARP tunnel."""
    if tunnel is None:
        return config
    said = {"mtu": tunnel.mtu_bytes, "persistent_keepalive": tunnel.keepalive_s}
    left = {key: value for key, value in said.items() if getattr(config.warp, key) is None}
    return config.model_copy(update={"warp": config.warp.model_copy(update=left)})


def _bridge(config: PrivacyRouterConfig, chain: Chain, facts: NodeFacts) -> BridgeSpec:
    ports = tuple(PortSpec(s.port, s.mac, s.ofport) for s in chain.stations)
    return BridgeSpec(config.bridge_name, facts.datapath_type, ports, whole=facts.private_ovs)


def _bridge_items(bridge: BridgeSpec) -> Items:
    """The bridge, its ports, and each of their settings by itself, so that a difference has its
    name; what is set and not listed here is one, too."""
    items: Items = {Key(Kind.BRIDGE, "node", bridge.name): True}
    for label, value in bridge.bridge_settings.items():
        items[Key(Kind.BRIDGE, bridge.name, label)] = value
    for label, value in bridge.port_settings.items():
        items[Key(Kind.PORT, bridge.name, label)] = value
    for port in bridge.ports:
        items[Key(Kind.PORT, bridge.name, port.name)] = port
    return items


def _hop_items(config: PrivacyRouterConfig, chain: Chain, keys: KeySet) -> Items:
    items: Items = {}
    if chain.gateway is not None:
        items |= hops.gateway(config, chain, chain.gateway)
    if chain.warp is not None and keys.warp is not None:
        items |= hops.warp(config, chain, chain.warp, keys.warp)
    if chain.xray is not None:
        items |= hops.xray(config, chain, chain.xray)
    return items


def _exit_items(config: PrivacyRouterConfig, chain: Chain, facts: NodeFacts) -> Items:
    if chain.exit is None or chain.xray is None:
        return {}
    return hops.host_exit(config, chain, chain.exit, chain.xray, facts)


def _guard_items(config: PrivacyRouterConfig, chain: Chain, keys: KeySet) -> Items:
    endpoint = keys.warp.endpoint if chain.warp is not None and keys.warp is not None else None
    return {
        Key(Kind.FIREWALL, HOST, name): rulesets.canonical(objects)
        for name, objects in host_guards(config, chain, endpoint).items()
    }


def _tunnels(config: PrivacyRouterConfig, chain: Chain, keys: KeySet) -> dict[str, WireGuardConfig]:
    tunnels = {}
    if chain.gateway is not None and keys.gateway_private_key is not None:
        tunnels[GATEWAY_TUNNEL] = device_config(
            keys.gateway_private_key, config.wireguard.listen_port, keys.clients
        )
    if chain.warp is not None and keys.warp is not None:
        tunnels[WARP_TUNNEL] = _warp_device(config, keys.warp)
    return tunnels


def _warp_device(config: PrivacyRouterConfig, tunnel: WarpTunnel) -> WireGuardConfig:
    peer = WireGuardPeer(
        public_key=tunnel.peer_public_key,
        allowed_ips=(anywhere(4), anywhere(6)),
        endpoint=tunnel.endpoint,
        preshared_key=tunnel.preshared_key,
        keepalive_s=config.warp.keepalive_s,
    )
    return WireGuardConfig(tunnel.private_key, (peer,), firewall_mark=WARP_SOCKET_MARK)


def _tunnel_items(chain: Chain, tunnels: dict[str, WireGuardConfig]) -> Items:
    homes = {GATEWAY_TUNNEL: chain.gateway, WARP_TUNNEL: chain.warp}
    return {
        Key(Kind.TUNNEL, f"{home.namespace}", name): tunnel_state(tunnels[name])
        for name, home in homes.items()
        if name in tunnels and home is not None
    }


def tunnel_state(device: WireGuardConfig) -> TunnelState:
    """What of a device's configuration is compared with the device."""
    return TunnelState(
        public_key=public_key_of(device.private_key),
        listen_port=device.listen_port or None,
        peers={
            peer.public_key: PeerState(
                frozenset(peer.allowed_ips),
                peer.keepalive_s,
                SecretTag.of(peer.preshared_key),
                peer.endpoint,
            )
            for peer in device.peers
        },
        firewall_mark=device.firewall_mark,
    )


def _processes(
    config: PrivacyRouterConfig, chain: Chain, keys: KeySet, facts: NodeFacts
) -> dict[str, ProcessSpec]:
    specs = [
        *(_ovs_processes(Path(facts.run_dir)) if facts.private_ovs else ()),
        *([] if facts.kernel_wireguard else _wireguard_processes(chain)),
    ]
    if chain.xray is not None and keys.xray is not None:
        specs.append(_xray_process(config, chain, keys, facts))
    return {spec.name: spec for spec in specs}


def _ovs_processes(run_dir: Path) -> tuple[ProcessSpec, ProcessSpec]:
    home = ovs_dir(run_dir)
    env = {name: str(home) for name in ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")}
    # vswitchd complains for ever of the ports that were moved into namespaces; what it could not
    # make it says in the database too, where it is looked for
    quiet = ("-vconsole:warn", "-vsyslog:off", "-vfile:off")
    about_ports = ("-vnetdev_linux:console:off", "-vbridge:console:emer")
    server = (
        "ovsdb-server",
        str(home / "conf.db"),
        f"--remote=punix:{home / 'db.sock'}",
        f"--unixctl={home / 'ovsdb-server.ctl'}",
        *quiet,
    )
    switch = (
        "ovs-vswitchd",
        f"unix:{home / 'db.sock'}",
        "--disable-system",
        f"--unixctl={home / 'ovs-vswitchd.ctl'}",
        *quiet,
        *about_ports,
    )
    namespace = _namespace(SWITCH_NAMESPACE)
    files_only = Confinement(writable=(str(home),))
    devices = Confinement(
        capabilities=(Capability.NET_ADMIN, Capability.NET_RAW),
        address_families=("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"),
        devices=(TUN_DEVICE,),
        writable=(str(home),),
    )
    return (
        ProcessSpec("ovsdb-server", server, env, namespace, confinement=files_only),
        ProcessSpec("ovs-vswitchd", switch, env, namespace, confinement=devices),
    )


def _namespace(name: str) -> Path:
    return Path("/run/netns") / name


def ovs_dir(run_dir: Path) -> Path:
    """Where the node's own Open vSwitch keeps its database and sockets."""
    return run_dir / "ovs"


def _wireguard_processes(chain: Chain) -> list[ProcessSpec]:
    names = []
    if chain.gateway is not None:
        names.append(GATEWAY_TUNNEL)
    if chain.warp is not None:
        names.append(WARP_TUNNEL)
    env = {"WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"}
    devices = Confinement(
        capabilities=(Capability.NET_ADMIN, Capability.NET_BIND_SERVICE),
        address_families=("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"),
        devices=(TUN_DEVICE,),
        writable=(str(UAPI_DIR),),
    )
    return [
        ProcessSpec(name, ("wireguard-go", "--foreground", name), env, confinement=devices)
        for name in names
    ]


def xray_settings_file(run_dir: Path) -> Path:
    """Where the XRay client's settings are, for its process alone to read."""
    return run_dir / "xray.json"


def _xray_process(
    config: PrivacyRouterConfig, chain: Chain, keys: KeySet, facts: NodeFacts
) -> ProcessSpec:
    if keys.xray is None or chain.xray is None or config.vps_address is None:
        raise ValueError("the XRay hop needs an identity, a place and a VPS")
    vps = Vps(
        address=config.vps_address,
        port=config.vps_port,
        server_name=config.xray.server_name,
        fingerprint=config.xray.fingerprint,
        dns_servers=config.xray.dns,
    )
    settings = client_settings(
        keys.xray,
        vps,
        tproxy_port=config.xray.tproxy_port,
        socks_listen=[interface.ip for interface in chain.xray.interfaces],
        socks_port=config.xray.socks_port,
    )
    file = str(xray_settings_file(Path(facts.run_dir)))
    return ProcessSpec(
        name=XRAY_PROCESS,
        argv=command.arguments(file),
        env={
            # started anew when its way out changes: its connections and its clients' UDP sessions
            # belong to the old way, on which no answer comes any more
            "PRIVACY_ROUTER_WAY_OUT": chain.router.hop,
            # Go's garbage collector lets the heap grow by half, not to twice what is in use: of
            # 170 MB under much DNS 30 MB less, at no cost in time that could be measured
            "GOGC": "50",
        },
        namespace=_namespace(f"{chain.xray.namespace}"),
        inputs=json.dumps(settings, sort_keys=True).encode(),
        confinement=Confinement(
            # transparent sockets and marks; ports that are below 1024, if such are configured
            capabilities=(Capability.NET_ADMIN, Capability.NET_BIND_SERVICE),
            address_families=("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"),
            readable=(file, *command.program_places()),
        ),
    )
