"""How a node's status looks on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from privacy_router.cli.output import out
from privacy_router.client.status import FileState
from privacy_router.report.amounts import age, in_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from privacy_router.client.status import ClientStatus, FileNote, HopStatus, NodeStatus

_COLOURS = {"up": "green", "quiet": "cyan", "degraded": "yellow", "down": "red"}
_ANOTHER = (FileState.OVERRULED, FileState.CHANGED)


def show(status: NodeStatus) -> None:
    """Print the status."""
    for part in parts(status):
        out.print(part)


def parts(status: NodeStatus, *, asking: bool = False) -> Iterator[RenderableType]:
    """What a status says, from top to bottom; `asking`: whether packets pass is being asked."""
    line = _headline(status)
    if asking:
        line.append(", asking whether packets pass …", style="dim")
    yield line
    if status.state == "down":
        for text, style in _why_down(status):
            yield Text(f"  {text}", style=style)
        return
    yield Text(f"  {_settings(status)}", style="dim")
    yield _hops(status)
    if status.clients:
        yield _clients(status.clients)
    if status.probed:
        yield _sites(status)
    for text, style in _remarks(status):
        yield Text(f"  {text}", style=style)


def outcome(before: NodeStatus, now: NodeStatus) -> Iterator[RenderableType]:
    """What asking has found, for a reader who has read what was known before."""
    yield _headline(now)
    known = {hop.name: hop for hop in before.hops}
    for hop in now.hops:
        old = known.get(hop.name)
        if old is None or (old.state, old.detail) != (hop.state, hop.detail):
            text, style = _remark(hop)
            yield Text(f"  {text}", style=style)
    took = [f"{hop.name} {hop.rtt_ms:.0f} ms" for hop in now.hops if hop.rtt_ms is not None]
    if took:
        yield f"round trips: {', '.join(took)}"
    if now.probed:
        yield _sites(now)
    for reason in now.trouble:
        if reason not in before.trouble:
            yield Text(f"  {reason}", style="red")


def _headline(status: NodeStatus) -> Text:
    line = Text.assemble(("●", _COLOURS[status.state]), f" node {status.state}")
    if status.controller_pid is not None:
        line.append(f", controller process {status.controller_pid}", style="dim")
    elif status.state != "down":
        line.append(
            ", no controller keeps watch and repairs (privacy-router up)",
            style="red",
        )
    return line


def _settings(status: NodeStatus) -> str:
    level = f"obfuscation level {status.obfuscation_level}"
    return f"{level}, as {status.document} says" if status.document else level


def _sites(status: NodeStatus) -> str:
    seen = [address for address in (status.exit_ipv4, status.exit_ipv6) if address]
    if not seen:
        return "sites see nothing: no answer comes back through the chain"
    words = f"sites see {' and '.join(seen)}"
    if len(seen) == 1:
        words += f", and no request by IPv{6 if status.exit_ipv4 else 4} came back"
    return f"{words}; Cloudflare: warp={status.warp_trace}" if status.warp_trace else words


def _remark(hop: HopStatus) -> tuple[str, str]:
    """A hop's state in words, and what was seen of it."""
    seen = hop.health.get("evidence", "")
    words = f"{hop.name} is {hop.state}" + (f": {hop.detail}" if hop.detail else "")
    style = "dim" if hop.state in ("up", "quiet") else _COLOURS[hop.state]
    return f"{words} ({seen})" if seen else words, style


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
        if hop.detail or hop.health.get("evidence"):
            yield _remark(hop)
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


def _hops(status: NodeStatus) -> Table:
    asked = ["RTT"] if status.probed else []
    table = _table("HOP", "STATE", "IN", "OUT", "IN/S", "OUT/S", "HANDSHAKE", *asked)
    for hop in status.hops:
        rtt = "–" if hop.rtt_ms is None else f"{hop.rtt_ms:.0f} ms"
        table.add_row(
            hop.name,
            Text(hop.state, style=_COLOURS[hop.state]),
            in_bytes(hop.rx_bytes),
            in_bytes(hop.tx_bytes),
            in_bytes(hop.rx_rate),
            in_bytes(hop.tx_rate),
            age(hop.handshake_age_s) if hop.has_tunnel else "–",
            *([rtt] if asked else []),
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
