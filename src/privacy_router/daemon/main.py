"""`op-dbus`: the controller as a program of its own, for a service manager to run."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from privacy_router import __version__
from privacy_router.daemon.logging import set_up_logging
from privacy_router.daemon.service import Order, lock_node, serve
from privacy_router.errors import ExitCode, PrivacyRouterError
from privacy_router.node.paths import NodePaths


def main() -> None:
    """Keep the machine as its document says, in the foreground, until SIGTERM."""
    arguments = _arguments()
    set_up_logging(verbose=arguments.verbose)
    order = Order(
        arguments.config,
        NodePaths.from_environment(),
        apply=arguments.apply,
        supervised="NOTIFY_SOCKET" in os.environ,
    )
    try:
        serve(lock_node(order), order, lambda: None)
    except PrivacyRouterError as error:
        remedy = f"\nremedy: {error.remedy}" if error.remedy else ""
        print(f"error: {error}{remedy}", file=sys.stderr)
        sys.exit(int(error.exit_code))
    except OSError as error:
        print(f"error: the machine refused something: {error}", file=sys.stderr)
        sys.exit(int(ExitCode.FAILURE))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="op-dbus",
        description=main.__doc__,
        epilog="SIGHUP: apply the file if it has changed, else read keys and clients again."
        " SIGUSR1: read the clients again. SIGTERM: end; the tunnel stays up, closed. SIGINT: give"
        " everything back, and end.",
    )
    parser.add_argument(
        "command", nargs="?", choices=["run"], default="run", help="the one there is"
    )
    parser.add_argument(
        "--config", type=Path, default=Path("/etc/privacy-router/config.json"), metavar="FILE"
    )
    parser.add_argument(
        "--apply",
        action="store_true",
        help="apply the file at the start even if it was considered before, and fail if that does",
    )
    parser.add_argument("--verbose", action="store_true", help="log more")
    parser.add_argument("--version", action="version", version=__version__)
    return parser.parse_args()
