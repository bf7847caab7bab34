"""The demonstration that README.md begins with, on each release of Debian that it names."""

from __future__ import annotations

import subprocess

import pytest

from tests.machine.whole_node import ROOT

pytestmark = [pytest.mark.machine, pytest.mark.timeout(300)]


def test_the_demonstration_ends_with_the_proof() -> None:
    done = subprocess.run(
        [ROOT / ".venv/bin/privacy-router", "lab", "demo"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr)
    assert "every promise holds" in done.stdout
