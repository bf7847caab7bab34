"""The section `systemd`: what is accepted and kept in which form, and one sentence per mistake."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from privacy_router.config.models import Plugins
from privacy_router.config.plugins.systemd_properties import UnitProperties, as_ranges, of_ranges
from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Mode
from privacy_router.host.dbus import Bus
from privacy_router.plugins.systemd import SystemdPlugin
from privacy_router.plugins.systemd.properties import PROPERTIES
from privacy_router.plugins.target import Machine

if TYPE_CHECKING:
    from privacy_router.config.plugins.systemd import SystemdConfig

UNIT = "[Service]\nExecStart=/bin/true\n"
INSTALL = "[Install]\nWantedBy=multi-user.target\n"


def section(data: dict[str, Any]) -> SystemdConfig:
    parsed = Plugins.model_validate({"systemd": data}).systemd
    assert parsed is not None
    return parsed


def messages(data: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as got:
        section(data)
    return [(".".join(map(str, e["loc"])), e["msg"]) for e in got.value.errors()]


def declare(data: dict[str, Any]) -> Any:
    return SystemdPlugin(Machine(Bus(None))).declare(section(data))


def properties(**given: Any) -> dict[str, Any]:
    return UnitProperties.model_validate(given).declared()


@pytest.mark.parametrize(
    ("name", "written", "kept"),
    [
        ("MemoryMax", "512M", 512 * 1024**2),
        ("MemoryMax", 4096, 4096),
        ("MemoryMax", "1.5G", 3 * 512 * 1024**2),
        ("MemoryMax", "infinity", "infinity"),
        ("MemoryMin", 0, 0),
        ("CPUQuota", "50%", "50%"),
        ("AllowedCPUs", "3, 0-2 7", "0-3,7"),
        ("DeviceAllow", ["/dev/zero", "/dev/null rw"], ["/dev/null rw", "/dev/zero rwm"]),
        ("IPAddressDeny", ["any", "10.0.0.0/8"], ["0.0.0.0/0", "::/0"]),
        ("IPAddressAllow", ["10.1.2.3", "fd00::1/8"], ["10.1.2.3/32", "fd00::/8"]),
    ],
)
def test_values_are_kept_in_the_form_in_which_they_are_read(
    name: str, written: Any, kept: Any
) -> None:
    assert properties(**{name: written}) == {name: kept}


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("MemoryMax", "512X", "a size such as 512M"),
        ("MemoryMax", 0, "from 1 up"),
        ("MemoryMax", True, "a number of bytes"),
        ("MemoryMax", "10%", "a number of bytes"),
        ("MemoryMax", "99999999999E", "a number of bytes"),
        ("TasksMax", 0, "a number from 1 up, or infinity"),
        ("CPUWeight", 0, "a weight, 1 to 10000, or idle"),
        ("CPUQuota", "12.5%", "in whole percent"),
        ("AllowedCPUs", "3-1", "numbers and ranges"),
        ("AllowedCPUs", "0-9999", "numbers and ranges"),
        ("DevicePolicy", "open", "auto, closed or strict"),
        ("DeviceAllow", ["/etc/passwd r"], "a device"),
        ("IPAddressAllow", ["example.org"], "a list of addresses"),
        ("CPUAccounting", 1, "true or false"),
        ("Description", "two\nlines", "one line"),
    ],
)
def test_a_wrong_value_gets_one_sentence(name: str, wrong: Any, words: str) -> None:
    (found,) = messages({"units": {"a.service": {"properties": {name: wrong}}}})
    assert f"a.service.properties.{name}" in found[0]
    assert words in found[1]


@pytest.mark.parametrize(
    "name",
    [
        *("nginx", "nginx.conf", ".service", "@a.service", "../x.service", ".a.service"),
        *("a b.service", f"{'a' * 250}.service"),
    ],
)
def test_what_is_no_unit_is_refused(name: str) -> None:
    for data in ({"files": {name: {"content": UNIT}}}, {"units": {name: {"active": True}}}):
        assert [words[:18] for _, words in messages(data)] == ["the name of a unit"]


@pytest.mark.parametrize(
    "name", ["a.service", "a.service/x", "a.service/.conf", "a.service/../x.conf", "x/y.conf"]
)
def test_what_is_no_drop_in_is_refused(name: str) -> None:
    assert "10-limits.conf" in messages({"drop_ins": {name: {"content": UNIT}}})[0][1]


@pytest.mark.parametrize("name", ["-.slice", "getty@tty1.service", r"dev-a\x2db.swap", "a:b.timer"])
def test_names_of_units_are_accepted(name: str) -> None:
    assert name in section({"units": {name: {"enabled": False}}}).units


def test_a_unit_file_has_to_look_like_one() -> None:
    for text in ("", "ExecStart=/bin/true", "[Service\n", "[Service]\0"):
        (found,) = messages({"files": {"a.service": {"content": text}}})
        assert "with a section such as [Service]" in found[1]
    assert section({"files": {"a.service": {"content": None}}})


def test_contradictions_and_empty_units_are_told() -> None:
    units = {"a.service": {"masked": True, "active": True}, "b.service": {}}
    assert [words for _, words in messages({"units": units})] == [
        "masked false where active or enabled is true: it rules both out",
        "at least one of active, enabled, masked, properties",
    ]


def test_the_section_and_the_table_have_the_same_properties() -> None:
    assert PROPERTIES.keys() == UnitProperties.model_fields.keys()


@given(st.sets(st.integers(0, 300)))
def test_ranges_can_be_read_again(numbers: set[int]) -> None:
    assert of_ranges(as_ranges(numbers)) == sorted(numbers)


# --- from the section to resources ---------------------------------------------------------------


def test_no_section_asks_for_nothing() -> None:
    assert SystemdPlugin(Machine(Bus(None))).declare(None).resources == {}


def test_resources_carry_their_mode_and_name_who_is_spared() -> None:
    unit = {"active": True, "properties": {"TasksMax": 5}, "mode": "observe-only"}
    desired = declare(
        {"units": {"a.service": unit, "b.service": {"active": True, "restart_on_change": False}}}
    )
    found = {(key.kind, key.name): wanted for key, wanted in desired.resources.items()}
    assert found["unit", "a.service"].value == {"active": True}
    assert found["property", "a.service/TasksMax"].value == {"value": 5, "stored": "persistent"}
    assert found["property", "a.service/TasksMax"].mode is Mode.OBSERVE_ONLY
    assert found["unit", "b.service"].mode is Mode.ENFORCE
    assert desired.payload == {"b.service"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"units": {"op-dbus.service": {"active": False}}}, "op-dbus's own"),
        ({"units": {"privacy-router-xray.service": {"masked": True}}}, "op-dbus's own"),
        ({"units": {"privacy-router.slice": {"properties": {"TasksMax": 1}}}}, "op-dbus's own"),
        ({"files": {"privacy-router-x@.service": {"content": UNIT}}}, "op-dbus's own"),
        ({"drop_ins": {"op-dbus.service/a.conf": {"content": UNIT}}}, "op-dbus's own"),
        ({"drop_ins": {"privacy-.service/a.conf": {"content": UNIT}}}, "op-dbus's own"),
        ({"drop_ins": {"op-.service/a.conf": {"content": UNIT}}}, "op-dbus's own"),
        ({"units": {"dbus.service": {"active": False}}}, "op-dbus works by it"),
        ({"units": {"dbus.socket": {"masked": True}}}, "op-dbus works by it"),
        (
            {
                "drop_ins": {"dbus.service/a.conf": {"content": UNIT}},
                "units": {"dbus.service": {"active": True}},
            },
            "set restart_on_change to false",
        ),
        ({"units": {"a@.service": {"active": True}}}, "an instance such as a@one.service"),
        ({"units": {"a@.service": {"properties": {"TasksMax": 1}}}}, "no properties"),
        ({"units": {"dev-sda.device": {"active": True}}}, "comes and goes"),
        ({"units": {"session-1.scope": {"active": False}}}, "comes and goes"),
        ({"files": {"a.scope": {"content": UNIT}}}, "has no files"),
        ({"units": {"a.timer": {"properties": {"MemoryMax": 1}}}}, "a timer has no MemoryMax"),
        (
            {"files": {"a.service": {"content": UNIT}}, "units": {"a.service": {"masked": True}}},
            "cannot be masked",
        ),
        (
            {"files": {"a.service": {"content": UNIT}}, "units": {"a.service": {"enabled": True}}},
            "no [Install] section",
        ),
        (
            {
                "files": {"a.service": {"content": UNIT + "Type=oneshot\n"}},
                "units": {"a.service": {"active": True}},
            },
            "add RemainAfterExit=yes",
        ),
    ],
)
def test_what_can_never_be_is_refused(data: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(words)) as got:
        declare(data)
    assert got.value.remedy


@pytest.mark.parametrize(
    "data",
    [
        {"units": {"privacy.service": {"active": True}}},
        {"drop_ins": {"private-.service/a.conf": {"content": UNIT}}},
        {"units": {"dbus.service": {"active": True}}},
        {
            "drop_ins": {"dbus.service/a.conf": {"content": UNIT}},
            "units": {"dbus.service": {"active": True, "restart_on_change": False}},
        },
        {"units": {"a@.service": {"enabled": True}}},
        {"units": {"a.timer": {"properties": {"Description": "x"}}}},
        {"units": {"session-1.scope": {"properties": {"TasksMax": 9}}}},
        {
            "files": {"a.service": {"content": UNIT + "Type=oneshot\n"}},
            "drop_ins": {
                "a.service/1.conf": {"content": f"[Service]\nRemainAfterExit=on\n{INSTALL}"}
            },
            "units": {"a.service": {"active": True, "enabled": True}},
        },
    ],
)
def test_what_may_be_is_not_refused(data: dict[str, Any]) -> None:
    assert declare(data).resources


def test_every_mistake_is_told_at_once() -> None:
    units = {"op-dbus.service": {"active": True}, "a@.service": {"active": True}}
    with pytest.raises(RefusedError, match=r"op-dbus\.service .*; a@\.service: "):
        declare({"units": units})
