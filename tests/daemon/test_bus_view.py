"""What is shown on the bus is read seldom, and telling it never hurts the controller."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from privacy_router.client.errors import NoNodeError
from privacy_router.client.status import FileNote, FileState
from privacy_router.daemon.bus.view import Audience, View
from privacy_router.errors import StorageError
from privacy_router.values.items import Change, Present
from privacy_router.values.network import NamespaceKey

CHANGE = Change(NamespaceKey("pr-warp"), None, Present())


class Broken:
    """A bus that nothing can be told to."""

    def refreshed(self) -> None:
        raise ConnectionError

    def drifted(self, plugin: str, changes: Any, repaired: bool) -> None:
        raise ConnectionError(plugin, changes, repaired)

    def port(self, name: str, there: bool) -> None:
        raise ConnectionError(name, there)


class Health:
    """A chain that may be proven, and what was asked of it."""

    def __init__(self) -> None:
        self.is_proven = True
        self.asked = 0
        self.on_change: Any = None

    async def prove(self, patience_s: float) -> None:
        self.asked += 1


class Counting(View):
    """Counts how often the machine is read."""

    controller: Any
    flows: Any
    listener: Any
    reads = 0
    fails = False

    async def reread(self) -> None:
        """Wait for the reading that something has begun."""
        assert self._reading is not None
        await asyncio.wait_for(self._reading, 30)

    def _look(self, controller: Any, changes: list[Change]) -> None:
        self.reads += 1
        self.pending = changes
        if self.fails:
            raise StorageError("the register of clients is damaged")


async def nothing(caller_pid: int | None) -> None:
    assert caller_pid is None


@pytest.fixture
async def view() -> Counting:
    flows = SimpleNamespace(on_repaired=None, on_port=None)
    engine: Any = SimpleNamespace(plugins={}, journal=None, trouble="", troubles={})
    plugin: Any = SimpleNamespace(trouble="")
    file: Any = SimpleNamespace(note=None)
    made = Counting(engine, plugin, file, nothing)
    made.controller = SimpleNamespace(
        trouble="", on_pass=None, flows=flows, health=Health(), complaints=list
    )
    made.follow()
    return made


async def test_many_readers_cost_one_reading(view: Counting) -> None:
    assert view.state == "starting"
    await asyncio.gather(*(view.fresh() for _ in range(20)))
    await view.fresh()
    assert (view.state, view.reads) == ("up", 1)


async def test_a_pass_of_the_controller_has_it_read_again(view: Counting) -> None:
    await view.fresh()
    view.controller.on_pass([])
    await view.reread()
    assert view.reads == 2


async def test_without_a_node_there_is_none_to_ask(view: Counting) -> None:
    view.hops = {"gateway": SimpleNamespace(state="up")}  # type: ignore[dict-item]
    view.attach(None)
    await view.fresh()
    assert (view.state, view.hops, view.reads) == ("idle", {}, 0)
    with pytest.raises(NoNodeError, match="no node is up"):
        _ = view.flows


async def test_what_was_repaired_is_remembered(view: Counting) -> None:
    view.flows.on_repaired([CHANGE])
    await view.fresh()
    assert view.last_repair[0] > 0
    assert view.last_repair[1] == [CHANGE]


async def test_what_cannot_be_read_keeps_the_old(view: Counting) -> None:
    view.fails = True
    await view.fresh()
    assert (view.state, view.reads) == ("up", 1)


async def test_a_bus_that_fails_does_not_hurt_the_controller(view: Counting) -> None:
    view.show_to(Audience(cast("Any", Broken()), cast("Any", None), cast("Any", None)))
    view.flows.on_port("internal_200", True)
    view.controller.on_pass([CHANGE])
    await view.fresh()
    assert view.reads == 1


async def test_what_passes_decides_about_up(view: Counting) -> None:
    await view.fresh()
    assert view.state == "up"
    view.controller.health.is_proven = False
    assert view.state == "quiet"
    view.hops = {"xray": SimpleNamespace(state="down")}  # type: ignore[dict-item]
    assert view.state == "degraded"
    assert view.controller.health.asked == 1, "a caller wants to know"


async def test_a_watch_that_ended_is_a_trouble(view: Counting) -> None:
    await view.fresh()
    view.controller.complaints = lambda: ["the watch of the bridge ended: odd"]
    assert view.state == "degraded"
    assert view.trouble == "the watch of the bridge ended: odd"


async def test_a_hop_that_stops_passing_is_told(view: Counting) -> None:
    await view.fresh()
    view.show_to(Audience(cast("Any", Broken()), cast("Any", None), cast("Any", None)))
    view.controller.health.on_change()
    await view.reread()
    assert view.reads == 2


async def test_a_file_that_waits_to_be_applied_is_a_trouble(view: Counting) -> None:
    note = FileNote("/etc/c.json", FileState.WAITING, 1.0, "no way there", next_s=6.0)
    view.controller = None
    assert (view.state, view.trouble) == ("idle", "")
    view.file.note = note
    assert (view.state, view.trouble) == ("degraded", note.words)
    view.file.note = FileNote("/etc/c.json", FileState.OVERRULED, 1.0)
    assert (view.state, view.trouble) == ("idle", "")
