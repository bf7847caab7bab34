"""Every benchmark runs to its end: short ones, which judge nothing and store nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "bench"
RESULTS = ROOT / "build" / "bench.json"
PATIENCE_S = 300
FIGURES = {
    "chain": ["up_time", "chain_throughput", "controller_memory", "controller_idle_cpu"],
    "engine": ["apply_nochange", "apply_one_change", "property_read_p50", "crash_points"],
    "openflow": ["encode_flow_mod", "program_100k_bundle", "reconcile_100k", "memory_100k"],
    "ports": ["drift_repair_p99", "port_to_flows_p99"],
}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(PATIENCE_S + 20)]


def stored() -> str:
    return RESULTS.read_text() if RESULTS.exists() else ""


@pytest.mark.parametrize("name", FIGURES)
def test_a_short_benchmark_prints_its_figures(name: str) -> None:
    before = stored()
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py")],
        env={**os.environ, "BENCH_SHORT": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    for figure in FIGURES[name]:
        assert figure in done.stdout
    assert "missed" not in done.stdout
    assert stored() == before


def test_every_program_that_make_bench_runs_is_tried() -> None:
    makefile = (ROOT / "Makefile").read_text()
    run = {path.stem for path in BENCHMARKS.glob("*.py") if f"bench/{path.name}" in makefile}
    assert run == set(FIGURES)
