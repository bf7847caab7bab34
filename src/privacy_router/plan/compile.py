"""From a configuration, its keys and the machine's facts to the node's desired state (pure)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.chain.stations import SWITCH_NAMESPACE, Task
from privacy_router.hops import firewall
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.hop import HopContext
from privacy_router.hops.namespace import NamespaceItems
from privacy_router.hops.wireguard import device_process
from privacy_router.pipeline.compile import Pipeline
from privacy_router.plan.desired import DesiredState, NodeState, PlannedState
from privacy_router.plan.guard import host_guards
from privacy_router.values.bridges import (
    USERSPACE_DATAPATH,
    BridgeKey,
    BridgeSettingKey,
    BridgeSpec,
    PortKey,
    PortSettingKey,
    PortSpec,
    SwitchValue,
)
from privacy_router.values.confinement import TUN_DEVICE, Capability, Confinement
from privacy_router.values.items import HOST, Present
from privacy_router.values.network import Device, DeviceKey
from privacy_router.values.processes import ProcessKey, ProcessSpec, ProcessState
from privacy_router.values.rulesets import FirewallKey, RulesetValue, TableRole
from privacy_router.values.wireguard import (
    PeerState,
    SecretTag,
    TunnelKey,
    TunnelState,
    public_key_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privacy_router.chain.order import Segment
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.catalogue import Catalogue
    from privacy_router.hops.hop import Hop
    from privacy_router.hops.keys import KeySet, NodeFacts, NodeKeys, PlanningKeys
    from privacy_router.values.items import Items, Key
    from privacy_router.values.wireguard import WireGuardConfig

    Placed = Sequence[tuple[Hop, HopContext]]
    """The hops of a node in the order of the chain, each with what its items are made from."""

OVS_PROCESSES = ("ovsdb-server", "ovs-vswitchd")


def compile_node(
    config: PrivacyRouterConfig, keys: NodeKeys, facts: NodeFacts, hops: Catalogue = CATALOGUE
) -> DesiredState:
    """Everything that the node has to be, as items; see `plan.desired`. `hops` are those that there
    are."""
    return DesiredState(**vars(_compile(config, keys, facts, hops)))


def plan_node(
    config: PrivacyRouterConfig, keys: PlanningKeys, facts: NodeFacts, hops: Catalogue = CATALOGUE
) -> PlannedState:
    """The same to look at, with what depends on keys that are not known marked."""
    found = _compile(config, keys, facts, hops)
    stand_ins: dict[Key, str] = {}
    for part, reason in keys.stand_ins.items():
        other = _compile(config, keys.with_another(part), facts, hops)
        depends = (key for key in found.items if found.items[key] != other.items.get(key))
        stand_ins |= dict.fromkeys(depends, reason)
    return PlannedState(**vars(found), stand_ins=stand_ins)


def _compile(
    config: PrivacyRouterConfig, keys: KeySet, facts: NodeFacts, hops: Catalogue
) -> NodeState:
    for hop in hops.wanted(config):
        config = hop.completed(config, keys)
    segment = hops.segment(config)
    placed = _placed(config, keys, facts, segment, hops)
    bridge = _bridge(config, segment, facts)
    devices = {hop: device for hop, context in placed if (device := hop.device(context))}
    processes = _processes(placed, facts)
    items: Items = {
        **_guard_items(config, segment, hops, devices),
        **{key: value for hop, context in placed for key, value in hop.items(context).items()},
        **(_switch_items() if facts.private_ovs else {}),
        **_bridge_items(bridge),
        **_tunnel_items(devices),
    }
    for spec in processes.values():
        items[ProcessKey(spec.name)] = ProcessState(spec.fingerprint)
    items |= _without_offloads(items, bridge)
    pipeline = Pipeline(config, segment)
    pipeline.require_valid()
    tunnels = {f"{hop.role.tunnel}": device for hop, device in devices.items()}
    return NodeState(items, bridge, pipeline, processes, tunnels)


def _placed(
    config: PrivacyRouterConfig,
    keys: KeySet,
    facts: NodeFacts,
    segment: Segment,
    hops: Catalogue,
) -> Placed:
    return [
        (hops.hop(station.hop), HopContext(config, keys, facts, segment, station))
        for station in segment.stations
    ]


def _switch_items() -> Items:
    """The namespace of the node's own Open vSwitch: no address, no way out, nothing let through.

    Ports that are born here and belong to containers are none of the plan's business.
    """
    space = NamespaceItems(SWITCH_NAMESPACE, ipv6=False)
    space.sysctl({f"ipv6/conf/{which}/disable_ipv6": "1" for which in ("all", "default", "lo")})
    space.firewall(firewall.closed())
    space.refuse_the_rest()
    return space.items


def _bridge(config: PrivacyRouterConfig, segment: Segment, facts: NodeFacts) -> BridgeSpec:
    ports = tuple(PortSpec(s.port, s.mac, s.ofport) for s in segment.stations)
    return BridgeSpec(config.bridge_name, facts.datapath_type, ports, whole=facts.private_ovs)


def _bridge_items(bridge: BridgeSpec) -> Items:
    """The bridge, its ports, and each of their settings by itself, so that a difference has its
    name; what is set and not listed here is one, too."""
    items: Items = {BridgeKey(bridge.name): Present()}
    for setting, value in bridge.bridge_settings.items():
        items[BridgeSettingKey(bridge.name, setting)] = SwitchValue(value)
    for setting, value in bridge.port_settings.items():
        items[PortSettingKey(bridge.name, setting)] = SwitchValue(value)
    for port in bridge.ports:
        items[PortKey(bridge.name, port.name)] = port
    return items


def _without_offloads(items: Items, bridge: BridgeSpec) -> Items:
    """The bridge's ports where Open vSwitch forwards in userspace: the kernel computes checksums.

    From Open vSwitch 3.2 on they are left to its ports, and those of 3.3.0 to 3.5.0 (Debian 13 has
    3.5.0) compute UDP's over IPv6 from a wrong pseudo header: the receiver drops such packets.
    """
    if bridge.datapath_type != USERSPACE_DATAPATH:
        return {}
    ports = {port.name for port in bridge.ports}
    return {
        key: replace(device, offloads_checksums=False)
        for key, device in items.items()
        if isinstance(key, DeviceKey) and isinstance(device, Device) and key.device in ports
    }


def _guard_items(
    config: PrivacyRouterConfig,
    segment: Segment,
    hops: Catalogue,
    devices: Mapping[Hop, WireGuardConfig],
) -> Items:
    endpoints = {hop.name: device for hop, device in devices.items()}
    return {
        FirewallKey(HOST, name, TableRole.GUARD): RulesetValue.of(objects)
        for name, objects in host_guards(config, segment, hops, endpoints).items()
    }


def _tunnel_items(devices: Mapping[Hop, WireGuardConfig]) -> Items:
    return {
        TunnelKey(f"{hop.role.namespace}", f"{hop.role.tunnel}"): tunnel_state(device)
        for hop, device in devices.items()
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


def _processes(placed: Placed, facts: NodeFacts) -> dict[str, ProcessSpec]:
    specs = [*(_ovs_processes(Path(facts.run_dir)) if facts.private_ovs else ())]
    for hop, context in placed:
        if hop.role.tunnel is not None and not facts.kernel_wireguard:
            is_called = hop.role.task is Task.ENTRANCE
            specs.append(device_process(hop.role.tunnel, is_called=is_called))
        specs += hop.processes(context)
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
    namespace = Path("/run/netns") / SWITCH_NAMESPACE
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


def ovs_dir(run_dir: Path) -> Path:
    """Where the node's own Open vSwitch keeps its database and sockets."""
    return run_dir / "ovs"
