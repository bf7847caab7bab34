"""`make bench-chain`: the node against the same chain built by hand with a shell script.

Both run in the same lab, in turn, with the same keys: time from the command to the first byte
through the chain, and iperf3 through the chain.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cpu
from extent import extent
from results import Row, publish

from privacy_router.chain import addresses
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.warp.profile import parse_profile_untrusted
from privacy_router.hops.xray.hop import XRAY_ROLE
from privacy_router.hops.xray.keys import XrayIdentity
from privacy_router.hops.xray.settings import Vps, client_settings
from privacy_router.lab import internet, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from privacy_router.lab.stage import Lab

HERE = Path(__file__).parent
STATE = Path("/var/lib/privacy-router")
KEYS = STATE  # of the lab, gone with it
RUN = "/run/by-hand"
ROUNDS = extent(5, short=1, variable="BENCH_ROUNDS")
IPERF_S = extent(5, short=1, variable="BENCH_IPERF_S")
IDLE_S = extent(20, short=1)
UP_LIMIT_S = 3.0
UP_RATIO = 1.5
THROUGHPUT_RATIO = 1 / 0.95
COST_RATIO = 1.1
MEMORY_LIMIT_MB = 80.0
CPU_LIMIT_PERCENT = 1.0


@dataclass(frozen=True)
class Way:
    """One way to build the chain."""

    up: Callable[[], None]
    down: Callable[[], None]


def main() -> None:
    """Measure both ways in turn and publish."""
    name = f"bench{os.getpid()}"
    lab = stage.up(name, with_node=False)
    try:
        rows = measure(lab)
    finally:
        stage.down(name)
    publish(rows)


def measure(lab: Lab) -> list[Row]:
    """All rows."""
    ours = Way(
        lambda: run_in_node(lab, ("privacy-router", "up", "--detach", "--wait", "0")),
        lambda: run_in_node(lab, ("privacy-router", "down")),
    )
    ours.up()  # registers the WARP account, which is not what is measured
    environment = by_hand_environment(lab)
    by_hand = Way(
        lambda: run_in_node(lab, ("bash", str(HERE / "chain_by_hand.sh")), environment),
        lambda: run_in_node(lab, ("bash", str(HERE / "chain_by_hand_down.sh")), environment),
    )
    stage.connect_client(lab)
    idle = idle_rows(lab)
    ours.down()
    times: dict[str, list[float]] = {"ours": [], "by hand": []}
    rates: dict[str, list[float]] = {"ours": [], "by hand": []}
    costs: dict[str, list[dict[str, float]]] = {"ours": [], "by hand": []}
    for round_number in range(ROUNDS):
        for label, way in (("ours", ours), ("by hand", by_hand)):
            times[label].append(first_byte_s(lab, way))
            for reverse in (False, True):
                before = cpu_of_node(lab)
                carried = carry(lab, reverse=reverse)
                rates[label].append(carried.mbps)
                costs[label].append(cpu.per_gigabyte(before, cpu_of_node(lab), carried.size_bytes))
            way.down()
            print(
                f"round {round_number + 1}/{ROUNDS}, {label}: {times[label][-1]:.2f} s to the first"
                f" byte, {rates[label][-2]:.0f} Mbit/s up, {rates[label][-1]:.0f} Mbit/s down"
            )
    return [up_row(times), throughput_row(rates), *cost_rows(costs), *idle]


def run_in_node(
    lab: Lab, argv: tuple[str, ...], environment: Mapping[str, str] | None = None
) -> None:
    """Run to the end; what it prints goes to a file, since children may keep a pipe open."""
    log = Path(f"/tmp/{lab.name}.log")  # noqa: S108 - the name is this process' own
    with log.open("wb") as output:
        process = lab["node"].popen(argv, env=environment, stdout=output, stderr=output)
        if process.wait(60) != 0:
            raise SystemExit(f"{' '.join(argv)} failed:\n{log.read_text()}")
    log.unlink()


def first_byte_s(lab: Lab, way: Way) -> float:
    """Seconds from the command to the first answer that the client gets."""
    argv = ("python", "-P", str(HERE / "first_byte.py"), str(stage.CLIENT_FILE))
    listener = lab["client"].popen(argv, stdout=subprocess.PIPE)
    started = time.time()
    way.up()
    output, _ = listener.communicate(timeout=60)
    return float(output) - started


@dataclass(frozen=True)
class Carried:
    """What iperf3 moved through the chain."""

    mbps: float
    size_bytes: int


def carry(lab: Lab, *, reverse: bool) -> Carried:
    """iperf3 over one TCP connection from the client to the web host, or back."""
    server = lab["web"].popen(
        ("iperf3", "--server", "--one-off", "--forceflush"), stdout=subprocess.PIPE
    )
    argv = ["iperf3", "--client", str(internet.WEB[0]), "--time", str(IPERF_S), "--json"]
    try:
        result = lab["client"].run([*argv, *(["--reverse"] if reverse else [])], IPERF_S + 30)
        answer = json.loads(result.stdout)
        if "error" in answer:
            raise SystemExit(f"iperf3: {answer['error']}")
        received = answer["end"]["sum_received"]
        return Carried(float(received["bits_per_second"]) / 1e6, int(received["bytes"]))
    finally:
        server.kill()
        server.communicate()


def cpu_of_node(lab: Lab) -> dict[str, float]:
    """CPU seconds of the node's processes until now."""
    done = lab["node"].run(("python", "-P", str(HERE / "cpu.py")))
    seconds: dict[str, float] = json.loads(done.stdout)
    return seconds


