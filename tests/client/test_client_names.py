"""Names on the bus: paths that cannot collide, and which bus."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.client.names import (
    bus_address,
    client_path,
    escaped,
    may_be_there,
    name_in,
)

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"


@pytest.mark.parametrize(
    ("label", "element"),
    [
        ("phone", "phone"),
        ("my-phone.2", "my_2dphone_2e2"),
        ("2nd", "_32nd"),
        ("a_b", "a_5fb"),
        ("ä", "_c3_a4"),
        ("", "_"),
    ],
)
def test_labels_are_escaped_as_systemd_does(label: str, element: str) -> None:
    assert escaped(label) == element


@given(st.text(max_size=20), st.text(max_size=20))
def test_every_label_has_an_element_of_its_own(one: str, other: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_]+", escaped(one))
    assert (escaped(one) == escaped(other)) == (one == other)


def test_a_clients_object_is_below_the_root() -> None:
    assert client_path("anna's") == "/org/opdbus/client/anna_27s"


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, SYSTEM_BUS),
        ({"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/a"}, "unix:path=/a"),
        ({"PRIVACY_ROUTER_BUS": "unix:path=/b", "DBUS_SYSTEM_BUS_ADDRESS": "x"}, "unix:path=/b"),
        ({"PRIVACY_ROUTER_BUS": "none", "DBUS_SYSTEM_BUS_ADDRESS": "x"}, None),
        ({"PRIVACY_ROUTER_BUS": ""}, SYSTEM_BUS),
    ],
    ids=["usual", "elsewhere", "ours wins", "none", "empty"],
)
def test_the_environment_says_which_bus(environment: dict[str, str], address: str | None) -> None:
    assert bus_address(environment) == address


def test_a_socket_that_is_not_there_is_not_called(tmp_path: Path) -> None:
    missing = f"unix:path={tmp_path / 'bus'}"
    assert not may_be_there(missing)
    assert may_be_there("unix:abstract=somewhere")
    assert may_be_there(f"{missing};tcp:host=localhost,port=1")


@given(st.text())
def test_a_path_tells_its_name(label: str) -> None:
    assert name_in(f"/org/opdbus/client/{escaped(label)}") == label
