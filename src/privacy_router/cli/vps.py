"""vps export: the server's side of the XRay hop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from privacy_router.cli.options import DEFAULT_CONFIG, ConfigFile, load_config
from privacy_router.cli.output import out, say
from privacy_router.errors import ConflictError

app = typer.Typer(help="Your VPS at the far end of the chain.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Your VPS at the far end of the chain."""


@app.command()
def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it there (mode 0600).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Print the XRay server configuration that fits this node.

    It holds the server's private key: bring it to the VPS over SSH and nowhere else. There:
    install Xray (its project's own instructions), put the file at /usr/local/etc/xray/config.json
    and restart it.
    """
    from privacy_router.hops.xray.settings import server_settings
    from privacy_router.host.files import write_private
    from privacy_router.node.machine import require_root
    from privacy_router.node.paths import NodePaths
    from privacy_router.node.secrets import xray_identity

    require_root()
    config = load_config(config_file)
    if "xray" not in config.chain_hops:
        raise ConflictError(
            "the XRay hop is not enabled", remedy="set xray.vps_address to your VPS' address"
        )
    if output is not None and output.exists() and not force:
        raise ConflictError(f"{output} is there already", remedy="replace it with --force")
    settings = server_settings(
        xray_identity(NodePaths.from_environment()),
        listen_port=config.vps_port,
        server_name=config.xray.server_name,
        target=config.xray.reality_target,
    )
    text = json.dumps(settings, indent=2) + "\n"
    if output is None:
        out.file.write(text)
        return
    write_private(output, text.encode())
    say(f"wrote {output}")
