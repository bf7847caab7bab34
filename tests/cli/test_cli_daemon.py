"""What op-dbus answers, as commands pass it on."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from privacy_router.cli import daemon, machine
from privacy_router.cli.resource_view import Row, words
from privacy_router.daemon.bus.naming import DENIED, error_name
from privacy_router.engine import errors
from privacy_router.errors import ExitCode, MissingPrerequisiteError, PrivacyRouterError
from privacy_router.host.dbus import BusGoneError, DBusCallError, Signal

NAMED = [
    one
    for one in vars(errors).values()
    if inspect.isclass(one) and issubclass(one, PrivacyRouterError)
]


@pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)
def test_an_error_has_the_same_exit_code_over_the_bus(kind: type[PrivacyRouterError]) -> None:
    error = kind("it went wrong", remedy="mend it")
    passed_on = daemon.DaemonError(
        DBusCallError(error_name(error), "it went wrong\nremedy: mend it")
    )
    assert passed_on.exit_code == error.exit_code
    assert (passed_on.message, passed_on.remedy) == ("it went wrong", "mend it")


def test_who_may_not_is_told_with_the_code_for_it() -> None:
    denied = daemon.DaemonError(DBusCallError(DENIED, "it is for administrators"))
    assert denied.exit_code == ExitCode.NOT_PRIVILEGED


@pytest.mark.parametrize(
    "error",
    [
        BusGoneError("no bus"),
        DBusCallError("org.freedesktop.DBus.Error.ServiceUnknown", "nobody has the name"),
    ],
    ids=["no-bus", "no-daemon"],
)
def test_without_a_daemon_the_remedy_is_to_start_one(error: DBusCallError) -> None:
    found = daemon._named(error)
    assert isinstance(found, MissingPrerequisiteError)
    assert "systemctl start op-dbus" in found.remedy


def test_without_a_bus_there_is_no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("none", "unix:path=/nowhere"):
        monkeypatch.setenv("PRIVACY_ROUTER_BUS", address)
        assert not daemon.is_there()
        assert not daemon.is_supervised()


def test_a_row_is_the_same_from_either_side() -> None:
    row = Row.from_bus(("change", "net", "mtu", "eth0", {"before": 1, "after": 2, "mode": "m"}))
    assert row == Row("change", "net", "mtu", "eth0", 1, 2, "m", "")
    assert row.as_dict()["after"] == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "nothing"), ("text", "text"), ({"a": 1}, '{"a": 1}'), (True, "true")],
)
def test_values_in_words(value: object, shown: str) -> None:
    assert words(value) == shown


def test_the_monitor_says_what_was_put_right_in_words() -> None:
    one = Signal(
        "/org/opdbus",
        "org.opdbus.Manager",
        "Repaired",
        (
            [
                ("change", "route", "a"),
            ],
        ),
    )
    assert machine._words(one) == "put right: change route a"
    rows = [("add", "flow", f"f{number}") for number in range(300)]
    many = Signal("/org/opdbus", "org.opdbus.Manager", "Repaired", (rows,))
    assert machine._words(many) == (
        "put right: add flow f0, add flow f1, add flow f2, add flow f3 and 296 more"
    )
    drifted: list[Any] = [("add", "net", "address", f"a{number}", {}) for number in range(6)]
    drift = Signal("/org/opdbus", "org.opdbus.Manager", "Drift", ("net", drifted, True))
    assert machine._words(drift).endswith("add address a3 and 2 more: put right")
