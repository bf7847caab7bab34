"""status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from privacy_router.cli.asking import ask, subject
from privacy_router.cli.deferred import commands
from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile
from privacy_router.cli.output import print_json
from privacy_router.errors import ExitCode, PrivacyRouterError

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.client.status import NodeStatus

app = commands()


@app.command()
def status(
    config_file: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it.")] = False,
    probe: Annotated[
        bool, typer.Option(help="Ask the outside which address it sees (a few small requests).")
    ] = True,
) -> None:
    """Show each hop: state, what shows it, handshake age, bytes, RTT, the address that sites see.

    Exit code 8 when the node is not entirely up, or nothing proves that it is.
    """
    if watch or probe:
        found = _with_look(config_file, as_json=as_json, watch=watch, probe=probe)
    else:
        from privacy_router.cli.status_view import show

        # where op-dbus fails to tell, the machine is looked at: that is what status is for
        found = ask(config_file, lambda node: node.status(), in_spite_of=PrivacyRouterError)
        if not as_json:
            show(found)
    if as_json:
        print_json(found.as_dict())
    if not found.ok:
        raise SystemExit(ExitCode.CHECK_FAILED)


def _with_look(config_file: Path, *, as_json: bool, watch: bool, probe: bool) -> NodeStatus:
    """The status with what asking the outside finds; with `watch`, for ever."""
    from privacy_router.cli import status_look
    from privacy_router.daemon.local.status import require_root

    require_root()
    if watch:
        status_look.watch(lambda: subject(config_file), probe=probe)
    look = status_look.look if as_json else status_look.look_and_show
    return look(subject(config_file))
