"""How much a benchmark does: what its figures are made of or, with BENCH_SHORT=1, seconds' worth.

The tests run every benchmark short, so that none is broken without a word. Short ones judge and
store nothing.
"""

from __future__ import annotations

import os

IS_SHORT = os.environ.get("BENCH_SHORT", "") not in ("", "0")


def extent(usual: int, *, short: int, variable: str = "") -> int:
    """How often, how many or how long; the environment's `variable` comes first, if it is set."""
    return int(os.environ.get(variable) or (short if IS_SHORT else usual))
