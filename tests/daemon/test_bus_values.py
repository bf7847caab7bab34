"""Values on the bus: every JSON value has a type, and comes back as it was."""

from __future__ import annotations

from typing import Any

from dbus_fast import Message
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.daemon.bus.values import changed, resources, variant
from privacy_router.engine.errors import not_as_asked
from privacy_router.engine.model import Change, Mode, Observed, ResourceKey
from privacy_router.host.dbus import unwrapped

KEY = ResourceKey("net", "route", "default")
SCALARS = st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text("abc é") | st.floats(-1e9, 1e9)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("xyz"), inner)
)


@given(VALUES)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    message = Message(path="/a", interface="a.b", member="c", signature="v", body=[variant(value)])
    assert message._marshall(False)
    assert unwrapped(variant(value)) == value


def test_what_is_not_there_is_left_out() -> None:
    assert unwrapped(variant({"a": None, "b": [1, None]})) == {"b": [1]}
    ((*_, details),) = changed([Change(KEY, None, {"via": "x"}, Mode.OBSERVE_ONLY)])
    assert unwrapped(details) == {"after": {"via": "x"}, "mode": "observe-only"}
    ((*_, details),) = changed([Change(KEY, "old", None, by="privacy_router")])
    assert unwrapped(details) == {"before": "old", "mode": "enforce", "by": "privacy_router"}


def test_resources_are_in_order() -> None:
    rows = resources(Observed({ResourceKey("b", "k", "n"): 1, ResourceKey("a", "k", "n"): 2}))
    assert [row[0] for row in rows] == ["a", "b"]


def test_the_content_of_a_private_file_is_on_no_bus() -> None:
    key = ResourceKey("systemd", "drop-in", "a.service/secret.conf")
    private = {"content": "PASSWORD=hunter2", "link": None, "mode": "0600", "owner": "0:0"}
    rows = changed([Change(key, private, None)])
    assert "hunter2" not in repr(unwrapped(rows[0][4]["before"]))
    ((*_, value),) = resources(Observed({key: private}))
    assert "hunter2" not in repr(unwrapped(value))
    assert unwrapped(value)["mode"] == "0600"


def test_nor_in_an_error() -> None:
    key = ResourceKey("systemd", "drop-in", "a.service/secret.conf")
    private = {"content": "PASSWORD=hunter2", "link": None, "mode": "0600", "owner": "0:0"}
    assert "hunter2" not in not_as_asked([Change(key, private, None)], "stays").message
