"""The entry point of `op-dbus`.

structlog and httpx load rich where it is installed, for colours that a service has no use for: a
tenth of its memory.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Load the daemon, without rich, and run it."""
    sys.modules["rich"] = None  # type: ignore[assignment] # "not installed", to an import
    from privacy_router.daemon.main import main as run

    run()


if __name__ == "__main__":
    main()
