"""The interfaces as clients see them: signatures, and that the policy knows every method."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dbus_fast import DBusError
from dbus_fast.service import ServiceInterface

from privacy_router.daemon.bus.flows import OpenFlow
from privacy_router.daemon.bus.manager import Manager
from privacy_router.daemon.bus.objects import Client, Hop
from privacy_router.daemon.bus.plugin import Plugin
from privacy_router.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dbus_fast.introspection import Interface

POLICY = Path(__file__).parents[2] / "packaging" / "dbus" / "org.opdbus.conf"
CHANGING = {
    *("Apply", "Confirm", "Rollback", "Reload", "Repair", "Probe"),
    *("MakeCheckpoint", "ShowCheckpoint", "RestoreCheckpoint"),
    *("DropCheckpoint", "PruneCheckpoints"),
    *("AddClient", "RemoveClient"),
    *("Restore", "Add", "Delete"),
}


def described(kind: type[Manager | OpenFlow | Plugin]) -> Interface:
    interface: Any = kind.__new__(kind)
    interface.readings = {}
    ServiceInterface.__init__(interface, f"org.opdbus.{kind.__name__}")
    return ServiceInterface.introspect(interface)


def signatures(found: Interface) -> dict[str, tuple[str, str]]:
    return {
        method.name: (
            "".join(str(arg.signature) for arg in method.in_args),
            "".join(str(arg.signature) for arg in method.out_args),
        )
        for method in found.methods
    }


def test_the_manager_has_these_methods() -> None:
    assert signatures(described(Manager)) == {
        "AddClient": ("s", "(ssssssdtt)ss"),
        "Apply": ("ssd", "ua(ssssa{sv})"),
        "Confirm": ("", "u"),
        "Describe": ("", "a{sv}"),
        "DiffCheckpoint": ("s", "a(ssssa{sv})"),
        "DropCheckpoint": ("s", ""),
        "ListCheckpoints": ("", "a(sdbu)"),
        "ListClients": ("", "a(ssssssdtt)s"),
        "ListRuns": ("", "a(udssa(ssssa{sv}))"),
        "MakeCheckpoint": ("s", ""),
        "Plan": ("ss", "a(ssssa{sv})"),
        "Probe": ("", "sa{sd}"),
        "PruneCheckpoints": ("u", "u"),
        "Query": ("s", "a(sssv)"),
        "Reload": ("", ""),
        "RemoveClient": ("s", "(ssssssdtt)"),
        "Repair": ("", "a(ssss)"),
        "RestoreCheckpoint": ("sd", "ua(ssssa{sv})"),
        "Rollback": ("", "u"),
        "ShowCheckpoint": ("s", "sa(sssv)"),
        "ShowClient": ("s", "(ssssssdtt)"),
        "Status": ("", "a{sv}"),
    }


def test_a_plugin_has_these_methods() -> None:
    assert signatures(described(Plugin)) == {
        "Plan": ("", "a(ssssa{sv})"),
        "Query": ("", "a(sssv)"),
    }


def test_the_flows_have_these_methods() -> None:
    assert signatures(described(OpenFlow)) == {
        "Add": ("qa{ss}ass", "a(ssss)"),
        "Added": ("", "a(qa{ss}ass)"),
        "Delete": ("qa{ss}", "a(ssss)"),
        "Counters": ("", "a{st}"),
        "Diff": ("", "a(ssss)"),
        "Dump": ("", "a(sqttssss)"),
        "Explain": ("s", "as"),
        "Ports": ("", "a(sus)"),
        "Restore": ("", "a(ssss)"),
        "Tables": ("", "a(uss)"),
        "Trace": ("sb", "sasas"),
        "TraceTracked": ("sasb", "sasas"),
    }


@pytest.mark.parametrize("kind", [Manager, Plugin, Hop, Client], ids=lambda kind: kind.__name__)
def test_no_property_can_be_written(kind: type[Manager | Plugin | Hop | Client]) -> None:
    for name, reading in kind.readings.items():
        found = getattr(kind, name)
        assert (found.signature, found.access.value) == (reading.signature, "read")


def allowed(which: str) -> set[str]:
    tree = ET.parse(POLICY)  # noqa: S314
    rules = tree.findall(f"policy[@{which}]/allow")
    ours = [rule for rule in rules if rule.get("send_interface", "").startswith("org.opdbus.")]
    return {rule.attrib["send_member"] for rule in ours}


def methods() -> set[str]:
    return {name for kind in (Manager, OpenFlow, Plugin) for name in signatures(described(kind))}


def test_the_group_may_look_at_everything_and_change_nothing() -> None:
    assert allowed("group='privacy-router'") == methods() - CHANGING


def test_what_changes_gets_through_and_is_asked_of_polkit() -> None:
    assert allowed("context='default'") == CHANGING


class DeniedError(Exception):
    pass


@asynccontextmanager
async def admitted(*_: object, **__: object) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("name", sorted(CHANGING))
async def test_what_changes_is_refused_before_it_begins(name: str) -> None:
    async def require(_: object) -> None:
        raise DeniedError

    view = SimpleNamespace(require=require, admitted=admitted)
    kind = OpenFlow if name in signatures(described(OpenFlow)) else Manager
    interface = kind.__new__(kind)
    interface.view = view  # type: ignore[assignment]
    (method,) = (one for one in ServiceInterface._get_methods(_bare(kind)) if one.name == name)
    arguments = [None] * len(method.in_signature_tree.types)
    with pytest.raises(DBusError, match="failed"):
        await method.fn(interface, *arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("Apply", ["{}", "", 0.0]), ("RestoreCheckpoint", ["one", 0.0]), ("Reload", [])],
)
async def test_a_run_knows_the_process_that_called_for_it(
    name: str, arguments: list[object]
) -> None:
    known: list[object] = []

    async def run(*_: object, caller_pid: int) -> SimpleNamespace:
        known.append(caller_pid)
        return SimpleNamespace(number=1, changes=[])

    async def allowed_to(_: object) -> None:
        pass

    async def caller_pid() -> int:
        return 4711

    interface = _bare(Manager)
    interface.view = SimpleNamespace(
        require=allowed_to,
        admitted=admitted,
        caller_pid=caller_pid,
        engine=SimpleNamespace(apply=run),
        checkpoints=SimpleNamespace(restore=run),
        reload=lambda pid: run(caller_pid=pid),
        file=SimpleNamespace(overrule=lambda: None),
    )
    (method,) = (one for one in ServiceInterface._get_methods(interface) if one.name == name)
    await method.fn(interface, *arguments)
    assert known == [4711]


def _bare(kind: type[Manager | OpenFlow]) -> Any:
    interface: Any = kind.__new__(kind)
    interface.readings = {}
    ServiceInterface.__init__(interface, f"org.opdbus.{kind.__name__}")
    return interface


@pytest.mark.parametrize(
    ("error", "name", "text"),
    [
        (ConflictError("taken", remedy="wait"), "Conflict", "taken\nremedy: wait"),
        (PermissionError(13, "no", "/x"), "Failed", "[Errno 13] no: '/x'"),
        (KeyError("secret"), "Internal", "Diff failed; the controller's log says why"),
    ],
    ids=["ours", "the machine's", "nobody's"],
)
async def test_callers_get_errors_with_names(error: Exception, name: str, text: str) -> None:
    async def differences() -> None:
        raise error

    flows = SimpleNamespace(differences=differences)
    interface = OpenFlow(SimpleNamespace(flows=flows, admitted=admitted))  # type: ignore[arg-type]
    (diff,) = (one for one in ServiceInterface._get_methods(interface) if one.name == "Diff")
    with pytest.raises(DBusError) as caught:
        await diff.fn(interface)
    assert (caught.value.type, caught.value.text) == (f"org.opdbus.Error.{name}", text)
