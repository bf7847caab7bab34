"""`make bench-ports`: how long a container waits for its flows, and a deleted flow for its return.

The switch is a real ovs-vswitchd, the database with its ten thousand containers a real
ovsdb-server, and the engine and the watch of the database are those of a node. Only the two do not
know each other: with ten thousand ports, vswitchd's userspace datapath takes half a minute to add
one more. So this program says in the database, in vswitchd's place, which number a port has got.

* port_to_flows_p99: one container appears among 10,000. From the moment at which the database says
  the port's number until its flows were read back from the switch.
* drift_repair_p99: with 10,000 flows, one is deleted behind the controller's back. From the
  switch's word that it is gone until its word that it is back.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from extent import extent
from results import Row, publish
from switch import Switch

from privacy_router.config import parse_document
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.node.flows.keeper import FlowKeeper
from privacy_router.openflow import (
    FlowEvent,
    FlowEventKind,
    FlowMod,
    FlowModCommand,
    FlowOptions,
    MonitorFlag,
)
from privacy_router.openflow.channel import connect_unix
from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.ovsdb.watch import BridgeWatch
from privacy_router.pipeline.allocation import layer_of
from privacy_router.pipeline.compile import Pipeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, MutableMapping

    from privacy_router.ovsdb.watch import BridgeChange

PORTS = extent(10_000, short=20, variable="BENCH_PORTS")
ROUNDS = extent(100, short=3, variable="BENCH_PORT_ROUNDS")
DRIFT_FLOWS = extent(10_000, short=200)
FLOWS_A_PORT = 27
FIRST_ID = 1000
PORT_LIMIT_MS = 50.0
DRIFT_LIMIT_MS = 500.0
PATIENCE_S = 20.0
DOCUMENT = Path(__file__).parent.parent / "examples" / "seed.json"


class Containers:
    """A database with a bridge and its containers, as a node that has them would see it."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self.socket = switch.directory / "db.sock"

    def start(self) -> None:
        """Start the server and add the bridge."""
        self._switch.serve_database("containers.db", self.socket)
        self._transact(
            {"op": "insert", "table": "Bridge", "row": {"name": "br0"}, "uuid-name": "bridge"},
            {"op": "insert", "table": "Open_vSwitch",
             "row": {"bridges": ["named-uuid", "bridge"]}},
        )  # fmt: skip

    def add(self, numbers: range) -> None:
        """Containers, as Proxmox names them; all in one transaction (RFC 7047, 5.2)."""
        rows = [row for number in numbers for row in port_rows(number)]
        ports = ["set", [["named-uuid", f"port{number}"] for number in numbers]]
        self._transact(
            *rows,
            {"op": "mutate", "table": "Bridge", "where": [["name", "==", "br0"]],
             "mutations": [["ports", "insert", ports]]},
        )  # fmt: skip

    def number(self, number: int) -> None:
        """Say the port's number, as vswitchd does when it has made it."""
        self._transact(
            {"op": "update", "table": "Interface", "where": [["name", "==", port_name(number)]],
             "row": {"ofport": number}},
        )  # fmt: skip

    def _transact(self, *operations: dict[str, Any]) -> None:
        request = {"method": "transact", "params": ["Open_vSwitch", *operations], "id": 0}
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(60)
            line.connect(str(self.socket))
            line.sendall(json.dumps(request).encode())
            answer = bytearray()
            while b'"error":' not in answer or not answer.endswith(b"}"):
                answer += line.recv(1 << 20)
        if json.loads(answer)["error"] or b'"details"' in answer:
            raise SystemExit(f"the database refused: {answer[-300:].decode()}")


def port_name(number: int) -> str:
    """The port of a container."""
    return f"veth{number}i0"


def port_rows(number: int) -> Iterator[dict[str, Any]]:
    """The port as rows of the database; those that are there from the start have their number."""
    mac = "02:00:" + ":".join(f"{byte:02x}" for byte in number.to_bytes(4, "big"))
    known = ["map", [["attached-mac", mac]]]
    made = {"ofport": number} if number < FIRST_ID + PORTS else {}
    yield {"op": "insert", "table": "Interface", "uuid-name": f"interface{number}",
           "row": {"name": port_name(number), "external_ids": known, **made}}  # fmt: skip
    port = {"name": port_name(number), "interfaces": ["named-uuid", f"interface{number}"]}
    yield {"op": "insert", "table": "Port", "uuid-name": f"port{number}", "row": port}


class Events:
    """What the engine says, with the time of it."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self.changed = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def __call__(self, _logger: Any, _name: str, event: MutableMapping[str, Any]) -> NoReturn:
        if event["event"] == "port has its flows":
            self.times[event["port"]] = time.perf_counter()
            self.loop.call_soon_threadsafe(self.changed.set)
        raise structlog.DropEvent

    async def of(self, port: str) -> float:
        """When the engine said that the port has its flows."""
        async with asyncio.timeout(PATIENCE_S):
            while port not in self.times:
                self.changed.clear()
                await self.changed.wait()
        return self.times[port]


class Sightings:
    """When the database first told the number of each port."""

    def __init__(self, engine: FlowKeeper) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self.times: dict[str, float] = {}

    def __call__(self, change: BridgeChange) -> None:
        now = time.perf_counter()
        for name, row in change.ports.items():
            if row is not None and row.ofport is not None:
                self.times.setdefault(name, now)
        self._loop.call_soon_threadsafe(self._engine.note_rows, change.ports)


def pipeline() -> Pipeline:
    """The pipeline of the seed's configuration."""
    config = parse_document(DOCUMENT.read_text(), str(DOCUMENT)).config
    return Pipeline(config, CATALOGUE.segment(config))


