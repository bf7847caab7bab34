"""How a node's status looks on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from privacy_router.cli.output import out
from privacy_router.node.file_note import FileState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.file_note import FileNote
    from privacy_router.node.status import ClientStatus, HopStatus, NodeStatus

_COLOURS = {"up": "green", "quiet": "cyan", "degraded": "yellow", "down": "red"}
_ANOTHER = (FileState.OVERRULED, FileState.CHANGED)
_UNITS = ("kB", "MB", "GB", "TB")


def show(status: NodeStatus) -> None:
    """Print the status."""
    colour = _COLOURS[status.state]
    line = Text.assemble(("●", colour), f" node {status.state}")
    if status.controller_pid is not None:
        line.append(f", controller process {status.controller_pid}", style="dim")
    elif status.state != "down":
        line.append(
            ", no controller keeps watch and repairs (privacy-router up)",
            style="red",
        )
    out.print(line)
    if status.state == "down":
        for text, style in _why_down(status):
            out.print(Text(f"  {text}", style=style))
        return
    out.print(_hops(status.hops))
    if status.clients:
        out.print(_clients(status.clients))
    if status.probed:
        out.print(f"sites see {status.exit_ip or 'nothing: no request came back'}")
    for text, style in _remarks(status):
        out.print(Text(f"  {text}", style=style))


def _why_down(status: NodeStatus) -> Iterator[tuple[str, str]]:
    if status.controller_pid is None:
        yield "nothing is running: privacy-router up", ""
    elif status.file is None or status.file.state in _ANOTHER:
        yield "nothing is declared: privacy-router apply", ""
    else:
        yield from _of_file(status.file)


def _of_file(note: FileNote) -> Iterator[tuple[str, str]]:
    """Why the controller's file is not what it keeps, and what to do."""
    yield note.words, "yellow"
    if note.advice:
        yield note.advice, "yellow"


def _remarks(status: NodeStatus) -> Iterator[tuple[str, str]]:
    """What was seen of each hop, then what is amiss, each with its style."""
    if status.listen_port is not None:
        yield f"clients come in by UDP port {status.listen_port}", "dim"
    for hop in status.hops:
        if hop.health.get("evidence"):
            yield f"{hop.name}: {hop.health['evidence']}", "dim"
    for reason in status.trouble:
        yield reason, "red"
    for remark in status.firewalls:
        yield remark, "yellow"
    if status.file is not None:
        yield from _of_file(status.file)
    for difference in status.pending:
        yield f"not as configured: {difference}", "yellow"
    for port, reason in status.left_out.items():
        yield f"port {port} gets no flows: {reason}", "yellow"


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, header_style="dim")
    return table


def _hops(hops: list[HopStatus]) -> Table:
    table = _table("HOP", "STATE", "PORT", "IN", "OUT", "HANDSHAKE", "RTT")
    for hop in hops:
        state = Text(hop.state, style=_COLOURS[hop.state])
        if hop.detail:
            state.append(f" ({hop.detail})")
        table.add_row(
            hop.name,
            state,
            hop.port,
            in_bytes(hop.rx_bytes),
            in_bytes(hop.tx_bytes),
            "–" if hop.name == "xray" else age(hop.handshake_age_s),
            "–" if hop.rtt_ms is None else f"{hop.rtt_ms:.0f} ms",
        )
    return table


def _clients(clients: list[ClientStatus]) -> Table:
    table = _table("CLIENT", "ENDPOINT", "IN", "OUT", "HANDSHAKE")
    for client in clients:
        table.add_row(
            client.name,
            client.endpoint or "–",
            in_bytes(client.rx_bytes),
            in_bytes(client.tx_bytes),
            age(client.handshake_age_s),
        )
    return table


def in_bytes(count: float) -> str:
    """A number of bytes for people: three figures and a unit (powers of 1000)."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in _UNITS[:-1]:
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} {_UNITS[-1]}"


def age(seconds: float | None) -> str:
    """How long ago, for people."""
    if seconds is None:
        return "never"
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
