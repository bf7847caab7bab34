"""The node's state, read from the machine and not from anybody's memory."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from privacy_router.errors import RemoteServiceError
from privacy_router.host import namespaces, processes
from privacy_router.host.netlink import Netlink
from privacy_router.host.ping import echo_rtt_ms
from privacy_router.host.uapi import UapiError, format_endpoint
from privacy_router.node import clients, host_firewall, ownership
from privacy_router.node import machine as machines
from privacy_router.node.controller import make_engine
from privacy_router.node.converge import observe_all
from privacy_router.node.evidence import State
from privacy_router.node.file_note import FileNote, read_note
from privacy_router.node.health_reading import NOT_UP, read_health
from privacy_router.node.inspection import read_flows
from privacy_router.node.lock import controller_pid
from privacy_router.node.paths import NodePaths
from privacy_router.node.planning_keys import plan_keys
from privacy_router.node.supervision import words
from privacy_router.plan import chain as chains
from privacy_router.plan.chain import GATEWAY_NAMESPACE, GATEWAY_TUNNEL, WARP_TUNNEL
from privacy_router.plan.compile import XRAY_PROCESS, plan_node
from privacy_router.plan.state import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.gateway import Client
    from privacy_router.host.uapi import DeviceStatus
    from privacy_router.node.health import Told
    from privacy_router.node.machine import Machine
    from privacy_router.node.probe import Trace
    from privacy_router.plan.chain import Chain, Station
    from privacy_router.plan.state import Change

_HANDSHAKE_FRESH_S = 180.0
_PING_TIMEOUT_S = 1.0
_UNKNOWN = {"state": str(State.QUIET), "reason": "", "since": 0.0, "evidence": ""}
T = TypeVar("T")
_PROCESS_OF = {"gateway": GATEWAY_TUNNEL, "warp": WARP_TUNNEL, "xray": XRAY_PROCESS}


@dataclass(frozen=True)
class HopStatus:
    """One hop. Bytes are those of its bridge port, as the hop sees them.

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
    whole chain within the last seconds; `quiet` when only the last is not known.
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

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


def read_status(config: PrivacyRouterConfig, *, probe: bool) -> NodeStatus:
    """Read everything now; with `probe`, ask the outside as well.

    What cannot be read is in `trouble`, and the node is `degraded`. Raises PrivilegeError,
    MissingPrerequisiteError, StorageError.
    """
    paths = NodePaths.from_environment()
    machine = machines.inspect(config, paths)
    chain = chains.build(config)
    keys = plan_keys(config, paths)
    desired = plan_node(config, keys, machine.facts)
    trouble: list[str] = []
    looked = _or_trouble(lambda: asyncio.run(_changes(desired, machine)), "the node", trouble)
    found, left_out = looked or ([], {})
    changes = [change for change in found if not desired.unknown(change.key)]
    unknown = sorted(set(keys.stand_ins.values()))
    running = {process.name: process.pid for process in processes.running(machine.owner)}
    up = ownership.is_there(machine)
    pid = controller_pid(paths)
    devices = _or_trouble(lambda: _devices(machine, chain), "the tunnels", trouble) or {}
    told = read_health(config, machine, pid, may_ask=probe) if up else NOT_UP
    trouble += told.troubles
    probes = _Probes(config, chain, devices, asked=probe and up, proven=told.proven)
    rows = _or_trouble(lambda: asyncio.run(read_flows(config)), "the flows", trouble) if up else []
    hops = _or_trouble(
        lambda: [
            _hop(station, changes, probes, devices, rows or [], told.hops)
            for station in chain.stations
            if station.hop != "exit"
        ],
        "the hops",
        trouble,
    )
    whole = pid is not None and not (changes or unknown or trouble)
    state = _state(hops or [], told, up=up, whole=whole)
    return NodeStatus(
        ok=state == "up",
        state=state,
        controller_pid=pid,
        probed=probes.asked,
        hops=hops or [],
        clients=_clients(keys.clients, devices.get("gateway")),
        exit_ip=probes.exit.address if probes.exit else None,
        warp_trace=probes.warp.warp if probes.warp else None,
        processes=running,
        pending=[*unknown, *_pending(changes)] if up else [],
        left_out=left_out,
        trouble=trouble if up else [],
        listen_port=config.wireguard.listen_port if chain.gateway else None,
        firewalls=host_firewall.remarks(config, chain) if up else [],
        file=read_note(paths.file_note, pid),
    )


