"""The tunnel as a picture in the terminal, and the proof as a table (pure).

Made for 100 columns; on fewer the drawing of the way is left out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from privacy_router.lab.report import Report

WIDTH = 100
_BARS = " ▁▂▃▄▅▆▇█"
_HISTORY = 10
_ARROW = 8
_NODE = "gateway ─▶ warp ⇄ xray"
_BOXES = (
    ("client", "cyan"),
    (_NODE, "green"),
    ("Cloudflare", "yellow"),
    ("VPS", "magenta"),
    ("web", "blue"),
)
_OWNERS = ("ISP", "ISP", "", "")
_SECRET = (True, True, True, False)


@dataclass
class Meter:
    """A place on the way: what is seen there, and how many bytes have passed it."""

    place: str
    carries: str
    indent: bool = False
    packets: int = 0
    bytes: int = 0
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))

    def take(self, packets: int, total_bytes: int, interval_s: float) -> None:
        """Note what had passed after another `interval_s`."""
        if interval_s > 0:
            self.rates.append(max(0.0, (total_bytes - self.bytes) / interval_s))
        self.packets, self.bytes = packets, total_bytes


@dataclass
class Scene:
    """Everything that the picture shows. `links` are the four encrypted or open legs, in order."""

    links: list[Meter]
    hops: list[Meter]
    readable: int = 0
    foreign: int = 0
    elapsed_s: float = 0.0
    answers: int = 0

    def rows(self) -> list[Meter]:
        """The meters in the order of the way."""
        return [self.links[0], *self.hops, *self.links[1:]]


def amount(count: float, unit: str = "B") -> str:
    """A number of bytes for people: `1.2 MB`."""
    for prefix in ("", "k", "M"):
        if count < 1000:
            return f"{count:.0f} {unit}" if not prefix else f"{count:.1f} {prefix}{unit}"
        count /= 1000
    return f"{count:.1f} G{unit}"


def bars(rates: Sequence[float]) -> str:
    """A small diagram of rates, the last on the right."""
    top = max(rates, default=0.0) or 1.0
    drawn = "".join(_BARS[round(rate / top * (len(_BARS) - 1))] for rate in rates)
    return drawn.rjust(_HISTORY)


def picture(scene: Scene, width: int = WIDTH) -> RenderableType:
    """The way with its counters, at this moment, at most `width` columns wide."""
    way = (_way(scene), Text()) if width >= WIDTH else ()
    return Panel(
        Group(*way, _meters(scene), Text(), _verdict(scene)),
        title="[bold]Privacy Router[/]: the whole tunnel on this machine",
        subtitle=f"{scene.elapsed_s:.1f} s",
        width=min(width, WIDTH),
        padding=(1, 1),
    )


def _way(scene: Scene) -> Text:
    top, middle, bottom = Text(), Text(), Text()
    for index, (label, style) in enumerate(_BOXES):
        rule = "─" * (len(label) + 2)
        title = " node ".center(len(rule), "─") if label == _NODE else rule
        top.append(f"╭{title}╮", style)
        middle.append("│ ", style).append(label, f"bold {style}").append(" │", style)
        bottom.append(f"╰{rule}╯", style)
        if index < len(scene.links):
            link = scene.links[index]
            top.append(_OWNERS[index].center(_ARROW), "dim")
            middle.append(_arrow(link, scene, secret=_SECRET[index]))
            bottom.append(amount(link.bytes).center(_ARROW), "dim")
    return Text("\n").join((top, middle, bottom))


def _arrow(link: Meter, scene: Scene, *, secret: bool) -> Text:
    line = "━" if secret else "─"
    shaft = [line] * (_ARROW - 3)
    if link.rates and link.rates[-1] > 0:
        shaft[int(scene.elapsed_s * 8) % len(shaft)] = "●"
    return Text(f" {''.join(shaft)}▶ ", "bold green" if secret else "bold blue")


def _meters(scene: Scene) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("ON THE WAY", style="bold", no_wrap=True)
    table.add_column("WHAT PASSES THERE", no_wrap=True)
    for heading in ("PACKETS", "BYTES", "RATE"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", style="green", no_wrap=True)
    for meter in scene.rows():
        rate = amount(meter.rates[-1] if meter.rates else 0, "B/s")
        place = f"   {meter.place}" if meter.indent else meter.place
        packets = f"{meter.packets:,}"
        table.add_row(place, meter.carries, packets, amount(meter.bytes), rate, bars(meter.rates))
    return table


def _verdict(scene: Scene) -> Text:
    text = Text()
    for count, what in (
        (scene.readable, "packets that the ISP can read"),
        (scene.foreign, "packets from the node to strangers"),
    ):
        text.append(f" {count} ", "bold white on green" if count == 0 else "bold white on red")
        text.append(f" {what}    ")
    return text.append(f"{scene.answers:,} answers", "dim")


def proof(report: Report, width: int = WIDTH) -> RenderableType:
    """The promises, each with a tick or a cross, at most `width` columns wide."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(style="dim")
    for promise in report.promises():
        mark = Text("✓", "bold green") if promise.holds else Text("✗", "bold red")
        table.add_row(mark, promise.text, promise.detail)
    good = "every promise holds" if report.ok else "a promise is broken"
    return Panel(
        table,
        title=f"[bold {'green' if report.ok else 'red'}]{good}[/]",
        subtitle=f"checked in {report.elapsed_s:.1f} s",
        width=min(width, WIDTH),
        padding=(1, 2),
    )
