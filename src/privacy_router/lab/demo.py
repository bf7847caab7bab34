"""The demonstration: build the lab, let a client browse, draw what passes where, prove it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live

from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.host.netlink import Netlink
from privacy_router.lab import internet, register, stage
from privacy_router.lab.capture import Captures
from privacy_router.lab.check import new_token, rules_for, run_check
from privacy_router.lab.enter import start_ticks
from privacy_router.lab.hosts import PYTHON_MODULE
from privacy_router.lab.picture import WIDTH, Meter, Scene, picture, proof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from privacy_router.chain.stations import Station
    from privacy_router.lab.report import Report
    from privacy_router.lab.stage import Lab

_NAME_PREFIX = "demo-"  # and the process id, so that two demonstrations do not meet
_TURN_S = 0.125
_FETCHED_FONT = re.compile(r"@font-face\s*{.*?}\s*", re.DOTALL)
_PAGE_INTERVAL_MS = 80
_LINKS = (
    ("client", "isp", "client ⇒ ISP ⇒ node", "WireGuard: nothing to read"),
    ("node", "isp", "node ⇒ ISP ⇒ Cloudflare", "WireGuard: nothing to read"),
    ("cloudflare", "vps", "Cloudflare ⇒ VPS", "looks like TLS to any web site"),
    ("vps", "web", "VPS → web", "what the client really sent"),
)
_HOPS = {
    "gateway": "the client's packets, by flow",
    "warp": "to XRay by flow, then out",
    "xray": "into REALITY, back to WARP",
}


def _clear_interrupted() -> None:
    """End the labs of demonstrations that were killed."""
    for name in register.names():
        pid = name.removeprefix(_NAME_PREFIX)
        if name != pid and pid.isdigit() and start_ticks(int(pid)) is None:
            stage.down(name)


def run_demo(console: Console, seconds: float, svg: Path | None = None) -> Report:
    """Show everything on `console`, leave nothing behind, return the proof."""
    started = time.monotonic()
    if not console.is_terminal:
        console.width = WIDTH
    _clear_interrupted()
    name = f"{_NAME_PREFIX}{os.getpid()}"
    try:
        lab = stage.up(name, say=lambda text: console.print(f"[green]✓[/] {text}"))
        scene = _watch(lab, console, seconds)
        report = run_check(lab)
    finally:
        stage.down(name)
    console.print(proof(report, console.width))
    console.print(f"[dim]the lab is gone again; {time.monotonic() - started:.1f} s in all[/]")
    if svg is not None:
        _save(scene, report, svg)
    return report


def _watch(lab: Lab, console: Console, seconds: float) -> Scene:
    token = new_token()
    scene = Scene(
        links=[Meter(place, carries) for _, _, place, carries in _LINKS],
        hops=[Meter(station.hop, _HOPS[station.hop], indent=True) for station in _stations(lab)],
    )
    with ExitStack() as exits:
        captures = exits.enter_context(Captures(lab.hosts, rules_for(lab.config, token)))
        counters = [exits.enter_context(_HopCounter(lab, s)) for s in _stations(lab)]
        traffic = exits.enter_context(_browse(lab, token, seconds))
        started = time.monotonic()
        with _screen(console) as show:
            while traffic.poll() is None:
                _update(scene, captures, counters, time.monotonic() - started)
                show(scene)
                time.sleep(_TURN_S)
            scene.answers = _count_answers(traffic.stdout)
            _update(scene, captures, counters, time.monotonic() - started)
            show(scene)
    if not console.is_terminal:
        console.print(picture(scene, console.width))
    return scene


@contextmanager
def _screen(console: Console) -> Iterator[Callable[[Scene], None]]:
    """Draw over the last picture; where there is no terminal, do not draw at all."""
    if not console.is_terminal:
        yield lambda _: None
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda scene: live.update(picture(scene, console.width), refresh=True)


def _browse(lab: Lab, token: str, seconds: float) -> subprocess.Popen[bytes]:
    module = (*PYTHON_MODULE, "privacy_router.lab.traffic")
    argv = (*module, token, str(seconds), str(_PAGE_INTERVAL_MS), "udp,page")
    return lab["client"].popen(argv, stdout=subprocess.PIPE)


def _count_answers(lines: IO[bytes] | None) -> int:
    return sum(b'"ok": true' in line for line in lines) if lines is not None else 0


def _stations(lab: Lab) -> list[Station]:
    return [s for s in CATALOGUE.segment(lab.config).stations if s.namespace is not None]


class _HopCounter:
    """Counts what passes a hop's bridge port."""

    def __init__(self, lab: Lab, station: Station) -> None:
        self._port = station.port
        self._netlink = Netlink(lab["node"].file(Path("/run/netns") / f"{station.namespace}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._netlink.close()

    def read(self) -> tuple[int, int]:
        """Packets and bytes, both directions."""
        link = self._netlink.links()[self._port]
        return link.rx_packets + link.tx_packets, link.rx_bytes + link.tx_bytes


def _update(
    scene: Scene, captures: Captures, counters: list[_HopCounter], elapsed_s: float
) -> None:
    interval_s = elapsed_s - scene.elapsed_s
    for meter, (one, another, _, _) in zip(scene.links, _LINKS, strict=True):
        evidence = captures.evidence[internet.cable(one, another).name]
        meter.take(evidence.packets, evidence.bytes_seen, interval_s)
    for meter, counter in zip(scene.hops, counters, strict=True):
        meter.take(*counter.read(), interval_s)
    scene.readable = captures.cleartext_packets
    scene.foreign = captures.foreign_packets
    scene.elapsed_s = elapsed_s


def _save(scene: Scene, report: Report, path: Path) -> None:
    recorder = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    recorder.print(picture(scene))
    recorder.print(proof(report))
    drawing = recorder.export_svg(title="privacy-router lab demo")
    # a browser that opens the picture must not fetch a font from a server
    path.write_text(_FETCHED_FONT.sub("", drawing), encoding="utf-8")
