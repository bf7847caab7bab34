"""Processes are found by their environment, also while they become another program."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from privacy_router.host import processes
from privacy_router.host.processes import Process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARKS = b"PRIVACY_ROUTER_OWNER=me\0PRIVACY_ROUTER_PROCESS=wgcf\0PRIVACY_ROUTER_FINGERPRINT=f\0"


def entry(root: Path, *, age_s: float, state: str = "S", flags: int = 0) -> Path:
    """A process in a `/proc`, without an environment at the moment."""
    started = (time.clock_gettime(time.CLOCK_BOOTTIME) - age_s) * os.sysconf("SC_CLK_TCK")
    fields = [state, *["1"] * 5, str(flags), *["0"] * 12, str(int(started))]
    made = root / "4711"
    made.mkdir()
    (made / "stat").write_text(f"4711 (a name) in ) brackets) {' '.join(fields)}\n")
    (made / "environ").write_bytes(b"")
    return made


@pytest.fixture
def becoming(tmp_path: Path) -> Iterator[Path]:
    """One that has begun just now, and has its environment again a moment later."""
    made = entry(tmp_path, age_s=0.1)
    timer = threading.Timer(0.02, lambda: (made / "environ").write_bytes(MARKS))
    timer.start()
    yield made
    timer.join()


def test_a_process_that_becomes_another_program_runs(becoming: Path) -> None:
    assert processes._identify(becoming, "me") == Process("wgcf", 4711, "f")


@pytest.mark.parametrize(
    ("age_s", "state", "flags"),
    [(60.0, "S", 0), (0.1, "Z", 0), (0.1, "I", 0x00200040)],
    ids=["old", "zombie", "thread of the kernel's"],
)
def test_one_without_an_environment_holds_up_no_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_s: float, state: str, flags: int
) -> None:
    made = entry(tmp_path, age_s=age_s, state=state, flags=flags)
    monkeypatch.setattr(processes, "_EXECVE_LOOK_S", 3600.0)
    assert processes._identify(made, "me") is None


def test_a_young_one_without_an_environment_is_waited_for_a_moment_only(tmp_path: Path) -> None:
    assert processes._identify(entry(tmp_path, age_s=0.1), "me") is None
