"""How the XRay client's process is started (pure)."""

from __future__ import annotations

import os
import sys


def arguments(config_file: str) -> tuple[str, ...]:
    """The arguments that start this program; `config_file` must be private (0600)."""
    return (sys.executable, "-P", "-m", "privacy_router.hops.xray.runner", config_file)


def program_places() -> tuple[str, ...]:
    """The directories that this program is read from: its environment's, and its own."""
    return (sys.prefix, os.path.abspath(f"{__file__}/../../../.."))  # noqa: PTH100  # light