def cost_rows(costs: dict[str, list[dict[str, float]]]) -> list[Row]:
    """CPU seconds for a gigabyte: of each process that either way has, and of all together."""
    names = sorted({name for found in costs["ours"] for name in found})
    rows = [_cost_row(f"cpu_per_gb {name}", _of(costs, name)) for name in names]
    return [_cost_row("cpu_per_gb", {w: [*map(_total, c)] for w, c in costs.items()}), *rows]


def _total(found: Mapping[str, float]) -> float:
    return sum(found.values())


def _of(costs: dict[str, list[dict[str, float]]], name: str) -> dict[str, list[float]]:
    return {way: [found.get(name, 0.0) for found in rounds] for way, rounds in costs.items()}


def _cost_row(name: str, costs: dict[str, list[float]]) -> Row:
    ours, peer = (statistics.median(costs[label]) for label in ("ours", "by hand"))
    ratio = ours / peer if peer else None
    is_judged = name == "cpu_per_gb"
    met = not is_judged or (ratio is not None and ratio <= COST_RATIO)
    goal = f"≤ {COST_RATIO} ×" if is_judged else "told"
    return Row(name, ours, peer, "shell script", "s/GB", ratio, goal, 2 * ROUNDS, met)


def idle_rows(lab: Lab) -> list[Row]:
    """The controller's memory and CPU time while nothing happens."""
    status = json.loads(lab["node"].run(("privacy-router", "status", "--json")).stdout)
    pid = str(status["controller_pid"])
    before = cpu_s(lab, pid)
    time.sleep(IDLE_S)
    percent = (cpu_s(lab, pid) - before) / IDLE_S * 100
    text = lab["node"].run(("cat", f"/proc/{pid}/status")).stdout
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    resident_mb = int(found.group(1)) / 1000 if found else float("nan")
    return [
        Row("controller_memory", resident_mb, None, "", "MB", None,
            f"≤ {MEMORY_LIMIT_MB:.0f} MB", 1, resident_mb <= MEMORY_LIMIT_MB),
        Row("controller_idle_cpu", percent, None, "", "%", None,
            f"≤ {CPU_LIMIT_PERCENT:.0f} %", 1, percent <= CPU_LIMIT_PERCENT),
    ]  # fmt: skip


