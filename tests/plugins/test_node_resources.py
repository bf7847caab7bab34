"""The node's items as resources of the domains that they are in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Change, Desired, Resource, ResourceKey
from privacy_router.host.dbus import Bus
from privacy_router.node.kinds.registry import KINDS
from privacy_router.node.paths import NodePaths
from privacy_router.plugins.privacy_router import PARTS, PartPlugin, PrivacyRouterPlugin
from privacy_router.plugins.privacy_router.intent import NodeObserved
from privacy_router.plugins.privacy_router.resources import key_of
from privacy_router.plugins.target import Machine
from privacy_router.values.items import HOST, Kind, plain
from privacy_router.values.sysctls import DeviceSettingKey, Sysctl
from privacy_router.values.wireguard import TunnelKey

if TYPE_CHECKING:
    from pathlib import Path


def test_every_kind_of_item_is_in_a_domain() -> None:
    assert KINDS.domains.keys() == set(Kind)
    assert set(KINDS.domains.values()) <= {"net", "openflow", *(part.name for part in PARTS)}


def test_a_key_says_domain_kind_and_place() -> None:
    assert str(key_of(TunnelKey("pr-warp", "wgcf"))) == "privacy tunnel pr-warp/wgcf"
    assert key_of(DeviceSettingKey(HOST, Sysctl.at("x"))).kind == "device-setting"


@dataclass(frozen=True)
class Inner:
    network: object
    names: frozenset[str]


def test_values_are_json_and_always_the_same() -> None:
    value = plain((Inner(ip_network("10.0.0.0/8"), frozenset({"b", "a"})), True, None, 3))
    assert value == [{"network": "10.0.0.0/8", "names": ["a", "b"]}, True, None, 3]
    assert json.loads(json.dumps(value)) == value


def plugin(tmp_path: Path) -> PrivacyRouterPlugin:
    return PrivacyRouterPlugin(NodePaths(tmp_path / "state", tmp_path / "run"))


def test_a_difference_names_who_asks_for_it(tmp_path: Path) -> None:
    wanted, extra = ResourceKey("net", "route", "a"), ResourceKey("net", "route", "b")
    flow = Change(ResourceKey("openflow", "flow", "c"), None, {"match": "ip"})
    found = plugin(tmp_path).diff(
        Desired({wanted: Resource("via x")}), NodeObserved({extra: "via y"}, [flow])
    )
    assert [(str(one.key), one.verb, one.by) for one in found] == [
        ("net route b", "remove", "privacy_router"),
        ("net route a", "add", "privacy_router"),
        ("openflow flow c", "add", "privacy_router"),
    ]


async def test_without_a_node_there_is_nothing(tmp_path: Path) -> None:
    node = plugin(tmp_path)
    desired = node.declare(None)
    assert node.diff(desired, await node.observe(desired)) == []
    assert (await node.query()).values == {}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
async def test_a_part_keeps_nothing_by_itself(part: object, tmp_path: Path) -> None:
    made = PartPlugin(part, Machine(Bus(None), tmp_path))  # type: ignore[arg-type]
    assert made.declare(None) == Desired()
    with pytest.raises(RefusedError, match="no section of its own"):
        made.declare({})
    change = Change(made.key("flow", "x"), None, True)
    with pytest.raises(RefusedError):
        await made.apply(Desired(), [change], lambda _: None)
    assert (await made.query()).values == {}


async def test_a_part_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    parts = {part.name: PartPlugin(part, Machine(Bus(None), tmp_path)) for part in PARTS}
    missing = {name: await part.availability() for name, part in parts.items()}
    assert {name for name, found in missing.items() if not found} == {"netmaker"}
    assert "install netclient" in missing["netmaker"].remedy
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/netclient").touch(mode=0o755)
    assert await parts["netmaker"].availability()


@pytest.mark.parametrize(
    ("key", "found"), [("unmanaged_node", True), ("unmanaged_node", False), ("stranger", True)]
)
async def test_a_node_that_no_document_declared_stays_when_a_run_is_undone(
    key: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a checkpoint that the version before wrote, which called it a stranger."""
    taken_down: list[bool] = []

    async def take_down(_: PrivacyRouterPlugin) -> None:
        taken_down.append(True)

    monkeypatch.setattr(PrivacyRouterPlugin, "_take_down", take_down)
    plugin = PrivacyRouterPlugin(NodePaths(tmp_path, tmp_path))
    await plugin.rollback({"section": None, key: found}, lambda _: None)
    assert taken_down == ([] if found else [True])
