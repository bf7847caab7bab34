"""`make bench-openflow`: our OpenFlow against ovs-ofctl and os-ken, in turn, on one private switch.

The switch is an ovs-vswitchd with the userspace datapath in a network namespace of its own.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from extent import extent
from replay import Recorder, replay_s
from results import Row, publish
from switch import Switch

from privacy_router.openflow import (
    ApplyActions,
    FlowMod,
    FlowModCommand,
    FlowOptions,
    Match,
    Output,
    TableId,
    encode,
)
from privacy_router.openflow.channel import connect_unix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).parent
ROUNDS = extent(5, short=1, variable="BENCH_ROUNDS")
FLOWS = extent(100_000, short=1000)
ENCODED = 20_000
ENCODE_ROUNDS = 3 * ROUNDS  # short ones, so that a busy moment of the machine counts for little
TIMEOUT_S = 120.0
ENCODE_RATIO = 1 / 40
LIMIT_RATIO = 1.15
MEMORY_LIMIT_MB = 250.0
DELETE_ALL = FlowMod(table_id=TableId.ALL, options=FlowOptions(command=FlowModCommand.DELETE))


def main() -> None:
    """Measure and publish, or do one part of that in a process of its own."""
    if sys.argv[1:2] == ["--memory"]:
        asyncio.run(print_memory(Path(sys.argv[2])))
        return
    with tempfile.TemporaryDirectory(prefix="bench-openflow-") as directory:
        switch = Switch(Path(directory))
        try:
            switch.start()
            rows = [encode_row(), *switch_rows(switch)]
        finally:
            switch.stop()
    publish(rows)


# --- encoding -----------------------------------------------------------------------------------


def encode_row() -> Row:
    """Making and encoding a flow-mod with five match fields and one action."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ENCODE_ROUNDS):
        ours.append(ours_us())
        theirs.append(osken_us())
    mine, peer = statistics.median(ours), statistics.median(theirs)
    ratio = mine / peer
    return Row("encode_flow_mod", mine, peer, "os-ken", "µs", ratio,
               f"≤ {ENCODE_RATIO} ×", ENCODE_ROUNDS, ratio <= ENCODE_RATIO)  # fmt: skip


def flow(number: int) -> FlowMod:
    """The flows of every row."""
    match = Match(in_port=1, eth_type=0x800, ip_proto=6, ipv4_dst=0x0A000000 + number, tcp_dst=443)
    return FlowMod(match, (ApplyActions((Output(1),)),), 0, 100, 5)


def ours_us() -> float:
    """Microseconds for making and encoding one flow."""
    started = time.perf_counter()
    for number in range(ENCODED):
        encode(flow(number), number)
    return (time.perf_counter() - started) / ENCODED * 1e6


def osken_us() -> float:
    """The same by os-ken, in a process of its own."""
    program = [sys.executable, str(HERE / "openflow_by_osken.py")]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    return float(done.stdout)


# --- with a switch ------------------------------------------------------------------------------


def switch_rows(switch: Switch) -> list[Row]:
    """Programming, comparing, holding."""
    file = switch.directory / "flows.txt"
    file.write_text("".join(f"{line(n)}\n" for n in range(FLOWS)))
    program: dict[str, list[float]] = {"ours": [], "peer": []}
    limit: list[float] = []
    compare: dict[str, list[float]] = {"ours": [], "peer": []}
    build: list[float] = []
    for _ in range(ROUNDS):
        asyncio.run(empty(switch.mgmt))
        program["peer"].append(seconds(lambda: switch.ofctl("--bundle", "add-flows", str(file))))
        asyncio.run(empty(switch.mgmt))
        started = time.perf_counter()
        flows = [flow(n) for n in range(FLOWS)]
        build.append(time.perf_counter() - started)
        program["ours"].append(asyncio.run(program_s(switch.mgmt, flows)))
        asyncio.run(empty(switch.mgmt))
        limit.append(limit_s(switch, flows))
        compare["peer"].append(seconds(lambda: switch.ofctl("replace-flows", str(file))))
        compare["ours"].append(asyncio.run(compare_s(switch.mgmt, flows)))
    print(
        f"ours start from {FLOWS:,} flows in memory; making them from plain numbers takes"
        f" {statistics.median(build):.2f} s more; ovs-ofctl reads them from a file"
    )
    return [
        against("program_100k_bundle", program, "ovs-ofctl --bundle add-flows"),
        against(
            "program_100k_limit",
            {"ours": program["ours"], "peer": limit},
            "the same bytes replayed",
            LIMIT_RATIO,
        ),
        against("reconcile_100k_nochange", compare, "ovs-ofctl replace-flows"),
        memory_row(switch),
    ]


def line(number: int) -> str:
    """The flow as ovs-ofctl reads it."""
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return f"cookie=5,priority=100,in_port=1,tcp,nw_dst={address},tp_dst=443,actions=output:1"


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


async def empty(mgmt: Path) -> None:
    """Delete all flows, and wait until they are gone."""
    async with await connect_unix(mgmt, TIMEOUT_S) as channel:
        await channel.apply([DELETE_ALL])


async def program_s(mgmt: Path, flows: Sequence[FlowMod]) -> float:
    """From flows in memory, as a controller that runs has them, to flows in force."""
    started = time.perf_counter()
    async with await connect_unix(mgmt, TIMEOUT_S) as channel:
        await channel.apply_bundle(flows)
        return time.perf_counter() - started


def limit_s(switch: Switch, flows: Sequence[FlowMod]) -> float:
    """Seconds that the switch takes for the bytes of one programming, replayed.

    The first time is for the recording; what it programmed is deleted before the replay.
    """
    recorder = Recorder(switch.mgmt, switch.directory / "recorder.sock")
    asyncio.run(program_s(recorder.place, flows))
    recorded = recorder.stop()
    asyncio.run(empty(switch.mgmt))
    return replay_s(switch.mgmt, recorded)


async def compare_s(mgmt: Path, flows: Sequence[FlowMod]) -> float:
    """From flows in memory to "no change"."""
    started = time.perf_counter()
    await compare_once(mgmt, flows)
    return time.perf_counter() - started


async def compare_once(mgmt: Path, flows: Sequence[FlowMod]) -> None:
    """Read back and compare; the switch must have exactly those flows."""
    async with await connect_unix(mgmt, TIMEOUT_S) as channel:
        difference = await channel.compare_flows(flows)
        if difference or difference.unchanged != FLOWS:
            raise SystemExit("the switch does not have the flows that it was given")


def against(name: str, times: dict[str, list[float]], peer_name: str, goal: float = 1.0) -> Row:
    """Medians, ours over the peer's."""
    ours, peer = statistics.median(times["ours"]), statistics.median(times["peer"])
    ratio = ours / peer
    return Row(name, ours, peer, peer_name, "s", ratio, f"≤ {goal:g} ×", ROUNDS, ratio <= goal)


def memory_row(switch: Switch) -> Row:
    """The most that a process took that holds the flows and compared them once."""
    argv = [sys.executable, __file__, "--memory", str(switch.mgmt)]
    megabytes = float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    goal = f"≤ {MEMORY_LIMIT_MB:.0f} MB"
    return Row("memory_100k", megabytes, None, "", "MB", None, goal, 1,
               megabytes <= MEMORY_LIMIT_MB)  # fmt: skip


async def print_memory(mgmt: Path) -> None:
    """Peak of resident memory in MB; getrusage(2) counts in kB."""
    flows = [flow(n) for n in range(FLOWS)]
    await compare_once(mgmt, flows)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


if __name__ == "__main__":
    main()
