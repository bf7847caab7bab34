"""What is removed from the node's places is noticed, and what cannot be reached any more counts as
not running."""

from __future__ import annotations

import asyncio
import shutil
import socket
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from privacy_router.errors import StorageError
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.host import processes
from privacy_router.host.processes import Process
from privacy_router.node import places
from privacy_router.node.paths import NodePaths
from privacy_router.values.processes import ProcessSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState

NAMES = ("ovsdb-server", "ovs-vswitchd", "wgcf", "xray")
PATIENCE_S = 30.0


@dataclass
class Node:
    """A machine whose sockets are there, and the state that it should be in."""

    run: Path
    uapi: Path
    sockets: dict[str, Path] = field(default_factory=dict)

    @property
    def machine(self) -> NodeHost:
        ovs = self.run / "ovs"
        return cast(
            "NodeHost",
            SimpleNamespace(
                paths=NodePaths(state=self.run / "state", run=self.run),
                ovs_socket=ovs / "db.sock",
                management_socket_dir=ovs,
                hops=CATALOGUE,
            ),
        )

    def desired(self) -> DesiredState:
        files = {"xray": self.run / "xray.json"}
        specs = {
            name: ProcessSpec(name, (name,), inputs=b"settings", input_file=files.get(name))
            for name in NAMES
        }
        bridge = SimpleNamespace(name="ovsbr0")
        return cast("DesiredState", SimpleNamespace(processes=specs, bridge=bridge))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node(tmp_path / "run", tmp_path / "wireguard")
    monkeypatch.setattr(places, "UAPI_DIR", node.uapi)
    monkeypatch.setattr(processes, "age_s", lambda _: 60.0)
    for name, path in {
        "db": node.run / "ovs" / "db.sock",
        "ctl": node.run / "ovs" / "ovs-vswitchd.ctl",
        "mgmt": node.run / "ovs" / "ovsbr0.mgmt",
        "uapi": node.uapi / "wgcf.sock",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
        node.sockets[name] = path
    return node


def reachable(node: Node, *, has_bridge: bool = True) -> set[str]:
    return {
        name
        for name in NAMES
        if places.is_reachable(Process(name, 1, ""), node.machine, "ovsbr0", lambda: has_bridge)
    }


@pytest.mark.parametrize(
    ("gone", "lost"),
    [
        (None, set()),
        ("db", {"ovsdb-server"}),
        ("ctl", {"ovs-vswitchd"}),
        ("mgmt", {"ovs-vswitchd"}),
        ("uapi", {"wgcf"}),
    ],
)
def test_a_process_without_its_socket_cannot_be_reached(
    node: Node, gone: str | None, lost: set[str]
) -> None:
    if gone is not None:
        node.sockets[gone].unlink()
    assert reachable(node) == set(NAMES) - lost


def test_a_file_in_the_place_of_a_socket_is_none(node: Node) -> None:
    node.sockets["db"].unlink()
    node.sockets["db"].touch()
    assert "ovsdb-server" not in reachable(node)


def test_the_switch_has_no_socket_for_a_bridge_that_is_not_there(node: Node) -> None:
    node.sockets["mgmt"].unlink()
    assert reachable(node, has_bridge=False) == set(NAMES)


def test_who_has_just_been_started_is_given_time(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(node.run)
    monkeypatch.setattr(processes, "age_s", lambda _: 0.1)
    assert reachable(node) == set(NAMES)


# --- the watch ----------------------------------------------------------------------------------


@dataclass
class Watching:
    told: asyncio.Event
    task: asyncio.Task[None]


@pytest.fixture
async def watching(node: Node) -> AsyncIterator[Watching]:
    told = asyncio.Event()
    work = places.watch(node.machine, node.desired, told.set)
    task = asyncio.create_task(work)
    await until(lambda: (node.run / "xray.json").exists())  # written once it listens
    yield Watching(told, task)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("name", ["db", "ctl", "mgmt", "uapi"])
async def test_a_socket_that_goes_is_told(node: Node, watching: Watching, name: str) -> None:
    node.sockets[name].unlink()
    await asyncio.wait_for(watching.told.wait(), PATIENCE_S)


async def test_what_xray_was_started_with_is_written_again(node: Node, watching: Watching) -> None:
    path = node.run / "xray.json"
    path.unlink()
    await until(path.exists)
    assert path.read_bytes() == b"settings"
    assert path.stat().st_mode & 0o777 == 0o600


def _rename(directory: Path) -> None:
    directory.rename(directory.with_name("elsewhere"))


@pytest.mark.parametrize("take", [shutil.rmtree, _rename])
@pytest.mark.parametrize("what", ["run", "ovs", "uapi"])
async def test_a_directory_that_goes_ends_the_watch_and_the_next_one_makes_it(
    node: Node, watching: Watching, what: str, take: Callable[[Path], None]
) -> None:
    directory = {"run": node.run, "ovs": node.run / "ovs", "uapi": node.uapi}[what]
    take(directory)
    with pytest.raises(StorageError, match="was removed"):
        await asyncio.wait_for(watching.task, PATIENCE_S)
    again = asyncio.create_task(places.watch(node.machine, node.desired, lambda: None))
    await until(directory.is_dir)
    assert directory.stat().st_mode & 0o777 == (0o755 if what == "uapi" else 0o700)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_other_permissions_are_no_end(node: Node, watching: Watching) -> None:
    node.run.chmod(0o750)
    node.sockets["db"].unlink()
    await asyncio.wait_for(watching.told.wait(), PATIENCE_S)
    assert not watching.task.done()


def test_the_age_of_a_process_is_known() -> None:
    import os

    assert 0 < processes.age_s(Process("me", os.getpid(), "")) < 24 * 3600
    assert processes.age_s(Process("nobody", 2**22 + 1, "")) == 0