def read_clients(config: PrivacyRouterConfig) -> list[ClientStatus]:
    """The registered clients as the gateway sees them now. Raises StorageError, PrivilegeError,
    MissingPrerequisiteError."""
    paths = NodePaths.from_environment()
    devices = _devices(machines.inspect(config, paths), chains.build(config))
    return _clients(clients.load(config, paths), devices.get("gateway"))


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
    machine: Machine,
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
    probes = _Probes(config, chain, devices, asked=False, proven=False)
    stations = [station for station in chain.stations if station.hop != "exit"]
    hops = [_hop(station, changes, probes, devices, [], health) for station in stations]
    return hops, _clients(known, devices.get("gateway"))


async def _changes(desired: Any, machine: Machine) -> tuple[list[Change], dict[str, str]]:
    engine = await make_engine(desired, machine)
    try:
        return await observe_all(desired, machine, engine), dict(engine.mesh.left_out)
    finally:
        await engine.close()


class _Probes:
    """What the outside answered; None where it was not asked or said nothing."""

    def __init__(
        self,
        config: PrivacyRouterConfig,
        chain: Chain,
        devices: dict[str, DeviceStatus],
        *,
        asked: bool,
        proven: bool,
    ) -> None:
        self.asked = asked
        self.warp: Trace | None = None
        self.exit: Trace | None = None
        self.client_rtt_ms: float | None = None
        if asked and proven:  # else it would be waited for in vain
            self._ask(config, chain, devices)

    def _ask(
        self, config: PrivacyRouterConfig, chain: Chain, devices: dict[str, DeviceStatus]
    ) -> None:
        # a controller that nobody asks for this has no need of HTTP and DNS in its memory
        from privacy_router.node.probe import exit_trace, warp_trace

        self.warp = _try(lambda: warp_trace(config)) if chain.warp else None
        self.exit = _try(lambda: exit_trace(config))
        self.client_rtt_ms = _client_rtt_ms(devices.get("gateway"))

    def rtt_ms(self, hop: str) -> float | None:
        """How long an answer takes from the hop's far side: a client, Cloudflare, a web site."""
        if hop == "gateway":
            return self.client_rtt_ms
        trace = {"warp": self.warp, "xray": self.exit}.get(hop)
        return trace.rtt_ms if trace is not None else None


def _client_rtt_ms(device: DeviceStatus | None) -> float | None:
    """A ping of the client that was there last; some devices do not answer."""
    fresh = [
        peer
        for peer in (device.peers if device is not None else ())
        if time.time() - peer.last_handshake < _HANDSHAKE_FRESH_S
    ]
    if not fresh:
        return None
    last = max(fresh, key=lambda peer: peer.last_handshake)
    address = next((str(n.network_address) for n in last.allowed_ips if n.version == 4), None)
    if address is None:
        return None
    namespace = namespaces.path_of(GATEWAY_NAMESPACE)
    rtt_ms = namespaces.run_in(namespace, lambda: echo_rtt_ms(address, _PING_TIMEOUT_S))
    return None if rtt_ms is None else round(rtt_ms, 1)


def _try(ask: Callable[[], Trace]) -> Trace | None:
    try:
        return ask()
    except RemoteServiceError:
        return None


def _devices(machine: Machine, chain: Chain) -> dict[str, DeviceStatus]:
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
    probes: _Probes,
    devices: dict[str, DeviceStatus],
    flows: list[dict[str, Any]],
    told: Mapping[str, dict[str, Any]],
) -> HopStatus:
    different = _difference(station, changes)
    health = dict(told.get(station.hop, _UNKNOWN))
    if station.hop == "gateway" and probes.client_rtt_ms is not None:
        health |= {"state": str(State.UP), "reason": "", "evidence": "a client answers"}
    rx_bytes, tx_bytes = _counters(station)
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
        rtt_ms=probes.rtt_ms(station.hop),
        flows=[
            f"{row['match']} → {row['actions']}"
            for row in flows
            if row["table"] == "privacy" and f"in_port={station.port}" in row["match"]
        ],
        health=health,
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
