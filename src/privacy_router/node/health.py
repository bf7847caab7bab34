"""Keeps watch over what passes: reads counters, asks where nothing proves the chain, tells.

The judgement is `node.evidence`'s; this reads the machine and the clock. What it finds is in a file
of the run directory too, so that `status` costs a file and works when nothing else answers; a file
that is not written any more says that the controller hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from privacy_router.chain.stations import Task
from privacy_router.host import namespaces
from privacy_router.host.files import write_private
from privacy_router.host.threads import in_thread
from privacy_router.node.counted import Sample, Tap, port_of, tunnel_of
from privacy_router.node.evidence import Evidence, State
from privacy_router.node.question import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.catalogue import Catalogue
    from privacy_router.host.wireguard_uapi import DeviceStatus
    from privacy_router.node.counted import Point
    from privacy_router.node.evidence import Answer, Health
    from privacy_router.node.machine import NodeHost

_log = structlog.get_logger()
_BUSY_PERIOD_S: Final = 0.5
_IDLE_PERIOD_S: Final = 1.0
_TUNNEL_PERIOD_S: Final = 2.0
_STALE_S: Final = 4.0
_FILE_LIMIT_BYTES: Final = 64 * 1024
_BAD: Final = frozenset({State.DOWN, State.DEGRADED})


def _random_share() -> float:
    """From 0 to 1, so that the questions of a node have no rhythm."""
    return random.SystemRandom().random()


def evidence_of(config: PrivacyRouterConfig, hops: Catalogue) -> Evidence:
    """Nothing seen yet of the chain of that configuration."""
    roles = tuple(station.role for station in hops.segment(config).stations)
    return Evidence(roles, config.warp.keepalive_s > 0, _random_share)


# --- reading -------------------------------------------------------------------------------------


class Sampler:
    """Reads the counters of one chain. The tunnels are asked less often: theirs change slowly."""

    def __init__(self, config: PrivacyRouterConfig, machine: NodeHost) -> None:
        self._machine = machine
        self._stations = machine.hops.segment(config).stations
        self._places = self._points()
        self._devices: dict[Task, list[DeviceStatus]] = {}
        self._tunnels_at_s = float("-inf")
        self._own_packets = 0

    def _points(self) -> dict[Path | None, dict[str, Point]]:
        found: dict[Path | None, dict[str, Point]] = {}
        for station in self._stations:
            place = station.namespace and namespaces.path_of(station.namespace)
            points = {station.port: port_of(station.role)}
            if station.role.tunnel is not None:
                points[station.role.tunnel] = tunnel_of(station.role)
            found[place or None] = points
        return found

    def note_packet(self) -> None:
        """A question's packet goes into the WARP tunnel."""
        self._own_packets += 1

    def read(self) -> Sample:
        """The counters now; of a hop that is not there, none. Raises OSError, MachineError."""
        at_s = time.monotonic()
        taps: dict[Point, Tap] = {}
        for place, points in self._places.items():
            try:
                text = namespaces.run_in(place, _read_counters)
            except FileNotFoundError:
                continue
            found = parse_counters(text)
            taps |= {point: found[name] for name, point in points.items() if name in found}
        if at_s - self._tunnels_at_s >= _TUNNEL_PERIOD_S or self._session_at is None:
            self._tunnels_at_s = at_s
            self._devices = self._read_tunnels()
        session_at = self._session_at
        return Sample(
            at_s,
            taps,
            None if session_at is None else time.time() - session_at,
            max((peer.last_handshake for peer in self._peers(Task.ENTRANCE)), default=0.0),
            self._own_packets,
        )

    @property
    def _session_at(self) -> float | None:
        return max(
            (p.last_handshake for p in self._peers(Task.WAY_OUT) if p.last_handshake), default=None
        )

    def _peers(self, task: Task) -> Sequence[Any]:
        """The peers of the tunnels of hops that do this."""
        return [peer for device in self._devices.get(task, ()) for peer in device.peers]

    def _read_tunnels(self) -> dict[Task, list[DeviceStatus]]:
        found: dict[Task, list[DeviceStatus]] = {}
        for station in self._stations:
            place = namespaces.path_of(f"{station.namespace}")
            if station.role.tunnel is not None and place.exists():
                status = self._machine.wireguard.read(station.role.tunnel, place)
                if status is not None:
                    found.setdefault(station.role.task, []).append(status)
        return found


