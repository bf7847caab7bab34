"""A run that is killed anywhere is as if it had never been, or it is whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.crash import WHOLE_EVERY

ROOT = Path(__file__).parents[2]
TRIALS = 250


@pytest.mark.parametrize("seed", range(4))
def test_no_crash_leaves_the_machine_between(tmp_path: Path, seed: int) -> None:
    """Four times 250 random points; tests/engine/crash.py says how."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.engine.crash", str(tmp_path), str(TRIALS), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    # That most trials were killed, and both ends met, shows that it tried in earnest. How many are
    # killed near the end is chance, so every tenth trial is whole by construction.
    assert found["killed"] > TRIALS * 0.4, found
    assert found["before"] > TRIALS * 0.1, found
    assert found["after"] >= TRIALS / WHOLE_EVERY, found
