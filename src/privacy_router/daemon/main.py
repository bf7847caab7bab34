"""`op-dbus`: the controller as a program of its own, for a service manager to run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from privacy_router import __version__
from privacy_router.daemon.service import lock_and_prepare, serve, set_up_logging
from privacy_router.errors import PrivacyRouterError
from privacy_router.node.paths import NodePaths


def main() -> None:
    """Keep the node as its configuration says, in the foreground, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="op-dbus", description=main.__doc__)
    parser.add_argument(
        "--config", type=Path, default=Path("/etc/privacy-router/config.json"), metavar="FILE"
    )
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--version", action="version", version=__version__)
    arguments = parser.parse_args()
    set_up_logging(verbose=arguments.verbose)
    try:
        lock, controller = lock_and_prepare(arguments.config, NodePaths.from_environment())
        serve(lock, controller, lambda: None)
    except PrivacyRouterError as error:
        remedy = f"\nremedy: {error.remedy}" if error.remedy else ""
        print(f"error: {error}{remedy}", file=sys.stderr)
        sys.exit(int(error.exit_code))


if __name__ == "__main__":
    main()
