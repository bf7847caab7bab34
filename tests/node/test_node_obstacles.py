"""What stops `up` is named, all of it, before anybody tries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config import ConfigError, parse_document
from privacy_router.errors import ConflictError, MissingPrerequisiteError
from privacy_router.node import machine, obstacles, room
from privacy_router.node.obstacles import MACHINE, STATE
from privacy_router.node.paths import NodePaths
from privacy_router.values.wireguard import generate_private_key

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig

PROFILE = """[Interface]
PrivateKey = {key}
Address = 172.16.0.2/32
[Peer]
PublicKey = {key}
Endpoint = 162.159.192.1:2408
"""


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodePaths:
    """A state directory; of this machine nothing is looked at."""
    monkeypatch.setattr(obstacles, "sees_all", lambda: False)
    (tmp_path / "state").mkdir()
    return NodePaths(tmp_path / "state", tmp_path / "run")


def config(**sections: Any) -> PrivacyRouterConfig:
    document = {"version": 1, "plugins": {"privacy_router": sections}}
    return parse_document(json.dumps(document), "test").config


def keys_of(config: PrivacyRouterConfig, paths: NodePaths) -> list[str]:
    found = obstacles.obstacles(config, paths)
    assert all(one.reason and one.remedy for one in found)
    return [one.key for one in found]


def test_nothing_stops_a_node_that_can_come_up(paths: NodePaths) -> None:
    assert keys_of(config(warp={"accept_terms": True}), paths) == []
    assert list(paths.state.iterdir()) == []


def test_terms_stop_it_until_there_is_an_account(paths: NodePaths) -> None:
    assert keys_of(config(), paths) == ["warp.accept_terms"]
    paths.warp_profile.write_text(PROFILE.format(key=generate_private_key()))
    assert keys_of(config(), paths) == []


@pytest.mark.parametrize("content", [None, "", "[Interface]\n", "{}"])
def test_a_profile_that_cannot_be_read_stops_it(paths: NodePaths, content: str | None) -> None:
    profile = paths.state / "mine.conf"
    if content is not None:
        profile.write_text(content)
    assert keys_of(config(warp={"wgcf_config": str(profile)}), paths) == ["warp.wgcf_config"]


def test_everything_is_named_and_not_the_first_only(paths: NodePaths) -> None:
    paths.clients.write_text("damaged")
    paths.xray_identity.write_text("damaged")
    section = config(
        wireguard={"zero_config": False, "private_key_file": "/nonexistent/key"},
        xray={"vps_address": "192.0.2.9"},
    )
    wanted = [STATE, "wireguard.private_key_file", "warp.accept_terms", STATE]
    assert keys_of(section, paths) == wanted


def test_what_was_there_and_is_gone_stops_it(paths: NodePaths) -> None:
    (paths.state / "made").mkdir()
    for path in (paths.gateway_key, paths.clients, paths.warp_profile):
        (paths.state / "made" / path.name).touch()
    assert keys_of(config(), paths) == [STATE, STATE, "warp.accept_terms"]


def test_of_the_machine_everything_is_named(
    paths: NodePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspect(*_: object, to_run: bool = False) -> None:
        if to_run:
            raise MissingPrerequisiteError("no wireguard-go", remedy="install it")

    def taken() -> None:
        raise ConflictError("the port is taken", remedy="free it")

    def overlapping() -> None:
        raise ConfigError("the configuration", [])

    monkeypatch.setattr(obstacles, "sees_all", lambda: True)
    monkeypatch.setattr(machine, "inspect", inspect)
    monkeypatch.setattr(room, "looks_for_room", lambda *_: [taken, overlapping, taken])
    reasons = [one.reason for one in obstacles.obstacles(config(), paths) if one.key == MACHINE]
    assert reasons == ["no wireguard-go", "the port is taken", "the port is taken"]
