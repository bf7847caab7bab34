"""vps export: the server's side of the XRay hop."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privacy_router.cli.deferred import commands
from privacy_router.cli.options import DEFAULT_CONFIG, ConfigFile, load_config
from privacy_router.cli.output import out, say
from privacy_router.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address, IPv6Address


app = commands(help="Your VPS at the far end of the chain.", no_args_is_help=True)


@app.command()
def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it there (mode 0600).")
    ] = None,
    firewall: Annotated[
        Path | None,
        typer.Option("--firewall", help="Write the nftables rules that go with it there."),
    ] = None,
    own_addresses: Annotated[
        list[str] | None,
        typer.Option("--own-address", help="An address of the VPS itself; may be repeated."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Print the XRay server configuration that fits this node.

    It holds the server's private key: bring it to the VPS over SSH and nowhere else. There:
    install Xray (its project's own instructions), put the file at /usr/local/etc/xray/config.json
    and restart it.

    With --firewall FILE also write the rules that keep clients away from the VPS itself, by each
    address that it has or gets: copy FILE to the VPS and have it loaded at each start, before Xray
    (nft -f FILE). XRay needs CAP_NET_ADMIN to mark its packets for them, which its project's unit
    gives it. Without the rules XRay refuses the addresses that it is told, and no others.
    """
    from privacy_router.daemon.local.vps import require_root, server_of
    from privacy_router.host.files import write_private

    require_root()
    config = load_config(config_file)
    _require_new(() if force else (output, firewall))
    server = server_of(config, _addresses(own_addresses or ()))
    if firewall is not None:
        write_private(firewall, server.firewall.encode())
        say(f"wrote {firewall}; on the VPS: nft -f {firewall.name}, at each start before Xray")
    else:
        say("clients reach what the VPS serves to itself, unless its firewall has the rules that")
        say("      --firewall FILE writes")
    if output is None:
        out.file.write(server.settings)
        return
    write_private(output, server.settings.encode())
    say(f"wrote {output}")


def _require_new(files: Iterable[Path | None]) -> None:
    """Raises ConflictError where one of them is there."""
    for file in files:
        if file is not None and file.exists():
            raise ConflictError(f"{file} is there already", remedy="replace it with --force")


def _addresses(texts: Sequence[str]) -> list[IPv4Address | IPv6Address]:
    try:
        return [ip_address(text) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(f"{error}; give an IP address") from error
