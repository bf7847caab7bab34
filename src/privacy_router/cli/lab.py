"""lab up, check, exec, status, down, demo."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from privacy_router.cli.deferred import commands
from privacy_router.cli.options import AsJson
from privacy_router.cli.output import err, out, print_json, say
from privacy_router.config import load_document
from privacy_router.errors import ConflictError, ExitCode
from privacy_router.lab import check as checks
from privacy_router.lab import demo as demos
from privacy_router.lab import internet, register, stage
from privacy_router.lab.picture import proof
from privacy_router.lab.report import Report
from privacy_router.node.machine import require_root

app = commands(
    help="The whole chain on this machine: client, ISP, node, Cloudflare, VPS and web site as"
    " network namespaces, with no way to the machine's own network.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Option("--name", help="Which lab; several can be up at a time.")]


@app.command()
def up(
    name: Name = register.DEFAULT_NAME,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Put the keys of this document over the node's own."),
    ] = None,
    node: Annotated[
        bool, typer.Option(help="Start the node and connect the client; or prepare it only.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Build the lab: hosts, links, services, the node itself, and a client that is connected."""
    require_root()
    overrides: dict[str, Any] | None = None
    if config is not None:
        load_document(config)
        overrides = json.loads(config.read_text(encoding="utf-8"))
    lab = stage.up(
        name,
        overrides=overrides,
        with_node=node,
        with_bus=True,
        say=lambda text: say(f"  {text}"),
    )
    if as_json:
        print_json(_facts(lab))
    else:
        say("[green]✓[/] the lab is up: privacy-router lab check, lab exec client -- COMMAND")


@app.command()
def down(
    name: Name = register.DEFAULT_NAME,
    every: Annotated[bool, typer.Option("--all", help="Every lab on this machine.")] = False,
) -> None:
    """End the lab and everything in it; nothing is left on the machine."""
    require_root()
    ended, busy = [], None
    for lab in register.names() if every else [name]:
        try:
            ended += [lab] if stage.down(lab) else []
        except ConflictError as error:
            busy = error
    say(f"[green]✓[/] ended: {', '.join(ended)}" if ended else "no lab was up")
    if busy is not None:
        raise busy


@app.command()
def status(name: Name = register.DEFAULT_NAME, as_json: AsJson = False) -> None:
    """Show the lab's hosts. Exit code 5 when it is not up."""
    require_root()
    lab = stage.find(name)
    if as_json:
        print_json(_facts(lab))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("HOST", "PID", "LINKS"):
        table.add_column(heading)
    for host in lab.hosts.values():
        table.add_row(host.name, str(host.pid), ", ".join(_links_of(host.name)))
    out.print(table)


@app.command()
def check(
    name: Name = register.DEFAULT_NAME,
    pcap: Annotated[
        Path | None, typer.Option(help="Write what passes each link into this directory.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove the chain from outside, with a capture on every link. Exit code 8 when it fails."""
    require_root()
    report = checks.run_check(stage.find(name), pcap)
    if as_json:
        print_json(report.as_dict())
    else:
        out.print(proof(report))
    _exit_by(report)


@app.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def execute(
    host: Annotated[str, typer.Argument(help=f"One of: {', '.join(internet.HOSTS)}.")],
    command: Annotated[list[str], typer.Argument(help="What to run there, after --.")],
    name: Name = register.DEFAULT_NAME,
) -> None:
    """Run a command inside a host, as in `lab exec client -- curl web.example.net/ip`.

    Ends with the command's own exit code.
    """
    require_root()
    target = stage.find(name)[host]
    argv = target.command(command[1:] if command[0] == "--" and command[1:] else command)
    sys.stdout.flush()
    os.execve(argv[0], argv, {**os.environ, **target.environment})  # noqa: S606


@app.command()
def demo(
    seconds: Annotated[
        float, typer.Option(min=1, max=60, help="How long traffic flows through the picture.")
    ] = 4.0,
    svg: Annotated[
        Path | None, typer.Option(help="Write the last picture and the proof there as SVG.")
    ] = None,
) -> None:
    """Watch packets go the whole way, live, and end with the proof. Leaves nothing behind."""
    require_root()
    report = demos.run_demo(out, seconds, svg)
    _exit_by(report)


def _facts(lab: stage.Lab) -> dict[str, Any]:
    return {
        "name": lab.name,
        "created_at": lab.created_at,
        "node_started": lab.node_started,
        "hosts": {host.name: {"pid": host.pid} for host in lab.hosts.values()},
        "links": [cable.name for cable in internet.CABLES],
    }


def _links_of(host: str) -> list[str]:
    return [
        f"{cable.device(host)} {cable.address(host, 4)} {cable.address(host, 6)}"
        for cable in internet.CABLES
        if host in (cable.first, cable.second)
    ]


def _exit_by(report: Report) -> None:
    if report.ok:
        return
    for problem in report.problems:
        err.print(escape(problem))
    raise SystemExit(ExitCode.CHECK_FAILED)
