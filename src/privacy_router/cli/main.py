"""`privacy-router`: every command in one place."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from privacy_router import __version__
from privacy_router.cli import apply, checkpoints, clients, config, flows, machine, node, vps
from privacy_router.cli.encoding import write_what_can_be_encoded
from privacy_router.cli.output import complaints, out

app = typer.Typer(
    name="privacy-router",
    help="One JSON file turns this machine into a privacy router, and keeps it so.",
    epilog="Exit codes: 0 fine, 1 unexpected failure, 2 configuration or usage, 3 not root, "
    "4 something is not installed, 5 conflict, 6 a remote service, 7 files, 8 a check failed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

config.register(app)
node.register(app)
apply.register(app)
machine.register(app)
app.add_typer(checkpoints.app, name="checkpoint")
app.add_typer(clients.app, name="client")
app.add_typer(vps.app, name="vps")
app.add_typer(flows.app, name="flows")


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"privacy-router {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, help="Show the version and exit.", is_eager=True
        ),
    ] = False,
) -> None:
    """One JSON file turns this machine into a privacy router."""


def _add_lab() -> None:
    # the lab's stand-ins need libraries that a node's own commands should not have to load
    if "lab" in sys.argv[1:2] or "--help" in sys.argv or "-h" in sys.argv or len(sys.argv) < 2:
        from privacy_router.cli import lab

        app.add_typer(lab.app, name="lab")


def main() -> None:
    """Run the command line."""
    write_what_can_be_encoded()
    _add_lab()
    with complaints():
        app()


if __name__ == "__main__":
    main()
