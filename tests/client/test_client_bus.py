"""What op-dbus answers, as commands pass it on."""

from __future__ import annotations

import pytest

from privacy_router.cli import machine
from privacy_router.cli.resource_view import words
from privacy_router.client import bus
from privacy_router.client.rows import ChangeRow
from privacy_router.errors import MissingPrerequisiteError
from privacy_router.host.dbus import BusGoneError, DBusCallError, Signal


@pytest.mark.parametrize(
    "error",
    [
        BusGoneError("no bus"),
        DBusCallError("org.freedesktop.DBus.Error.ServiceUnknown", "nobody has the name"),
    ],
    ids=["no-bus", "no-daemon"],
)
def test_without_a_daemon_the_remedy_is_to_start_one(error: DBusCallError) -> None:
    found = bus._as_error(error)
    assert isinstance(found, MissingPrerequisiteError)
    assert "systemctl start op-dbus" in found.remedy


def test_without_a_bus_there_is_no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("none", "unix:path=/nowhere"):
        monkeypatch.setenv("PRIVACY_ROUTER_BUS", address)
        assert not bus.is_there()
        assert not bus.is_supervised()


def test_a_row_is_the_same_from_either_side() -> None:
    row = ChangeRow.from_bus(
        ("change", "net", "mtu", "eth0", {"before": 1, "after": 2, "mode": "m"})
    )
    assert row == ChangeRow("change", "net", "mtu", "eth0", 1, 2, "m", "")
    assert row.as_dict()["after"] == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "nothing"), ("text", "text"), ({"a": 1}, '{"a": 1}'), (True, "true")],
)
def test_values_in_words(value: object, shown: str) -> None:
    assert words(value) == shown


def test_the_monitor_says_what_was_put_right_in_words() -> None:
    value = {"match": "in_port=warp0", "actions": "drop", "reason": "", "origin": ""}
    name = "ovsbr0/008 00100 in_port=2"
    flow = ("add", "openflow", "flow", name, {"after": value, "mode": "apply"})
    one = Signal("/org/opdbus", "org.opdbus.Manager", "Drift", ("privacy_router", [flow], True))
    assert machine._words(one) == (
        "privacy_router: add flow ovsbr0/008 00100 in_port=warp0 → drop: put right"
    )
    drifted = [("add", "net", "address", f"a{number}", {"mode": "apply"}) for number in range(6)]
    drift = Signal("/org/opdbus", "org.opdbus.Manager", "Drift", ("net", drifted, True))
    assert machine._words(drift).endswith("add address a3 and 2 more: put right")
