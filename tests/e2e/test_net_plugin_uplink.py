"""The uplink moves onto a bridge and back: what that does to connections, and to a crash."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.e2e.net_conversation import connections_hold, hears_once
from tests.e2e.net_machine import (
    UPLINK,
    dump,
    net_machine,
    plan,
    put,
    said,
    seen,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.net_machine import NetMachine

pytestmark = pytest.mark.e2e
_PATIENCE_S = 10.0


@pytest.fixture
def machine() -> Iterator[NetMachine]:
    with net_machine() as made:
        yield made


async def test_connections_outlive_the_move_and_the_way_back(machine: NetMachine) -> None:
    before, kernel = await seen(machine), dump(machine)
    with connections_hold(machine):
        checkpoint = await put(machine.plugin(), UPLINK)
        assert "192.0.2.2/24" in machine.ip("address", "show", "vmbr0")
        assert "inet 1" not in machine.ip("address", "show", "eth0")
        assert "dev eth0" not in machine.ip("route", "show", "table", "all", "proto", "boot")
        assert (await plan(machine.plugin(), UPLINK))[1] == []
        hears_once(machine)
    with connections_hold(machine):
        await machine.plugin().rollback(checkpoint, said)
        hears_once(machine)
    assert await seen(machine) == before
    assert dump(machine) == kernel


class Crasher:
    """Another process that is killed at a chosen step."""

    def __init__(self, machine: NetMachine) -> None:
        where = (machine.host.file("/"), machine.host.network, machine.socket)
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("net_crash.py"), *map(str, where)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=_PATIENCE_S)

    def killed(self, *request: Any) -> bool:
        """Whether it was, or has come to the end before that step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer in {"killed\n", "finished\n"}
        return answer == "killed\n"


@pytest.mark.timeout(300)
async def test_killed_at_any_step_everything_goes_back(machine: NetMachine) -> None:
    before, kernel = await seen(machine), dump(machine)
    _, changes = await plan(machine.plugin(), UPLINK)
    checkpoint = json.loads(json.dumps(await machine.plugin().checkpoint(changes)))
    with Crasher(machine) as crasher:
        step = 0
        while crasher.killed(step, UPLINK):
            await machine.plugin().rollback(checkpoint, said)
            assert await seen(machine) == before, step
            assert dump(machine) == kernel, step
            step += 1
    assert step > 20
    hears_once(machine)


@pytest.mark.timeout(300)
async def test_killed_while_it_goes_back_it_goes_back(machine: NetMachine) -> None:
    before, kernel = await seen(machine), dump(machine)
    with Crasher(machine) as crasher:
        step = 0
        checkpoint = await put(machine.plugin(), UPLINK)
        while crasher.killed(step, UPLINK, checkpoint):
            await machine.plugin().rollback(checkpoint, said)
            assert await seen(machine) == before, step
            assert dump(machine) == kernel, step
            checkpoint = await put(machine.plugin(), UPLINK)
            step += 1
    assert step > 15
    assert await seen(machine) == before
