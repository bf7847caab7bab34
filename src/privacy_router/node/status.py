"""The node's state, read from the machine and not from the controller's memory."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from privacy_router.chain.stations import Task
from privacy_router.client.status import ClientStatus, HopStatus, NodeStatus
from privacy_router.host import namespaces, processes
from privacy_router.host.netlink import Netlink
from privacy_router.host.threads import in_thread
from privacy_router.host.wireguard_uapi import UapiError, format_endpoint
from privacy_router.node import clients, host_firewall, ownership
from privacy_router.node import machine as machines
from privacy_router.node.controller import make_engine
from privacy_router.node.converge import observe_all
from privacy_router.node.evidence import State
from privacy_router.node.file_note import read_note
from privacy_router.node.health import read_told
from privacy_router.node.health_reading import NOT_UP, read_health
from privacy_router.node.inspection import port_names, read_flows
from privacy_router.node.lock import controller_pid
from privacy_router.node.outside import NOT_ASKED, UNANSWERED, ask_outside
from privacy_router.node.paths import NodePaths
from privacy_router.node.planning_keys import plan_keys
from privacy_router.node.supervision import words
from privacy_router.plan.compile import plan_node
from privacy_router.report.flows import flow_rows
from privacy_router.values.items import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from privacy_router.chain.order import Segment
    from privacy_router.chain.stations import Station
    from privacy_router.client.status import FileNote
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.catalogue import Catalogue
    from privacy_router.hops.gateway.clients import Client
    from privacy_router.host.wireguard_uapi import DeviceStatus
    from privacy_router.node.flows.keeper import FlowKeeper
    from privacy_router.node.health import Told
    from privacy_router.node.machine import NodeHost
    from privacy_router.node.outside import Outside
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.items import Change

_UNKNOWN = {"state": str(State.QUIET), "reason": "", "since": 0.0, "evidence": ""}
T = TypeVar("T")


@dataclass(frozen=True)
class Kept:
    """The document that the controller keeps: the file's name, "" where it has none, and that the
    file by now is another, where the controller has not looked at it yet."""

    document: str = ""
    differing: FileNote | None = None


NOT_TOLD = Kept()


@dataclass(frozen=True)
class Local:
    """What the machine says by itself, read at one moment: `unknown` is what is not known of the
    keys, in words, and `trouble` what could not be read."""

    config: PrivacyRouterConfig
    machine: NodeHost
    segment: Segment
    clients: Sequence[Client]
    unknown: Sequence[str]
    changes: list[Change]
    left_out: dict[str, str]
    processes: dict[str, int]
    is_there: bool
    controller_pid: int | None
    devices: dict[str, DeviceStatus]
    flows: list[dict[str, Any]]
    trouble: tuple[str, ...]


def read_local(config: PrivacyRouterConfig) -> Local:
    """Read the machine, and ask nothing through the chain.

    Raises PrivilegeError, MissingPrerequisiteError, StorageError.
    """
    paths = NodePaths.from_environment()
    machine = machines.inspect(config, paths)
    segment = machine.hops.segment(config)
    keys = plan_keys(config, paths)
    desired = plan_node(config, keys, machine.facts, machine.hops)
    trouble: list[str] = []
    looked = _or_trouble(lambda: asyncio.run(_changes(desired, machine)), "the node", trouble)
    found, left_out = looked or ([], {})
    running = {process.name: process.pid for process in processes.running(machine.owner)}
    is_there = ownership.is_there(machine)
    devices = _or_trouble(lambda: _devices(machine, segment), "the tunnels", trouble)
    flows: list[dict[str, Any]] | None = None
    if is_there:
        flows = _or_trouble(lambda: asyncio.run(read_flows(config)), "the flows", trouble)
    return Local(
        config=config,
        machine=machine,
        segment=segment,
        clients=keys.clients,
        unknown=sorted(set(keys.stand_ins.values())),
        changes=[change for change in found if not desired.unknown(change.key)],
        left_out=left_out,
        processes=running,
        is_there=is_there,
        controller_pid=controller_pid(paths),
        devices=devices or {},
        flows=flows or [],
        trouble=tuple(trouble),
    )


async def look_at_kept(
    desired: DesiredState, machine: NodeHost, flows: FlowKeeper, pid: int
) -> Local:
    """The same of a node that this process, `pid`, keeps: measured by what is kept, over the
    connections that are there. Raises what reading it does."""
    config = desired.pipeline.config
    segment = desired.pipeline.segment
    changes = await observe_all(desired, machine, flows)
    rows = await in_thread(flow_rows, await flows.counted(), port_names(desired, flows))
    return Local(
        config=config,
        machine=machine,
        segment=segment,
        clients=await in_thread(_registered, config, machine),
        unknown=(),
        changes=changes,
        left_out=dict(flows.mesh.left_out),
        processes={one.name: one.pid for one in processes.running(machine.owner)},
        is_there=True,
        controller_pid=pid,
        devices=await in_thread(_devices, machine, segment),
        flows=rows,
        trouble=(),
    )


def _registered(config: PrivacyRouterConfig, machine: NodeHost) -> tuple[Client, ...]:
    return clients.load(config, machine.paths) if config.wireguard.enabled else ()


def told_of(local: Local) -> Told:
    """What the controller found last, without asking the chain anything."""
    told = read_told(local.machine.paths.health, local.controller_pid) if local.is_there else None
    return told or NOT_UP


def ask_chain(local: Local, *, may_ask: bool) -> Told:
    """What the controller found, and with `may_ask`, where nothing proves the chain, what a
    question through it finds: up to three seconds."""
    if not local.is_there:
        return NOT_UP
    return read_health(local.config, local.machine, local.controller_pid, may_ask=may_ask)


def ask_sites(local: Local, told: Told) -> Outside:
    """Which addresses sites see; a chain that passes nothing is not asked in vain."""
    if not local.is_there:
        return NOT_ASKED
    if not told.proven:
        return UNANSWERED
    return ask_outside(local.config, _of_clients(local.segment, local.devices))


def _of_clients(segment: Segment, devices: Mapping[str, DeviceStatus]) -> DeviceStatus | None:
    """The clients' tunnel, by the tunnels of all hops."""
    return None if segment.entrance is None else devices.get(segment.entrance.hop)


