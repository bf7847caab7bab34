"""The entry point of `privacy-router`.

Until everything is loaded nothing can be garbage: looking for it would cost a tenth of the start.
"""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Load the commands and run one."""
    try:
        gc.disable()
        from privacy_router.cli.main import main as run

        gc.freeze()
        gc.enable()
        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
