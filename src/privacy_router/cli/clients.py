"""client add, list, show, remove."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from privacy_router.cli.asking import ask
from privacy_router.cli.completion import client_names
from privacy_router.cli.deferred import commands
from privacy_router.cli.encoding import can_encode
from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile
from privacy_router.cli.output import out, print_json, say
from privacy_router.errors import ConflictError
from privacy_router.host.files import write_private
from privacy_router.report.amounts import age

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.client.api import Node
    from privacy_router.client.rows import AddedClient, ClientList, ClientRow

app = commands(help="Client devices: add one, scan the code, done.", no_args_is_help=True)

_TUNNEL_FILE: Final = re.compile(r"[a-zA-Z0-9_=+.-]{1,15}\.conf")
"""What wg-quick(8) takes; Linux allows an interface's name 15 bytes."""

Name = Annotated[str, typer.Argument(help="The client's name, such as phone.")]
Known = Annotated[str, typer.Argument(help="The client's name.", autocompletion=client_names)]


@app.command()
def add(
    name: Name,
    png: Annotated[Path | None, typer.Option(help="Write the QR code there as a picture.")] = None,
    conf: Annotated[
        Path | None, typer.Option(help="Write the configuration there instead of showing it.")
    ] = None,
    as_json: AsJson = False,
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Register a device and give out its WireGuard configuration, this once.

    The node does not keep the device's private key: if the configuration is lost, remove the
    client and add it again.
    """
    _require_new(conf, png)
    new = ask(config_file, lambda node: _add(node, name, conf, png))
    if as_json:
        print_json(new.client.facts() | {"configuration": new.configuration, "remark": new.remark})
    elif conf is None and png is None:
        out.print(escape(new.configuration), soft_wrap=True)
        _show_qr(new.configuration)
    for path in (conf, png):
        if path is not None:
            say(f"wrote {path}")
    say(f"added {name} ({new.client.ipv4}, {new.client.ipv6})")
    say(
        "the gateway has it: its device was read back"
        if new.in_force
        else "the node is down: it takes effect with `up`"
    )
    for remark in _remarks(new, conf):
        say(f"[yellow]note:[/] {escape(remark)}")


def _remarks(new: AddedClient, conf: Path | None) -> Iterator[str]:
    """What keeps the configuration from working where it is taken to."""
    if new.remark:
        yield new.remark
    if conf is not None and not _TUNNEL_FILE.fullmatch(conf.name):
        yield (
            f"{conf.name} is no file name that wg-quick, NetworkManager and the apps take: it names"
            " the tunnel, so rename it to one of up to 15 letters, digits, _ = + . - and then .conf"
        )


def _require_new(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and path.exists():
            raise ConflictError(f"{path} is there already", remedy="choose another file")


async def _add(node: Node, name: str, conf: Path | None, png: Path | None) -> AddedClient:
    """Add the client and write its files; without the files there is no client either."""
    new = await node.add_client(name)
    try:
        if conf is not None:
            write_private(conf, new.configuration.encode())
        if png is not None:
            write_private(png, _qr_png(new.configuration))
    except BaseException:
        await node.remove_client(name)  # its key is lost, so that no device could ever use it
        raise
    return new


@app.command("list")
def list_clients(as_json: AsJson = False, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """List the clients; one that was online within two minutes had a handshake since then."""
    found = ask(config_file, lambda node: node.list_clients())
    if found.trouble:
        say(f"[yellow]note:[/] the gateway cannot be asked: {escape(found.trouble)}")
    if as_json:
        print_json(
            [one.facts() | {"handshake_age_s": one.handshake_age_s} for one in found.clients]
        )
        return
    none = "no clients yet: privacy-router client add phone"
    out.print(_table(found) if found.clients else none)


def _listed(client: ClientRow) -> dict[str, Any]:
    return client.facts() | {"handshake_age_s": client.handshake_age_s}


def _table(found: ClientList) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("NAME", "IPV4", "IPV6", "ADDED", "HANDSHAKE"):
        table.add_column(heading)
    for client in found.clients:
        last = age(client.handshake_age_s)
        table.add_row(client.name, client.ipv4, client.ipv6, client.created, last)
    return table


@app.command()
def show(name: Known, as_json: AsJson = False, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Show a client: its addresses and public key (its private key is not kept)."""
    facts = ask(config_file, lambda node: node.show_client(name)).facts()
    if as_json:
        print_json(facts)
        return
    for label, value in facts.items():
        out.print(f"{label:<11} {value}")


@app.command()
def remove(name: Known, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Remove a client; it is cut off at once."""
    ask(config_file, lambda node: node.remove_client(name))
    say(f"removed {name}")


def _qr_png(text: str) -> bytes:
    import segno

    buffer = io.BytesIO()
    segno.make(text, error="l", micro=False).save(buffer, kind="png", scale=6)
    return buffer.getvalue()


def _show_qr(text: str) -> None:
    import segno

    buffer = io.StringIO()
    code = segno.make(text, error="l", micro=False)
    is_compact = can_encode("▀▄█")
    code.terminal(buffer, compact=is_compact)
    out.file.write(buffer.getvalue())
    out.file.flush()
    side = code.symbol_size()[0]
    columns, rows = (side, -(-side // 2)) if is_compact else (2 * side, side)
    if out.is_terminal and (columns > out.width or rows > out.height):
        say(
            f"[yellow]note:[/] the code takes {columns} columns and {rows} lines, and this terminal"
            f" has {out.width} and {out.height}: enlarge it, or use --png FILE or --conf FILE"
        )
