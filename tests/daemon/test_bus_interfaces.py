"""The interfaces as clients see them: signatures, and that the policy knows every method."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from dbus_fast import DBusError
from dbus_fast.service import ServiceInterface

from privacy_router.daemon.bus.flows import OpenFlow
from privacy_router.daemon.bus.objects import Client, Hop, Manager
from privacy_router.errors import ConflictError

if TYPE_CHECKING:
    from dbus_fast.introspection import Interface

POLICY = Path(__file__).parents[2] / "packaging" / "dbus" / "org.opdbus.conf"
CHANGING = {"Reload", "Repair", "Restore", "Probe"}


def described(kind: type[Manager | OpenFlow]) -> Interface:
    interface = kind.__new__(kind)
    interface.readings = {}
    ServiceInterface.__init__(interface, f"org.opdbus.{kind.__name__}")
    return ServiceInterface.introspect(interface)


def signatures(found: Interface) -> dict[str, tuple[str, str]]:
    return {
        method.name: (
            "".join(arg.signature for arg in method.in_args),
            "".join(arg.signature for arg in method.out_args),
        )
        for method in found.methods
    }


def test_the_manager_has_these_methods() -> None:
    assert signatures(described(Manager)) == {
        "Plan": ("", "a(ssss)"),
        "Probe": ("", "sa{sd}"),
        "Reload": ("", ""),
        "Repair": ("", "a(ssss)"),
        "Status": ("", "a{sv}"),
    }


def test_the_flows_have_these_methods() -> None:
    assert signatures(described(OpenFlow)) == {
        "Counters": ("", "a{st}"),
        "Diff": ("", "a(ssss)"),
        "Dump": ("", "a(sqttssss)"),
        "Explain": ("s", "as"),
        "Ports": ("", "a(sus)"),
        "Restore": ("", "a(ssss)"),
        "Tables": ("", "a(uss)"),
        "Trace": ("sb", "sasas"),
    }


@pytest.mark.parametrize("kind", [Manager, Hop, Client], ids=lambda kind: kind.__name__)
def test_no_property_can_be_written(kind: type[Manager | Hop | Client]) -> None:
    for name, reading in kind.readings.items():
        found = getattr(kind, name)
        assert (found.signature, found.access.value) == (reading.signature, "read")


def group_may() -> set[str]:
    tree = ET.parse(POLICY)  # noqa: S314
    rules = tree.findall("policy[@group='privacy-router']/allow")
    ours = [rule for rule in rules if rule.get("send_interface", "").startswith("org.opdbus.")]
    return {rule.attrib["send_member"] for rule in ours}


def test_the_group_may_look_at_everything_and_change_nothing() -> None:
    methods = {**signatures(described(Manager)), **signatures(described(OpenFlow))}.keys()
    assert group_may() == methods - CHANGING


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

    flows = OpenFlow(SimpleNamespace(engine=SimpleNamespace(differences=differences)))  # type: ignore[arg-type]
    (diff,) = (one for one in ServiceInterface._get_methods(flows) if one.name == "Diff")
    with pytest.raises(DBusError) as caught:
        await diff.fn(flows)
    assert (caught.value.type, caught.value.text) == (f"org.opdbus.Error.{name}", text)
