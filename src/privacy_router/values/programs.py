"""How this package's own programs are started (pure)."""

from __future__ import annotations

import os
import sys


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """The arguments that start a module of this package as a program."""
    return (sys.executable, "-P", "-m", module, *arguments)


def places() -> tuple[str, ...]:
    """The directories that such a program is read from: its environment's, and its own."""
    return (sys.prefix, os.path.abspath(f"{__file__}/../../.."))  # noqa: PTH100  # light
