"""What a member of the group may and may not do: one table, held against the code, the bus' policy
and what SECURITY.md and docs/dbus.md promise. A new method without a row fails."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dbus_fast import DBusError
from dbus_fast.service import ServiceInterface

from privacy_router.daemon.bus.callers import DOCUMENT_CHARS, TEXT_CHARS, Limits
from privacy_router.daemon.bus.flows import OpenFlow
from privacy_router.daemon.bus.manager import Manager
from privacy_router.daemon.bus.objects import Client, Hop
from privacy_router.daemon.bus.plugin import Plugin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
INTERFACES = (Manager, OpenFlow, Plugin, Hop, Client)

MEMBERS = None  # a member of the group may; polkit is not asked
RIGHTS: dict[str, str | None] = {
    "Manager.Plan": MEMBERS,
    "Manager.Query": MEMBERS,
    "Manager.ListRuns": MEMBERS,
    "Manager.ListCheckpoints": MEMBERS,
    "Manager.DiffCheckpoint": MEMBERS,
    "Manager.Status": MEMBERS,
    "Manager.Describe": MEMBERS,
    "Manager.ShowClient": MEMBERS,
    "Manager.ListClients": MEMBERS,
    "Manager.AddClient": "org.opdbus.apply",
    "Manager.RemoveClient": "org.opdbus.apply",
    "Manager.Apply": "org.opdbus.apply",
    "Manager.Reload": "org.opdbus.apply",
    "Manager.MakeCheckpoint": "org.opdbus.apply",
    "Manager.DropCheckpoint": "org.opdbus.apply",
    "Manager.PruneCheckpoints": "org.opdbus.apply",
    "Manager.Confirm": "org.opdbus.confirm",
    "Manager.Rollback": "org.opdbus.restore",
    "Manager.ShowCheckpoint": "org.opdbus.restore",
    "Manager.RestoreCheckpoint": "org.opdbus.restore",
    "Manager.Probe": "org.opdbus.flows",
    "Manager.Repair": "org.opdbus.flows",
    "OpenFlow.Dump": MEMBERS,
    "OpenFlow.Explain": MEMBERS,
    "OpenFlow.Trace": MEMBERS,
    "OpenFlow.TraceTracked": MEMBERS,
    "OpenFlow.Diff": MEMBERS,
    "OpenFlow.Counters": MEMBERS,
    "OpenFlow.Tables": MEMBERS,
    "OpenFlow.Ports": MEMBERS,
    "OpenFlow.Added": MEMBERS,
    "OpenFlow.Add": "org.opdbus.flows",
    "OpenFlow.Delete": "org.opdbus.flows",
    "OpenFlow.Restore": "org.opdbus.flows",
    "Plugin.Query": MEMBERS,
    "Plugin.Plan": MEMBERS,
}


def bare(kind: Any) -> Any:
    interface = kind.__new__(kind)
    interface.readings = {}
    ServiceInterface.__init__(interface, f"org.opdbus.{kind.__name__}")
    return interface


METHODS = {
    f"{kind.__name__}.{method.name}": (kind, method)
    for kind in INTERFACES
    for method in ServiceInterface._get_methods(bare(kind))
}


def test_every_method_has_a_row_and_every_row_a_method() -> None:
    assert METHODS.keys() == RIGHTS.keys()


@pytest.mark.parametrize("name", sorted(RIGHTS))
async def test_polkit_is_asked_for_what_is_not_for_members(name: str) -> None:
    asked: list[str] = []
    looking: list[bool] = []

    @asynccontextmanager
    async def admitted(_: object, __: int, *, looks: bool) -> AsyncIterator[None]:
        looking.append(looks)
        yield

    async def require(action: str) -> None:
        asked.append(action)
        raise DBusError("a.b.Denied", "no")

    kind, method = METHODS[name]
    interface = bare(kind)
    interface.view = SimpleNamespace(admitted=admitted, require=require)
    with suppress(DBusError):  # of what looks, since there is no node here
        await method.fn(interface, *([None] * len(method.in_signature_tree.types)))
    assert asked == ([] if RIGHTS[name] is MEMBERS else [RIGHTS[name]])
    assert looking == [RIGHTS[name] is MEMBERS]


def listed(text: str, heading: str) -> set[str]:
    """The methods that a paragraph names, as `Interface.Method`."""
    (paragraph,) = re.findall(rf"\*\*{heading}\*\*(.*?)(?=\n\n|\n\* \*\*|\Z)", text, re.DOTALL)
    return set(re.findall(r"`(\w+\.\w+)`", paragraph))


@pytest.mark.parametrize("document", ["SECURITY.md"])
def test_the_promise_names_all_of_them(document: str) -> None:
    text = (ROOT / document).read_text()
    assert listed(text, "May") == {name for name, right in RIGHTS.items() if right is MEMBERS}
    assert listed(text, "May not") == {name for name, right in RIGHTS.items() if right}


@pytest.mark.parametrize("document", ["SECURITY.md", "docs/dbus.md"])
def test_the_limits_are_those_that_are_promised(document: str) -> None:
    text, limits = " ".join((ROOT / document).read_text().split()), Limits()
    for promised in (
        f"{limits.at_once} calls at once",
        f"{limits.call_s:g} seconds",
        f"{TEXT_CHARS} characters",
        f"{DOCUMENT_CHARS} characters",
        f"{limits.per_second:g} messages a second",
    ):
        assert promised in text, promised


def test_no_property_can_be_written() -> None:
    for kind in INTERFACES:
        for name in kind.readings:
            assert getattr(kind, name).access.value == "read"
