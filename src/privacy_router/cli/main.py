"""`privacy-router`: every command in one place."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from privacy_router import __version__
from privacy_router.cli.deferred import DeferredCommand, DeferredGroup
from privacy_router.cli.encoding import write_what_can_be_encoded
from privacy_router.cli.output import complaints, out

_COMMANDS = {
    "config": {
        "init": "Write a configuration to start from.",
        "check": "Validate a configuration, and look for all that would stop `up` on this machine.",
        "schema": "Print the JSON Schema of the configuration.",
    },
    "node": {
        "up": "Bring the node up and keep it so.",
        "down": "Take the node down and leave the machine as it was found. Keys and clients are"
        " kept.",
    },
    "status": {
        "status": "Show each hop: state, what shows it, handshake age, bytes, RTT, the address that"
        " sites see.",
    },
    "apply": {
        "plan": "Show what applying the document would change on this machine, and change nothing.",
        "apply": "Have op-dbus make this machine as a document says: all of it, or nothing.",
        "confirm": "Keep the changes that wait to be confirmed.",
        "rollback": "Undo the run that waits to be confirmed; with none that waits, go back to a"
        " checkpoint, or to the state before the last run.",
    },
    "machine": {
        "plugins": "Show op-dbus' plugins: what each keeps, and why one cannot work here.",
        "query": "Show what is there now, as the plugins see it.",
        "runs": "Show the last runs: when, what became of them, and why.",
        "monitor": "Show what happens, as it happens: drift and repairs, steps of runs, ports that"
        " come and go.",
    },
}
_LAB = (
    "The whole chain on this machine: client, ISP, node, Cloudflare, VPS and web site as network"
    " namespaces, with no way to the machine's own network."
)
_GROUPS = {
    "checkpoint": ("checkpoints", "States of the machine to come back to."),
    "client": ("clients", "Client devices: add one, scan the code, done."),
    "vps": ("vps", "Your VPS at the far end of the chain."),
    "flows": ("flows", "The OpenFlow tables of the bridge."),
    "lab": ("lab", _LAB),
}


class Commands(TyperGroup):
    """The commands by name. A command's module is loaded when that command is run: a look at the
    node must not load what the lab needs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for module, commands in _COMMANDS.items():
            for name, text in commands.items():
                self.commands[name] = DeferredCommand(name, module, text)
        for name, (module, text) in _GROUPS.items():
            self.commands[name] = DeferredGroup(name, module, text)


app = typer.Typer(
    cls=Commands,
    name="privacy-router",
    help="One JSON file turns this machine into a privacy router, and keeps it so.",
    epilog="Exit codes: 0 fine, 1 unexpected failure, 2 configuration or usage, 3 not root, "
    "4 something is not installed, 5 conflict, 6 a remote service, 7 files, 8 a check failed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


def main() -> None:
    """Run the command line."""
    write_what_can_be_encoded()
    with complaints():
        app()


if __name__ == "__main__":
    main()
