"""A missing file is not a new one, also after a crash between a file and its marker."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, NoReturn

import pytest

from privacy_router.config import parse_document
from privacy_router.hops.keys import NodeFacts, Part
from privacy_router.node import clients
from privacy_router.node.made import MissingFileError, is_there, marker_of, note_made
from privacy_router.node.paths import NodePaths
from privacy_router.node.planning_keys import plan_keys
from privacy_router.node.secrets import KeptNode, gateway_key, make_keys, read_keys, xray_identity
from privacy_router.plan.compile import plan_node
from privacy_router.plan.desired import DesiredState, PlannedState

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig

FACTS = NodeFacts("netdev", False, True, "/run/privacy-router")


@pytest.fixture
def paths(tmp_path: Path) -> NodePaths:
    return NodePaths(state=tmp_path / "state", run=tmp_path / "run")


def config_with(**sections: object) -> PrivacyRouterConfig:
    document = {"version": 1, "plugins": {"privacy_router": sections}}
    return parse_document(json.dumps(document), "test").config


WITHOUT_WARP = {"warp": {"enabled": False}, "xray": {"vps_address": "192.0.2.9"}}


def test_a_file_that_never_was_is_not_there(tmp_path: Path) -> None:
    assert not is_there(tmp_path / "key")


def test_a_file_that_was_is_missing(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"x")
    note_made(tmp_path / "key")
    assert is_there(tmp_path / "key")
    (tmp_path / "key").unlink()
    with pytest.raises(MissingFileError, match="key is missing") as missing:
        is_there(tmp_path / "key")
    assert str(marker_of(tmp_path / "key")) in missing.value.remedy
    marker_of(tmp_path / "key").unlink()  # a new one is wanted
    assert not is_there(tmp_path / "key")


def test_a_crash_between_the_file_and_its_marker_loses_nothing(paths: NodePaths) -> None:
    """The first start was killed after the first of two files, before its marker was written."""
    key = gateway_key(config_with(), paths)
    marker_of(paths.gateway_key).unlink()
    keys = make_keys(config_with(**WITHOUT_WARP), paths)
    assert keys.gateway_private_key == key
    assert marker_of(paths.gateway_key).exists()
    assert marker_of(paths.xray_identity).exists()


def test_no_marker_is_written_without_its_file(paths: NodePaths) -> None:
    note_made(paths.clients)
    assert not marker_of(paths.clients).exists()


@pytest.mark.parametrize("name", ["gateway.key", "xray.json", "clients.json"])
@pytest.mark.parametrize("marked", [True, False], ids=["marked", "known to the node that runs"])
def test_what_is_missing_is_neither_read_nor_made(
    paths: NodePaths, name: str, marked: bool
) -> None:
    config = config_with(**WITHOUT_WARP)
    clients.add(config_with(wireguard={"endpoint": "192.0.2.1"}), paths, "phone", "A" * 43 + "=")
    keys = make_keys(config, paths)
    path = paths.state / name
    path.unlink()
    if not marked:
        marker_of(path).unlink()
    kept = None if marked else KeptNode(config, keys)
    for load in (read_keys, make_keys):
        with pytest.raises(MissingFileError, match=name):
            load(config, paths, kept)
    assert not path.exists()


def test_another_source_of_a_key_is_not_a_missing_file(paths: NodePaths, tmp_path: Path) -> None:
    """A node that had a key file of the user's own gets one of its own, which never was."""
    own = tmp_path / "own.key"
    own.write_text(gateway_key(config_with(), NodePaths(tmp_path / "other", tmp_path)))
    wireguard = {"private_key_file": str(own), "zero_config": False}
    config = config_with(wireguard=wireguard, **WITHOUT_WARP)
    kept = KeptNode(config, make_keys(config, paths))
    made = make_keys(config_with(**WITHOUT_WARP), paths, kept)
    assert made.gateway_private_key != kept.keys.gateway_private_key


# --- to plan with ---------------------------------------------------------------------------------


def _nobody(*_: object, **__: object) -> NoReturn:
    raise AssertionError("a name was looked up")


def test_a_callers_files_are_not_opened(
    paths: NodePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _nobody)
    document = {
        "wireguard": {"private_key_file": str(tmp_path / "none"), "zero_config": False},
        "warp": {"wgcf_config": str(tmp_path / "none")},
    }
    keys = plan_keys(config_with(**document), paths, opens_named_files=False)
    assert "private_key_file is not opened" in keys.stand_ins[Part.GATEWAY]
    assert "wgcf_config is not opened" in keys.stand_ins[Part.WARP]
    assert not paths.state.exists()


def test_what_runs_is_planned_with_what_it_has(paths: NodePaths) -> None:
    config = config_with(**WITHOUT_WARP)
    kept = KeptNode(config, make_keys(config, paths))
    paths.gateway_key.unlink()
    keys = plan_keys(config, paths, kept=kept)
    assert keys.gateway_private_key == kept.keys.gateway_private_key
    assert not keys.stand_ins


def test_what_depends_on_stand_ins_is_marked_and_of_another_type(paths: NodePaths) -> None:
    config = config_with(xray={"vps_address": "192.0.2.9"})
    state = plan_node(config, plan_keys(config, paths), FACTS)
    assert isinstance(state, PlannedState)
    assert not isinstance(state, DesiredState)
    kinds = {key.kind.name for key in state.stand_ins}
    assert {"TUNNEL", "PROCESS", "FIREWALL", "ADDRESS"} <= kinds
    assert len(state.stand_ins) < len(state.items) / 3


def test_an_identity_is_made_once(paths: NodePaths) -> None:
    assert xray_identity(paths) == xray_identity(paths)