def _read_counters() -> str:
    with open("/proc/thread-self/net/dev", encoding="ascii", errors="replace") as file:  # noqa: PTH123
        return file.read()


def parse_counters(text: str) -> dict[str, Tap]:
    """The devices of /proc/net/dev; proc(5)."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, numbers = line.rpartition(":")
        columns = [int(number) for number in numbers.split()]
        found[name.strip()] = Tap(columns[1], columns[0], columns[9], columns[8])
    return found


# --- watching ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chain:
    """What is watched: a configuration, what was seen of its chain, and what reads it."""

    config: PrivacyRouterConfig
    evidence: Evidence
    sampler: Sampler


class HealthWatch:
    """Watches the chain of a node that is kept; `on_change` is told when a hop's state changes.

    `config` gives the configuration that is kept now, `troubles` what the controller complains of,
    and `is_closed` whether the tunnel is closed. Then nothing is asked: XRay would wait for the
    lost query of the VPS' name, and all new connections with it.
    """

    def __init__(
        self,
        machine: NodeHost,
        config: Callable[[], PrivacyRouterConfig],
        troubles: Callable[[], Sequence[str]],
        is_closed: Callable[[], bool],
    ) -> None:
        self._machine = machine
        self._config = config
        self._troubles = troubles
        self._is_closed = is_closed
        self._outage: tuple[float, str] | None = None
        self._asking: asyncio.Task[Answer] | None = None
        self._answered = asyncio.Event()
        self._last: Sample | None = None
        self._is_busy = True
        self._chain: _Chain | None = None
        self.health: dict[str, Health] = {}
        self.on_change: Callable[[], None] | None = None

    def _begin(self, config: PrivacyRouterConfig) -> _Chain:
        """Watch another chain, of which nothing is known yet."""
        self.health = {}
        self._chain = _Chain(
            config, evidence_of(config, self._machine.hops), Sampler(config, self._machine)
        )
        self._chain.evidence.stir(time.monotonic())
        return self._chain

    @property
    def is_proven(self) -> bool:
        """Whether the chain has proved within the last seconds that it passes packets."""
        return self._chain is not None and self._chain.evidence.is_proven(time.monotonic())

    async def run(self) -> None:
        """Watch until cancelled. Raises what reading the machine does."""
        try:
            while True:
                await self._look()
                period_s = _BUSY_PERIOD_S if self._is_busy else _IDLE_PERIOD_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._answered.wait(), period_s)
                self._answered.clear()
        finally:
            if self._asking is not None:
                self._asking.cancel()
                await asyncio.gather(self._asking, return_exceptions=True)
            self._machine.paths.health.unlink(missing_ok=True)

    def stir(self) -> None:
        """The node was changed: what passed before proves little."""
        if self._chain is not None:
            self._chain.evidence.stir(time.monotonic())

    async def prove(self, patience_s: float) -> None:
        """A caller wants to know: return when the chain is proven, or not soon."""
        chain = self._chain
        if chain is None or self.is_proven:
            return
        chain.evidence.stir(time.monotonic())
        self._ask_if_due(chain)
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=patience_s)
            await self._tell(chain)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Each hop for scripts; see `as_row`."""
        now_s = time.monotonic()
        return {hop: as_row(health, now_s) for hop, health in self.health.items()}

    async def _look(self) -> None:
        config, chain = self._config(), self._chain
        if chain is None or (config is not chain.config and config != chain.config):
            chain = self._begin(config)
        sample = await in_thread(chain.sampler.read)
        last, self._last = self._last, sample
        self._is_busy = last is None or chain.evidence.is_busy(last, sample)
        chain.evidence.note(sample)
        self._ask_if_due(chain)
        await self._tell(chain)

    def _ask_if_due(self, chain: _Chain) -> None:
        now_s = time.monotonic()
        is_due = chain.evidence.is_question_due(now_s) and not self._is_closed()
        if self._asking is not None or not is_due:
            return
        chain.evidence.note_question(now_s)

        def take(task: asyncio.Task[Answer]) -> None:
            self._asking = None
            self._answered.set()
            if task.cancelled():
                return
            error = task.exception()
            if error is None:
                chain.evidence.note_answer(task.result())
            else:
                _log.error("the chain could not be asked", reason=repr(error))

        self._asking = asyncio.create_task(
            ask(chain.config, chain.sampler.note_packet, self._machine.hops)
        )
        self._asking.add_done_callback(take)

    async def _tell(self, chain: _Chain) -> None:
        before = {hop: (h.state, h.reason) for hop, h in self.health.items()}
        self.health = chain.evidence.verdict(time.monotonic())
        self._note_outage()
        report = json.dumps(self._report(chain)).encode()
        await in_thread(write_private, self._machine.paths.health, report)
        now = {hop: (h.state, h.reason) for hop, h in self.health.items()}
        if now != before and self.on_change is not None:
            self.on_change()

    def _note_outage(self) -> None:
        bad = next(((hop, h) for hop, h in self.health.items() if h.state in _BAD), None)
        if bad is not None and self._outage is None:
            hop, health = bad
            self._outage = (time.monotonic(), hop)
            _log.error("an outage begins", hop=hop, reason=health.reason, seen=health.evidence)
        elif bad is None and self._outage is not None and self.is_proven:
            since_s, hop = self._outage
            self._outage = None
            lasted_s = round(time.monotonic() - since_s, 1)
            _log.warning("the outage is over", hop=hop, lasted_s=lasted_s)

    def _report(self, chain: _Chain) -> dict[str, Any]:
        now_s = time.monotonic()
        return {
            "at_s": now_s,
            "pid": os.getpid(),
            "proven": chain.evidence.is_proven(now_s),
            "counted": chain.evidence.is_counted(now_s),
            "troubles": list(self._troubles()),
            "hops": self.rows(),
        }