def cpu_s(lab: Lab, pid: str) -> float:
    """CPU time that a process of the node has used; proc(5), fields 14 and 15."""
    fields = lab["node"].run(("cat", f"/proc/{pid}/stat")).stdout.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def up_row(times: dict[str, list[float]]) -> Row:
    """Time from command to first byte."""
    ours, peer = (statistics.median(times[label]) for label in ("ours", "by hand"))
    met = ours <= UP_LIMIT_S and ours / peer <= UP_RATIO
    goal = f"≤ {UP_LIMIT_S:.0f} s and ≤ {UP_RATIO} ×"
    return Row("up_time", ours, peer, "shell script", "s", ours / peer, goal, ROUNDS, met)


def throughput_row(rates: dict[str, list[float]]) -> Row:
    """Throughput, the peer's over ours."""
    ours, peer = (statistics.median(rates[label]) for label in ("ours", "by hand"))
    ratio = peer / ours
    goal = f"≤ {THROUGHPUT_RATIO:.2f} ×"
    return Row("chain_throughput", ours, peer, "shell script", "Mbit/s", ratio, goal,
               2 * ROUNDS, ratio <= THROUGHPUT_RATIO)  # fmt: skip


def by_hand_environment(lab: Lab) -> dict[str, str]:
    """The keys and addresses of the node, for the script; secrets in files of the node's own."""
    node, config = lab["node"], lab.config
    profile = parse_profile_untrusted(node.file(STATE / "wgcf-profile.conf").read_text())
    identity = XrayIdentity.from_json_untrusted(node.file(STATE / "xray.json").read_text())
    (client,) = json.loads(node.file(STATE / "clients.json").read_text())
    chain = CATALOGUE.segment(config)
    client_v4, client_v6 = addresses.client_addresses(config, client["number"])
    station = chain.station(XRAY_ROLE.name)
    if station is None or config.vps_address is None or profile.v4 is None or profile.v6 is None:
        raise SystemExit("the benchmark needs the full chain")
    vps = Vps(config.vps_address, config.vps_port, config.xray.server_name,
              dns_servers=config.xray.dns)  # fmt: skip
    settings = client_settings(
        identity,
        vps,
        tproxy_port=config.xray.tproxy_port,
        socks_listen=[interface.ip for interface in station.interfaces],
        socks_port=config.xray.socks_port,
    )
    node.write(KEYS / "by-hand-xray.json", json.dumps(settings).encode())
    node.write(KEYS / "by-hand-gateway.key", node.file(STATE / "gateway.key").read_bytes())
    node.write(KEYS / "by-hand-client.psk", client["preshared_key"].encode())
    node.write(KEYS / "by-hand-warp.key", profile.private_key.encode())
    v4, v6 = config.wireguard.client_subnet, config.wireguard.client_subnet6
    return {
        "RUN": RUN,
        "WIREGUARD_GO": "wireguard-go",
        "PYTHON": "python",
        "XRAY_CONFIG": str(KEYS / "by-hand-xray.json"),
        "GATEWAY_KEY": str(KEYS / "by-hand-gateway.key"),
        "CLIENT_PUBLIC": client["public_key"],
        "CLIENT_PSK": str(KEYS / "by-hand-client.psk"),
        "CLIENT_V4": str(client_v4),
        "CLIENT_V6": str(client_v6),
        "WARP_KEY": str(KEYS / "by-hand-warp.key"),
        "WARP_PUBLIC": profile.peer_public_key,
        "WARP_ENDPOINT": f"{profile.endpoint_host}:{profile.endpoint_port}",
        "WARP_V4": str(profile.v4.ip),
        "WARP_V6": str(profile.v6.ip),
        "CLIENTS_V4": str(v4),
        "CLIENTS_V6": str(v6),
    }


if __name__ == "__main__":
    main()