def read_status(config: PrivacyRouterConfig, *, probe: bool) -> NodeStatus:
    """Read everything now; with `probe`, ask the outside as well.

    What cannot be read is in `trouble`, and the node is `degraded`. Raises PrivilegeError,
    MissingPrerequisiteError, StorageError.
    """
    local = read_local(config)
    told = ask_chain(local, may_ask=probe)
    return status_of(local, told, ask_sites(local, told) if probe else NOT_ASKED)


def status_of(local: Local, told: Told, outside: Outside, kept: Kept = NOT_TOLD) -> NodeStatus:
    """All of it put together."""
    trouble = [*local.trouble, *told.troubles]
    hops = _or_trouble(lambda: _hops(local, told, outside), "the hops", trouble) or []
    whole = local.controller_pid is not None and not (local.changes or local.unknown or trouble)
    state = _state(hops, told, up=local.is_there, whole=whole)
    return NodeStatus(
        ok=state == "up",
        state=state,
        controller_pid=local.controller_pid,
        probed=outside.asked,
        hops=hops,
        clients=_clients(local.clients, _of_clients(local.segment, local.devices)),
        exit_ip=outside.exit.address if outside.exit else None,
        warp_trace=outside.warp.warp if outside.warp else None,
        processes=local.processes,
        pending=[*local.unknown, *_pending(local.changes)] if local.is_there else [],
        left_out=local.left_out,
        trouble=trouble if local.is_there else [],
        exit_ipv4=outside.exit_v4.address if outside.exit_v4 else None,
        exit_ipv6=outside.exit_v6.address if outside.exit_v6 else None,
        obfuscation_level=local.config.openflow.obfuscation_level,
        document=kept.document,
        listen_port=local.config.wireguard.listen_port if local.segment.entrance else None,
        firewalls=host_firewall.remarks(local.config, local.segment) if local.is_there else [],
        file=read_note(local.machine.paths.file_note, local.controller_pid) or kept.differing,
    )


def _hops(local: Local, told: Told, outside: Outside) -> list[HopStatus]:
    hops = local.machine.hops
    return [
        _hop(hops, station, local.changes, outside, local.devices, local.flows, told.hops)
        for station in _in_namespaces(local.segment)
    ]


def _in_namespaces(segment: Segment) -> list[Station]:
    """The stations that are hops of their own, and not the host."""
    return [station for station in segment.stations if not station.role.in_host]


def _state(hops: list[HopStatus], told: Told, *, up: bool, whole: bool) -> str:
    if not up:
        return "down"
    if not whole or any(hop.state in ("down", "degraded") for hop in hops):
        return "degraded"
    return "up" if told.proven else "quiet"


def _or_trouble(read: Callable[[], T], what: str, trouble: list[str]) -> T | None:
    """What `read` returns; None if it fails, and that is what is to be told: also by a defect,
    since this is what an operator looks at when something is amiss."""
    try:
        return read()
    except Exception as error:
        trouble.append(f"{what} could not be read: {words(error)}")
        return None


