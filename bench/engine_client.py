"""Runs inside the lab's node, on its bus, and prints one line of JSON: how quickly op-dbus answers.

engine_client.py DOCUMENT CHANGED ROUNDS READS CLIENTS IDLE_S
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

if TYPE_CHECKING:
    from collections.abc import Sequence

BUS = os.environ["PRIVACY_ROUTER_BUS"]
READS_EACH = 20
STATE = Path("/var/lib/privacy-router")
COMMANDS = {
    "help_cpu_s": ("--help",),
    "client_list_cpu_s": ("client", "list"),
    "status_cpu_s": ("status", "--no-probe"),
}


async def call(bus: MessageBus, interface: str, member: str, signature: str, *body: Any) -> Any:
    message = Message(
        destination="org.opdbus",
        path="/org/opdbus",
        interface=interface,
        member=member,
        signature=signature,
        body=list(body),
    )
    answer = await bus.call(message)
    if answer is None or answer.message_type is MessageType.ERROR:
        raise RuntimeError(f"{member} failed: {answer and (answer.error_name, answer.body)}")
    return answer.body


async def apply(bus: MessageBus, document: str) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = await call(bus, "org.opdbus.Manager", "Apply", "ssd", document, str(STATE), 0.0)
    return (time.perf_counter() - began, answer)


async def read(bus: MessageBus) -> None:
    where = "org.freedesktop.DBus.Properties"
    await call(bus, where, "Get", "ss", "org.opdbus.Manager", "State")


def written_bytes(pid: int) -> int:
    """What the process had the kernel write to a disk, and into files that are in memory only."""
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(lines["write_bytes"])


def stamps() -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(STATE.rglob("*"))}


def used_s(pid: int) -> float:
    """CPU time of the process; proc(5), utime and stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def command_cpu_s(arguments: Sequence[str], rounds: int) -> float:
    """The processor time that a command takes, user and system, as the median of some."""
    times = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(("privacy-router", *arguments), check=False, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(times)


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


async def one_client() -> None:
    bus = await MessageBus(bus_address=BUS).connect()
    for _ in range(READS_EACH):
        await read(bus)
    bus.disconnect()


async def main(document: str, changed: str, counts: list[int], pid: int) -> None:
    rounds, reads, clients, idle_s = counts
    bus = await MessageBus(bus_address=BUS).connect()
    await apply(bus, document)
    (resources,) = await call(bus, "org.opdbus.Manager", "Query", "s", "")
    found: dict[str, Any] = {"resources": len(resources)}

    before = (written_bytes(pid), stamps())
    times = [(await apply(bus, document))[0] for _ in range(rounds)]
    found["no_change_s"] = statistics.median(times)
    found["no_change_writes"] = written_bytes(pid) - before[0] + (stamps() != before[1])

    took, (_, rows) = await apply(bus, changed)
    found["one_change_s"], found["one_change_rows"] = took, len(rows)
    await apply(bus, document)

    times = []
    for _ in range(reads):
        began = time.perf_counter()
        await read(bus)
        times.append(time.perf_counter() - began)
    found["read_s"] = statistics.median(times)

    began = time.perf_counter()
    await asyncio.gather(*(one_client() for _ in range(clients)))
    found["clients_s"] = time.perf_counter() - began

    await asyncio.sleep(3)  # what the calls above have set off is over by then
    began_s, cpu_s = time.perf_counter(), used_s(pid)
    await asyncio.sleep(idle_s)
    found["idle_percent"] = (used_s(pid) - cpu_s) / (time.perf_counter() - began_s) * 100
    found["resident_mb"] = resident_mb(pid)
    for name, arguments in COMMANDS.items():
        found[name] = await asyncio.to_thread(command_cpu_s, arguments, rounds)
    print(json.dumps(found))


asyncio.run(
    main(
        Path(sys.argv[1]).read_text(),
        Path(sys.argv[2]).read_text(),
        [int(word) for word in sys.argv[3:]],
        int(Path("/run/privacy-router/controller.lock").read_text()),
    )
)
