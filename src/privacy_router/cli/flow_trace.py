"""flows trace: one packet's way through the tables, compiled and, if wished, on the switch."""

from __future__ import annotations

from typing import Annotated

import typer

from privacy_router.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, load_config
from privacy_router.cli.output import print_json
from privacy_router.errors import ExitCode

PacketText = Annotated[
    str,
    typer.Argument(
        metavar="PACKET",
        help='As for ovs-ofctl, e.g. "tcp,in_port=internal_100,'
        "nw_dst=198.18.0.1\". What is left out is usual: the port's own MAC, TTL 64.",
        show_default=False,
    ),
]
Live = Annotated[
    bool, typer.Option("--live", help="Ask the running switch too, and say where it differs.")
]
CtStates = Annotated[
    list[str] | None,
    typer.Option(
        "--ct-state",
        metavar="STATE",
        help="What connection tracking says: new (unless said otherwise), est, est,rpl, rel or "
        "inv. Once for each time that the packet is tracked; the last one stays.",
        show_default=False,
    ),
]


def trace(
    packet: PacketText,
    live: Live = False,
    ct_state: CtStates = None,
    as_json: AsJson = False,
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Follow a packet through the compiled tables, and say which flow decides, and why.

    With --live, exits with 8 when the switch does something else.
    """
    from privacy_router.cli import trace_view
    from privacy_router.daemon.local import flows
    from privacy_router.report.trace import document

    found = flows.trace(load_config(config_file), packet, ct_state or ["new"], live=live)
    way = (found.walked, found.port_names, found.different)
    if as_json:
        print_json(document(*way))
    else:
        trace_view.show(*way)
    if found.different:
        raise SystemExit(int(ExitCode.CHECK_FAILED))
