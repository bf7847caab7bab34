"""client add, list, show, remove."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from privacy_router.cli.completing import client_names
from privacy_router.cli.encoding import can_encode
from privacy_router.cli.in_force import config_in_force
from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile
from privacy_router.cli.output import out, print_json, say
from privacy_router.config import PrivacyRouterConfig
from privacy_router.errors import FAILURES, ConflictError
from privacy_router.hops.gateway import Client
from privacy_router.host.files import write_private
from privacy_router.node import clients
from privacy_router.node.lock import tell_of_clients
from privacy_router.node.machine import require_root
from privacy_router.node.paths import NodePaths
from privacy_router.node.secrets import gateway_key
from privacy_router.values.wireguard import public_key_of

app = typer.Typer(help="Client devices: add one, scan the code, done.", no_args_is_help=True)

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
    require_root()
    config, paths = config_in_force(config_file), NodePaths.from_environment()
    if not config.wireguard.enabled:
        raise ConflictError(
            "the gateway is disabled, so clients have nowhere to enter",
            remedy="set wireguard.enabled to true",
        )
    new = _register(config, paths, name, conf, png)
    told = tell_of_clients(paths)
    if as_json:
        print_json(_public(new.client) | {"configuration": new.configuration, "remark": new.remark})
    elif conf is None and png is None:
        out.print(escape(new.configuration), soft_wrap=True)
        _show_qr(new.configuration)
    for path in (conf, png):
        if path is not None:
            say(f"wrote {path}")
    say(f"added {name} ({new.client.v4}, {new.client.v6})")
    say("the gateway knows it now" if told else "the node is down: it takes effect with `up`")
    for remark in _remarks(new, conf):
        say(f"[yellow]note:[/] {escape(remark)}")


def _remarks(new: clients.NewClient, conf: Path | None) -> Iterator[str]:
    """What keeps the configuration from working where it is taken to."""
    if new.remark:
        yield new.remark
    if conf is not None and not _TUNNEL_FILE.fullmatch(conf.name):
        yield (
            f"{conf.name} is no file name that wg-quick, NetworkManager and the apps take: it names"
            " the tunnel, so rename it to one of up to 15 letters, digits, _ = + . - and then .conf"
        )


def _register(
    config: PrivacyRouterConfig, paths: NodePaths, name: str, conf: Path | None, png: Path | None
) -> clients.NewClient:
    """Add the client and write its files; without the files there is no client either."""
    for path in (png, conf):
        if path is not None and path.exists():
            raise ConflictError(f"{path} is there already", remedy="choose another file")
    public_key = public_key_of(gateway_key(config, paths))
    new = clients.add(config, paths, name, public_key)
    try:
        if conf is not None:
            write_private(conf, new.configuration.encode())
        if png is not None:
            write_private(png, _qr_png(new.configuration))
    except BaseException:
        clients.remove(config, paths, name)  # nobody has its key, so nobody could ever use it
        raise
    return new


@app.command("list")
def list_clients(as_json: AsJson = False, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """List the clients; one that was online within two minutes had a handshake since then."""
    from privacy_router.cli.status_view import age

    require_root()
    config = config_in_force(config_file)
    known = clients.load(config, NodePaths.from_environment())
    seen = _handshake_ages(config)
    if as_json:
        ages = [{"handshake_age_s": seen.get(client.name)} for client in known]
        print_json([_public(client) | more for client, more in zip(known, ages, strict=True)])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("NAME", "IPV4", "IPV6", "ADDED", "HANDSHAKE"):
        table.add_column(heading)
    for client in known:
        last = age(seen.get(client.name))
        table.add_row(client.name, str(client.v4), str(client.v6), client.created, last)
    out.print(table if known else "no clients yet: privacy-router client add phone")


def _handshake_ages(config: PrivacyRouterConfig) -> dict[str, float | None]:
    """When each client had its last handshake, as the gateway tells; the list is shown also where
    the gateway cannot be asked."""
    from privacy_router.node.status import read_clients

    try:
        return {one.name: one.handshake_age_s for one in read_clients(config)}
    except FAILURES as error:
        say(f"[yellow]note:[/] the gateway cannot be asked: {escape(str(error))}")
        return {}


@app.command()
def show(name: Known, as_json: AsJson = False, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Show a client: its addresses and public key (its private key is not kept)."""
    require_root()
    known = clients.load(config_in_force(config_file), NodePaths.from_environment())
    facts = _public(clients.find(known, name))
    if as_json:
        print_json(facts)
        return
    for label, value in facts.items():
        out.print(f"{label:<11} {value}")


@app.command()
def remove(name: Known, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Remove a client; it is cut off at once."""
    require_root()
    paths = NodePaths.from_environment()
    clients.remove(config_in_force(config_file), paths, name)
    tell_of_clients(paths)
    say(f"removed {name}")


def _public(client: Client) -> dict[str, str]:
    return {
        "name": client.name,
        "ipv4": str(client.v4),
        "ipv6": str(client.v6),
        "public_key": client.public_key,
        "created": client.created,
    }


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
