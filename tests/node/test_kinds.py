"""What holds of every kind of item: a file, a key, a value, a place in the order, an end."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.node import kinds
from privacy_router.node.kinds.contract import Down, NodeKind, PlacedKind, Role
from privacy_router.node.kinds.registry import KINDS
from privacy_router.node.teardown import TAKEN
from privacy_router.pipeline.flow import MeterKey
from privacy_router.values.bridges import BridgeKey, BridgeSettingKey, PortSettingKey, SwitchSetting
from privacy_router.values.items import HOST, NODE, Change, ItemValue, Key, Kind, Present
from privacy_router.values.network import (
    AddressKey,
    DeviceKey,
    NamespaceKey,
    NeighbourKey,
    Route,
    RouteKey,
    Rule,
    RuleKey,
)
from privacy_router.values.processes import ProcessKey, ProcessState
from privacy_router.values.rulesets import FirewallKey, TableRole
from privacy_router.values.sysctls import DeviceSettingKey, SettingKey, SettingValue, Sysctl

if TYPE_CHECKING:
    from privacy_router.node.kinds.session import Session

KEPT = {kind for kind in Kind if kind < Kind.METER}
ALL: Any = [*KINDS.of_node, *KINDS.placed]


def test_every_kind_that_is_no_flow_is_kept_once() -> None:
    assert len(ALL) == len(KEPT)
    assert KINDS.by_kind.keys() == KEPT
    assert KINDS.domains.keys() == set(Kind)


@pytest.mark.parametrize("kind", KEPT, ids=lambda kind: kind.name)
def test_every_kind_has_a_file_of_its_own(kind: Kind) -> None:
    assert (Path(kinds.__path__[0]) / f"{kind.name.lower()}.py").is_file()


def test_what_guards_comes_into_being_before_what_opens() -> None:
    guards = [one.kind for one in ALL if one.role is Role.GUARDS]
    opens = [one.kind for one in ALL if one.role is Role.OPENS]
    assert max(guards) < min(opens)
    assert {Kind.NAMESPACE, Kind.SETTING, Kind.FIREWALL, Kind.RULE} == set(guards)


def test_every_kind_goes_when_the_node_is_taken_down() -> None:
    assert {one.kind for one in ALL if one.down is Down.TAKEN} == TAKEN
    assert {Kind.NAMESPACE, Kind.BRIDGE} <= TAKEN


def classes_below(base: type[Any]) -> list[type[Any]]:
    """The program's classes, not the tests', that nothing is derived from."""
    below = [one for one in base.__subclasses__() if one.__module__.startswith("privacy_router.")]
    return [last for one in below for last in (classes_below(one) or [one])]


def test_every_key_is_one_of_its_kind() -> None:
    keys = classes_below(Key)
    assert {cast("type[Key]", one).kind for one in keys} == set(Kind)
    for key in keys:
        kind = cast("type[Key]", key).kind
        assert kind not in KEPT or any(issubclass(key, one) for one in of(kind).keys)


VALUES = classes_below(ItemValue)


@pytest.mark.parametrize("one", VALUES, ids=[one.__name__ for one in VALUES])
def test_every_value_is_frozen(one: type) -> None:
    assert is_dataclass(one)
    assert one.__dataclass_params__.frozen  # type: ignore[attr-defined]


def of(kind: Kind) -> PlacedKind[Any, Any] | NodeKind[Any, Any]:
    return cast("PlacedKind[Any, Any]", KINDS.by_kind[kind])


def test_a_change_of_another_kind_is_refused() -> None:
    session = cast("Session", None)
    with pytest.raises(TypeError, match="no key of ROUTE"):
        of(Kind.ROUTE).make(session, Change(NamespaceKey("pr-warp"), None, Present()))
    with pytest.raises(TypeError, match="no value of NAMESPACE"):
        of(Kind.NAMESPACE).make(session, Change(NamespaceKey("pr-warp"), None, SettingValue("1")))


@pytest.mark.parametrize("part", ["role", "down", "domain", "observe", "apply", "remove", "keys"])
def test_a_kind_without_one_of_its_parts_cannot_be_made(part: str) -> None:
    route = of(Kind.ROUTE)
    parts = {one.name: getattr(route, one.name) for one in fields(route) if one.name != part}
    with pytest.raises(TypeError, match=part):
        PlacedKind(**parts)


# --- names are for people, and stay what they are -------------------------------------------------

RULE = Rule(100, 101, 2, destination=ip_network("10.101.0.0/24"))
NAMES = [
    (NamespaceKey("pr-warp"), "pr-warp", "pr-warp"),
    (SettingKey("pr-warp", Sysctl("ipv4", "ip_forward")), "pr-warp", "ipv4/ip_forward"),
    (
        DeviceSettingKey(HOST, Sysctl("ipv4", "forwarding", "eth0")),
        HOST,
        "ipv4/conf/eth0/forwarding",
    ),
    (ProcessKey("xray"), NODE, "xray"),
    (ProcessKey("xray", 7), NODE, "xray (pid 7)"),
    (BridgeKey("ovsbr0"), NODE, "ovsbr0"),
    (
        BridgeSettingKey("ovsbr0", SwitchSetting("sflow", "Bridge", "ovsbr0")),
        "ovsbr0",
        "sflow of bridge ovsbr0",
    ),
    (
        BridgeSettingKey("ovsbr0", SwitchSetting("manager_options", "Open_vSwitch", "")),
        "ovsbr0",
        "manager_options of Open_vSwitch",
    ),
    (
        PortSettingKey("ovsbr0", SwitchSetting("tag", "Port", "warp0")),
        "ovsbr0",
        "tag of port warp0",
    ),
    (FirewallKey("pr-warp", "privacy_router"), "pr-warp", "privacy_router"),
    (FirewallKey("pr-warp", "theirs", TableRole.FOREIGN, "ip"), "pr-warp", "ip theirs"),
    (RuleKey.of("pr-warp", RULE), "pr-warp", "100: inet to 10.101.0.0/24 lookup 101"),
    (DeviceKey("pr-warp", "warp0"), "pr-warp", "warp0"),
    (
        AddressKey("pr-warp", "warp0", ip_interface("10.102.0.1/24")),
        "pr-warp",
        "10.102.0.1/24 on warp0",
    ),
    (
        NeighbourKey("pr-warp", "warp0", ip_address("10.102.0.2")),
        "pr-warp",
        "10.102.0.2 on warp0",
    ),
    (
        RouteKey.of("pr-warp", Route(ip_network("0.0.0.0/0"), table=101, metric=5, extra=b"x")),
        "pr-warp",
        "0.0.0.0/0 table 101 metric 5 and more",
    ),
    (MeterKey("ovsbr0", 3), "ovsbr0", "meter 3"),
]


@pytest.mark.parametrize(("key", "where", "name"), NAMES, ids=lambda value: str(value)[:40])
def test_a_key_prints_as_before(key: Key, where: str, name: str) -> None:
    assert (key.where, key.name) == (where, name)


def test_a_second_process_of_a_name_is_another_item() -> None:
    assert ProcessKey("xray", 7) != ProcessKey("xray")


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (ProcessState("abc"), "abc"),
        (ProcessState("abc", is_elsewhere=True), "abc elsewhere"),
        (ProcessState("abc", is_unreachable=True), "abc unreachable"),
        (
            ProcessState("abc", is_elsewhere=True, is_unreachable=True),
            "abc elsewhere unreachable",
        ),
    ],
)
def test_a_process_that_is_not_right_is_different_and_told_so(
    state: ProcessState, text: str
) -> None:
    assert state.plain() == str(state) == text


WORDS = st.text(st.characters(exclude_characters="/"), min_size=1)


@given(st.lists(WORDS, min_size=2, max_size=5))
def test_a_settings_parts_make_its_path_again(parts: list[str]) -> None:
    path = "/".join(parts)
    assert Sysctl.at(path).path == path


@pytest.mark.parametrize(
    ("path", "device"),
    [
        ("ipv4/conf/warp0/forwarding", "warp0"),
        ("ipv4/conf/all/forwarding", None),
        ("ipv6/conf/default/accept_ra", None),
        ("ipv4/ip_forward", None),
        ("ipv6/icmp/echo_ignore_all", None),
    ],
)
def test_a_setting_knows_its_device(path: str, device: str | None) -> None:
    assert Sysctl.at(path).device == device