@asynccontextmanager
async def keeping(switch: Switch) -> AsyncIterator[tuple[FlowKeeper, Sightings]]:
    """An engine that keeps the bridge, with all flows in force."""
    database_socket = switch.directory / "db.sock"
    engine = FlowKeeper("br0", database_socket, pipeline(), lambda: None)
    with OvsDatabase(database_socket, timeout_s=60) as database:
        row = database.read_bridge("br0")
    if row is None:
        raise SystemExit("the bridge is not there")
    started = time.perf_counter()
    engine.set_rows(row.ports.values())
    compiled = time.perf_counter()
    await engine.repair()
    installed = time.perf_counter()
    print(
        f"{len(engine.program.flows):,} flows and {len(engine.program.rates):,} meters for"
        f" {len(engine.mesh.ports):,} containers: compiled in {compiled - started:.1f} s, compared"
        f" and installed in {installed - compiled:.1f} s"
    )
    sightings = Sightings(engine)
    watch = BridgeWatch(database_socket, "br0", sightings)
    task = asyncio.create_task(engine.run())
    try:
        yield engine, sightings
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await engine.close()
        await asyncio.to_thread(watch.end)


async def port_times_ms(switch: Switch, containers: Containers) -> list[float]:
    """One container after the other."""
    events = Events()
    structlog.configure(processors=[events])
    times: list[float] = []
    async with keeping(switch) as (_, sightings):
        for number in range(FIRST_ID + PORTS, FIRST_ID + PORTS + ROUNDS):
            await asyncio.to_thread(containers.add, range(number, number + 1))
            await asyncio.to_thread(containers.number, number)
            done = await events.of(port_name(number))
            times.append((done - sightings.times[port_name(number)]) * 1000)
    return times


async def drift_times_ms(switch: Switch, _: Containers) -> list[float]:
    """One flow after the other deleted by another program."""
    structlog.configure(processors=[Events()])
    times: list[float] = []
    async with keeping(switch), await connect_unix(switch.mgmt, PATIENCE_S) as other:
        flows = [s for s in await other.dump_flows() if layer_of(s.cookie) is not None]
        flags = MonitorFlag.ADD | MonitorFlag.DELETE
        with await other.monitor_flows(flags=flags | MonitorFlag.OWN) as changes:
            for flow in flows[:: max(1, len(flows) // ROUNDS)][:ROUNDS]:
                gone = FlowMod(
                    flow.match,
                    table_id=flow.table_id,
                    priority=flow.priority,
                    options=FlowOptions(command=FlowModCommand.DELETE_STRICT),
                )
                await other.apply([gone])
                times.append(await _absence_ms(changes))
    return times


async def _absence_ms(changes: Any) -> float:
    deleted = 0.0
    async with asyncio.timeout(PATIENCE_S):
        async for change in changes:
            if not isinstance(change, FlowEvent):
                continue
            if change.kind == FlowEventKind.DELETED:
                deleted = time.perf_counter()
            elif change.kind == FlowEventKind.ADDED and deleted:
                return (time.perf_counter() - deleted) * 1000
    raise SystemExit("the monitor ended")


def row(name: str, times_ms: list[float], limit_ms: float) -> Row:
    """The 99th percentile."""
    p99 = statistics.quantiles(times_ms, n=100, method="inclusive")[98]
    print(
        f"{name}: median {statistics.median(times_ms):.1f} ms, p99 {p99:.1f} ms, most"
        f" {max(times_ms):.1f} ms of {len(times_ms)}"
    )
    return Row(name, p99, None, "", "ms", None, f"≤ {limit_ms:g} ms", len(times_ms),
               p99 <= limit_ms)  # fmt: skip


def measure(ports: int, work: Any) -> list[float]:
    """Do `work` with a fresh switch and a database that has so many containers."""
    with tempfile.TemporaryDirectory(prefix="bench-ports-") as directory:
        switch = Switch(Path(directory))
        containers = Containers(switch)
        try:
            switch.start()
            containers.start()
            containers.add(range(FIRST_ID, FIRST_ID + ports))
            result: list[float] = asyncio.run(work(switch, containers))
        finally:
            switch.stop()
    return result


def main() -> None:
    """Measure both and publish."""
    drift = measure(DRIFT_FLOWS // FLOWS_A_PORT, drift_times_ms)
    rows = [row("drift_repair_p99", drift, DRIFT_LIMIT_MS)]
    rows.append(row("port_to_flows_p99", measure(PORTS, port_times_ms), PORT_LIMIT_MS))
    publish(rows)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error}: {error.stderr}") from error