# --- told ----------------------------------------------------------------------------------------


def as_row(health: Health, now_s: float) -> dict[str, Any]:
    """For scripts; `since` in seconds since 1970, rates in bytes a second."""
    return {
        "state": str(health.state),
        "reason": health.reason,
        "since": round(time.time() - (now_s - health.since_s), 1),
        "evidence": health.evidence,
        "rx_rate": round(health.rx_rate),
        "tx_rate": round(health.tx_rate),
    }


@dataclass(frozen=True)
class Told:
    """What the controller found last; `hops` are rows as `as_row` makes them. `is_counted`: a fault
    is of counters, or of clients that wait now, and not only of a question that failed some time
    ago."""

    proven: bool
    troubles: tuple[str, ...]
    hops: Mapping[str, dict[str, Any]]
    is_counted: bool = False


def read_told(file: Path, pid: int | None) -> Told | None:
    """What that controller found within the last seconds; None where it did not."""
    if pid is None:
        return None
    try:
        with file.open("rb") as stream:
            return told_untrusted(stream.read(_FILE_LIMIT_BYTES), pid, time.monotonic())
    except (OSError, ValueError):
        return None


def told_untrusted(data: bytes, pid: int, now_s: float) -> Told | None:
    """The report of process `pid`; None for another's, or an old one. Raises ValueError."""
    try:
        found = json.loads(data)
        if found["pid"] != pid or not 0 <= now_s - float(found["at_s"]) <= _STALE_S:
            return None
        hops = {
            str(hop): {
                "state": str(State(row["state"])),
                "reason": str(row["reason"]),
                "since": float(row["since"]),
                "evidence": str(row["evidence"]),
                "rx_rate": float(row.get("rx_rate", 0)),
                "tx_rate": float(row.get("tx_rate", 0)),
            }
            for hop, row in found["hops"].items()
        }
        troubles = tuple(map(str, found["troubles"]))
        return Told(bool(found["proven"]), troubles, hops, bool(found["counted"]))
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a report of health: {type(error).__name__}") from error
