"""Taking down goes on past what fails, tunnels first, and says at the end what is left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, cast

import pytest

from privacy_router.errors import ExitCode, PrivacyRouterError, StorageError
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.host import namespaces, nftables, processes
from privacy_router.host.processes import Process
from privacy_router.node import ownership, teardown
from privacy_router.node.paths import NodePaths
from privacy_router.node.teardown import LeftoverError, together

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.node.machine import NodeHost


FOUND = [
    Process("ovsdb-server", 1, ""),
    Process("ovs-vswitchd", 2, ""),
    Process("xray", 3, ""),
    Process("wgcf", 4, ""),
]
STEPS = [
    "stop xray",
    "stop wgcf",
    "tunnels of pr-warp",
    "look for bridges",
    "delete ovsbr0",
    "stop ovs-vswitchd",
    "stop ovsdb-server",
    "delete pr-warp",
    "settings",
    "delete privacy_router",
    "delete privacy_router_guard_1",
    "files",
    "forget pr-warp",
    "directories",
]


class FakeMachine:
    """Notes each step, and trips over those that it is told to."""

    def __init__(self, run: Path) -> None:
        self.paths = NodePaths(state=run / "state", run=run)
        self.owner = "owner"
        self.borrowed = self
        self.facts = self
        self.private_ovs = True
        self.own = True
        self.hops = SimpleNamespace(namespaces=("pr-warp",), tunnels=("wgcf",))
        self.done: list[str] = []
        self.trips: dict[str, Exception] = {}

    def do(self, step: str) -> None:
        self.done.append(step)
        if step in self.trips:
            raise self.trips[step]

    def bridges(self, _: object) -> list[str]:
        self.do("look for bridges")
        return []

    def give_back(self) -> None:
        self.do("settings")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    fake = FakeMachine(tmp_path)

    def put(name: str, call: Any) -> None:
        monkeypatch.setattr(teardown, name, call)

    class Link:
        def __init__(self, path: Path) -> None:
            fake.do(f"tunnels of {path.name}")

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing to close."""

        def delete_link(self, name: str) -> None:
            """There is none."""

    put("Netlink", Link)
    put("_our_bridges", fake.bridges)
    put("_delete_bridge", lambda _, name: fake.do(f"delete {name}"))
    put("_clear_files", lambda _: fake.do("files"))
    put("_remove_empty_directories", lambda: fake.do("directories"))
    monkeypatch.setattr(processes, "running", lambda _: FOUND)
    monkeypatch.setattr(processes, "stop", lambda one: fake.do(f"stop {one.name}"))
    monkeypatch.setattr(processes, "is_ended", lambda _: True)
    monkeypatch.setattr(ownership, "is_own_namespace", lambda *_: fake.own)
    monkeypatch.setattr(namespaces, "remove_leftovers", lambda name: fake.do(f"forget {name}"))
    monkeypatch.setattr(namespaces, "delete", lambda name: fake.do(f"delete {name}"))
    monkeypatch.setattr(nftables, "read", lambda *_: [{"chain": {}}])
    monkeypatch.setattr(nftables, "delete", lambda _, name: fake.do(f"delete {name}"))
    monkeypatch.setattr(nftables, "tables", lambda *_: ["privacy_router_guard_1"])
    return fake


def down(machine: FakeMachine) -> None:
    teardown.tear_down(cast("NodeHost", machine), "ovsbr0")


def test_all_steps_are_taken_tunnels_first(machine: FakeMachine) -> None:
    down(machine)
    assert machine.done == STEPS


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "error",
    [
        PrivacyRouterError("refused", remedy="do it by hand"),
        OSError(5, "broken"),
        AttributeError("odd"),
    ],
)
def test_no_step_that_fails_holds_up_the_others(
    machine: FakeMachine, step: str, error: Exception
) -> None:
    machine.trips[step] = error
    with pytest.raises(LeftoverError, match=str(error.args[-1])) as left:
        down(machine)
    # the table that says what may be forwarded stays while the host still forwards
    behind = {"delete privacy_router"} if step == "settings" else set()
    assert machine.done == [one for one in STEPS if one not in behind]
    assert left.value.exit_code != ExitCode.OK
    assert left.value.remedy.endswith("privacy-router down, again")
    assert getattr(error, "remedy", "") in left.value.remedy


def test_what_is_not_the_nodes_stays(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace of another program's, and the directories that hold such, though empty now."""
    machine.own = False
    monkeypatch.setattr(processes, "running", lambda _: [])
    down(machine)
    assert not {"tunnels of pr-warp", "delete pr-warp", "directories"} & set(machine.done)


def test_files_of_others_in_the_run_directory_stay(tmp_path: Path) -> None:
    """The run directory may be a directory of others too: /run itself, for example."""
    paths = NodePaths(state=tmp_path / "state", run=tmp_path)
    ours = ("endpoints.json", ".health.json.0123456789abcdef", "log/xray.log", "made/flows.json")
    others = ("controller.lock", "utmp", "log/journal/system.journal")
    for name in (*ours, *others, "ovs/conf.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    machine = SimpleNamespace(paths=paths, hops=CATALOGUE)
    teardown._clear_files(cast("NodeHost", machine))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(others)
    assert not (tmp_path / "ovs").exists()
    assert not (tmp_path / "made").exists()


def test_everything_that_is_left_is_in_one_error(machine: FakeMachine) -> None:
    machine.trips = {step: OSError(5, f"no {step}") for step in STEPS}
    with pytest.raises(LeftoverError) as left:
        down(machine)
    tried = [step for step in STEPS if step != "delete privacy_router"]
    assert all(f"no {step}" in left.value.message for step in tried)


def test_a_process_that_does_not_end_is_left(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "is_ended", lambda one: one.name != "xray")
    with pytest.raises(LeftoverError, match=r"the process xray \(process 3 does not end\)"):
        down(machine)


def test_several_failures_are_one_with_the_exit_code_of_the_first() -> None:
    first, second = StorageError("full", remedy="make room"), PrivacyRouterError("stuck")
    assert together([first]) is first
    both = together([first, second])
    assert (both.message, both.remedy) == ("full; stuck", "make room")
    assert both.exit_code == ExitCode.STORAGE