def quick_status(
    config: PrivacyRouterConfig,
    machine: NodeHost,
    known: Sequence[Client],
    changes: list[Change],
    health: Mapping[str, dict[str, Any]],
) -> tuple[list[HopStatus], list[ClientStatus]]:
    """Hops and `known` clients as they are now, without asking the switch or the outside.

    `changes` are the differences from the configuration that are known of, and `health` what is
    known of each hop, as `HopStatus` has it.
    """
    segment = machine.hops.segment(config)
    devices = _devices(machine, segment)
    hops = [
        _hop(machine.hops, station, changes, NOT_ASKED, devices, [], health)
        for station in _in_namespaces(segment)
    ]
    return hops, _clients(known, _of_clients(segment, devices))


async def _changes(desired: Any, machine: NodeHost) -> tuple[list[Change], dict[str, str]]:
    engine = await make_engine(desired, machine)
    try:
        return await observe_all(desired, machine, engine), dict(engine.mesh.left_out)
    finally:
        await engine.close()


def _devices(machine: NodeHost, segment: Segment) -> dict[str, DeviceStatus]:
    """The tunnels of the hops that have one, by hop."""
    found = {}
    for station in segment.stations:
        if station.role.tunnel is None:
            continue
        path = namespaces.path_of(f"{station.namespace}")
        try:
            status = machine.wireguard.read(station.role.tunnel, path) if path.exists() else None
        except UapiError:
            continue  # that it does not answer is among the differences
        if status is not None:
            found[station.hop] = status
    return found


def _hop(
    hops: Catalogue,
    station: Station,
    changes: list[Change],
    outside: Outside,
    devices: dict[str, DeviceStatus],
    flows: list[dict[str, Any]],
    told: Mapping[str, dict[str, Any]],
) -> HopStatus:
    different = _difference(hops, station, changes)
    health = dict(told.get(station.hop, _UNKNOWN))
    if station.role.task is Task.ENTRANCE and outside.client_rtt_ms is not None:
        health |= {"state": str(State.UP), "reason": "", "evidence": "a client answers"}
    rx_bytes, tx_bytes = _counters(station)
    rates = {name: float(health.pop(name, 0.0)) for name in ("rx_rate", "tx_rate")}
    handshakes = [p.last_handshake for p in _peers(devices.get(station.hop)) if p.last_handshake]
    age_s = round(time.time() - max(handshakes), 1) if handshakes else None
    return HopStatus(
        name=station.hop,
        state="down" if different else health["state"],
        detail=different or health["reason"],
        port=station.port,
        rx_bytes=rx_bytes,
        tx_bytes=tx_bytes,
        handshake_age_s=age_s,
        rtt_ms=outside.rtt_ms(station.role.task),
        flows=[
            f"{row['match']} → {row['actions']}"
            for row in flows
            if row["table"] == "privacy" and f"in_port={station.port}" in row["match"]
        ],
        health=health,
        has_tunnel=station.role.tunnel is not None,
        **rates,
    )


def _peers(device: DeviceStatus | None) -> Any:
    return device.peers if device is not None else ()


def _difference(hops: Catalogue, station: Station, changes: list[Change]) -> str:
    names = (station.port, *hops.hop(station.hop).processes_by_name)
    for change in changes:
        key = change.key
        if key.where == station.namespace or key.name in names:
            return _words(change)
    return ""


def _pending(changes: list[Change]) -> Iterator[str]:
    """Each difference in words; those of flows, of which there may be thousands, as one."""
    of_flows = [change for change in changes if change.key.kind in (Kind.METER, Kind.FLOW)]
    yield from (_words(change) for change in changes if change.key.kind < Kind.METER)
    if of_flows:
        yield f"{len(of_flows)} flow(s) or meter(s): see privacy-router flows diff"


def _words(change: Change) -> str:
    missing = {"add": "missing", "remove": "not wanted", "change": "different"}[change.verb]
    return f"{change.key.kind.name.lower()} {change.key.name} {missing}"


def _counters(station: Station) -> tuple[int, int]:
    path = namespaces.path_of(f"{station.namespace}")
    if not namespaces.exists(f"{station.namespace}"):
        return (0, 0)
    with Netlink(path) as netlink:
        link = netlink.links().get(station.port)
        return (link.rx_bytes, link.tx_bytes) if link is not None else (0, 0)


def _clients(known: Any, device: DeviceStatus | None) -> list[ClientStatus]:
    found = []
    for client in known:
        peer = device.peer(client.public_key) if device is not None else None
        age_s = (
            round(time.time() - peer.last_handshake, 1) if peer and peer.last_handshake else None
        )
        endpoint = format_endpoint(peer.endpoint) if peer and peer.endpoint else None
        found.append(
            ClientStatus(
                name=client.name,
                endpoint=endpoint,
                handshake_age_s=age_s,
                rx_bytes=peer.rx_bytes if peer else 0,
                tx_bytes=peer.tx_bytes if peer else 0,
            )
        )
    return found
