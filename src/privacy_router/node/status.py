"""The node's state, read from the machine and not from anybody's memory."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from privacy_router.chain import stations as chains
from privacy_router.chain.stations import GATEWAY_TUNNEL, WARP_TUNNEL
from privacy_router.host import namespaces, processes
from privacy_router.host.netlink import Netlink
from privacy_router.host.wireguard_uapi import UapiError, format_endpoint
from privacy_router.node import clients, host_firewall, ownership
from privacy_router.node import machine as machines
from privacy_router.node.controller import make_engine
from privacy_router.node.converge import observe_all
from privacy_router.node.evidence import State
from privacy_router.node.file_note import FileNote, read_note
from privacy_router.node.health import read_told
from privacy_router.node.health_reading import NOT_UP, read_health
from privacy_router.node.inspection import read_flows
from privacy_router.node.lock import controller_pid
from privacy_router.node.outside import NOT_ASKED, UNANSWERED, ask_outside
from privacy_router.node.paths import NodePaths
from privacy_router.node.planning_keys import plan_keys
from privacy_router.node.supervision import words
from privacy_router.plan.compile import XRAY_PROCESS, plan_node
from privacy_router.values.items import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from privacy_router.chain.stations import Chain, Station
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.gateway import Client
    from privacy_router.host.wireguard_uapi import DeviceStatus
    from privacy_router.node.health import Told
    from privacy_router.node.machine import NodeHost
    from privacy_router.node.outside import Outside
    from privacy_router.plan.keys import PlanningKeys
    from privacy_router.values.items import Change

_UNKNOWN = {"state": str(State.QUIET), "reason": "", "since": 0.0, "evidence": ""}
T = TypeVar("T")
_PROCESS_OF = {"gateway": GATEWAY_TUNNEL, "warp": WARP_TUNNEL, "xray": XRAY_PROCESS}


@dataclass(frozen=True)
class HopStatus:
    """One hop. Bytes are those of its bridge port, as the hop sees them, and `rx_rate` and
    `tx_rate` bytes a second within the last two seconds or so.

    `state` is `up` when it has proved within the last seconds that it passes packets, `quiet` when
    nothing says so nor the contrary, else `degraded` or `down`, with `detail` as the reason.
    `health` has `state`, `reason`, `since` (seconds since 1970) and `evidence`, all of what passes,
    where `state` is also of what is different from the configuration.
    """

    name: str
    state: str
    detail: str
    port: str
    rx_bytes: int
    tx_bytes: int
    handshake_age_s: float | None
    rtt_ms: float | None
    flows: list[str]
    health: dict[str, Any] = field(default_factory=dict)
    rx_rate: float = 0.0
    tx_rate: float = 0.0


@dataclass(frozen=True)
class Kept:
    """The document that the controller keeps: the file's name, "" where it has none, and that the
    file by now is another, where the controller has not looked at it yet."""

    document: str = ""
    differing: FileNote | None = None


NOT_TOLD = Kept()


@dataclass(frozen=True)
class ClientStatus:
    """One client device."""

    name: str
    endpoint: str | None
    handshake_age_s: float | None
    rx_bytes: int
    tx_bytes: int


@dataclass(frozen=True)
class NodeStatus:
    """The whole node. `probed`: the outside was asked. `pending` are differences
    from the configuration, in words, `left_out` ports of the bridge that get no flows, with the
    reason, and `trouble` what the controller cannot do, and what could not be read. `file` says why
    the controller's file is not what it keeps, if that is so. `firewalls` are those of the host
    that may be in the way, `listen_port` is the UDP port that clients dial.

    It is `ok` when all is as configured, a controller keeps it so, and packets have passed the
    whole chain within the last seconds; `quiet` when only the last is not known. `exit_ipv4` and
    `exit_ipv6` are the addresses that sites see, `exit_ip` the first of them, and `document` the
    file that the controller keeps, where it has a name.
    """

    ok: bool
    state: str
    controller_pid: int | None
    probed: bool
    hops: list[HopStatus]
    clients: list[ClientStatus]
    exit_ip: str | None
    warp_trace: str | None
    processes: dict[str, int]
    pending: list[str]
    left_out: dict[str, str]
    trouble: list[str] = field(default_factory=list)
    firewalls: list[str] = field(default_factory=list)
    listen_port: int | None = None
    file: FileNote | None = None
    exit_ipv4: str | None = None
    exit_ipv6: str | None = None
    obfuscation_level: int = 0
    document: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


@dataclass(frozen=True)
class Local:
    """What the machine says by itself, read at one moment; `trouble` is what could not be read."""

    config: PrivacyRouterConfig
    machine: NodeHost
    chain: Chain
    keys: PlanningKeys
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
    chain = chains.build(config)
    keys = plan_keys(config, paths)
    desired = plan_node(config, keys, machine.facts)
    trouble: list[str] = []
    looked = _or_trouble(lambda: asyncio.run(_changes(desired, machine)), "the node", trouble)
    found, left_out = looked or ([], {})
    running = {process.name: process.pid for process in processes.running(machine.owner)}
    is_there = ownership.is_there(machine)
    devices = _or_trouble(lambda: _devices(machine, chain), "the tunnels", trouble)
    flows: list[dict[str, Any]] | None = None
    if is_there:
        flows = _or_trouble(lambda: asyncio.run(read_flows(config)), "the flows", trouble)
    return Local(
        config=config,
        machine=machine,
        chain=chain,
        keys=keys,
        changes=[change for change in found if not desired.unknown(change.key)],
        left_out=left_out,
        processes=running,
        is_there=is_there,
        controller_pid=controller_pid(paths),
        devices=devices or {},
        flows=flows or [],
        trouble=tuple(trouble),
    )


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
    return ask_outside(local.config, local.devices.get("gateway")) if told.proven else UNANSWERED


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
    unknown = sorted(set(local.keys.stand_ins.values()))
    whole = local.controller_pid is not None and not (local.changes or unknown or trouble)
    state = _state(hops, told, up=local.is_there, whole=whole)
    return NodeStatus(
        ok=state == "up",
        state=state,
        controller_pid=local.controller_pid,
        probed=outside.asked,
        hops=hops,
        clients=_clients(local.keys.clients, local.devices.get("gateway")),
        exit_ip=outside.exit.address if outside.exit else None,
        warp_trace=outside.warp.warp if outside.warp else None,
        processes=local.processes,
        pending=[*unknown, *_pending(local.changes)] if local.is_there else [],
        left_out=local.left_out,
        trouble=trouble if local.is_there else [],
        exit_ipv4=outside.exit_v4.address if outside.exit_v4 else None,
        exit_ipv6=outside.exit_v6.address if outside.exit_v6 else None,
        obfuscation_level=local.config.openflow.obfuscation_level,
        document=kept.document,
        listen_port=local.config.wireguard.listen_port if local.chain.gateway else None,
        firewalls=host_firewall.remarks(local.config, local.chain) if local.is_there else [],
        file=read_note(local.machine.paths.file_note, local.controller_pid) or kept.differing,
    )


def read_clients(config: PrivacyRouterConfig) -> list[ClientStatus]:
    """The registered clients as the gateway sees them now. Raises StorageError, PrivilegeError,
    MissingPrerequisiteError."""
    paths = NodePaths.from_environment()
    devices = _devices(machines.inspect(config, paths), chains.build(config))
    return _clients(clients.load(config, paths), devices.get("gateway"))


def _hops(local: Local, told: Told, outside: Outside) -> list[HopStatus]:
    return [
        _hop(station, local.changes, outside, local.devices, local.flows, told.hops)
        for station in local.chain.stations
        if station.hop != "exit"
    ]


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


def glance(
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
    chain = chains.build(config)
    devices = _devices(machine, chain)
    stations = [station for station in chain.stations if station.hop != "exit"]
    hops = [_hop(station, changes, NOT_ASKED, devices, [], health) for station in stations]
    return hops, _clients(known, devices.get("gateway"))


async def _changes(desired: Any, machine: NodeHost) -> tuple[list[Change], dict[str, str]]:
    engine = await make_engine(desired, machine)
    try:
        return await observe_all(desired, machine, engine), dict(engine.mesh.left_out)
    finally:
        await engine.close()


def _devices(machine: NodeHost, chain: Chain) -> dict[str, DeviceStatus]:
    found = {}
    for hop, tunnel, station in (
        ("gateway", GATEWAY_TUNNEL, chain.gateway),
        ("warp", WARP_TUNNEL, chain.warp),
    ):
        if station is not None:
            namespace = namespaces.path_of(f"{station.namespace}")
            try:
                status = machine.wireguard.read(tunnel, namespace) if namespace.exists() else None
            except UapiError:
                continue  # that it does not answer is among the differences
            if status is not None:
                found[hop] = status
    return found


def _hop(
    station: Station,
    changes: list[Change],
    outside: Outside,
    devices: dict[str, DeviceStatus],
    flows: list[dict[str, Any]],
    told: Mapping[str, dict[str, Any]],
) -> HopStatus:
    different = _difference(station, changes)
    health = dict(told.get(station.hop, _UNKNOWN))
    if station.hop == "gateway" and outside.client_rtt_ms is not None:
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
        rtt_ms=outside.rtt_ms(station.hop),
        flows=[
            f"{row['match']} → {row['actions']}"
            for row in flows
            if row["table"] == "privacy" and f"in_port={station.port}" in row["match"]
        ],
        health=health,
        **rates,
    )


def _peers(device: DeviceStatus | None) -> Any:
    return device.peers if device is not None else ()


def _difference(station: Station, changes: list[Change]) -> str:
    for change in changes:
        key = change.key
        if key.where == station.namespace or key.name in (station.port, _PROCESS_OF[station.hop]):
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
