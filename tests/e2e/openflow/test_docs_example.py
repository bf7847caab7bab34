"""The example in docs/openflow.md does what the page says."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.openflow.private_ovs import Ovs

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).parents[3] / "docs" / "openflow.md"


def test_the_example_of_the_page_runs(ovs: Ovs) -> None:
    start = PAGE.read_text().index("    import asyncio")
    lines = PAGE.read_text()[start:].split("\n\n* ")[0].splitlines()
    code = "\n".join(line for line in lines if not line or line.startswith("    "))
    program = textwrap.dedent(code).replace("/run/openvswitch/br0.mgmt", str(ovs.mgmt))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "unchanged=1" in done.stdout
