"""A node that is kept takes WARP's new address, and nothing else of what its files say by now."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config import parse_document
from privacy_router.hops.keys import NodeKeys
from privacy_router.node.paths import NodePaths
from privacy_router.node.warp import read_tunnel
from privacy_router.plugins.privacy_router.intent import Intent
from privacy_router.plugins.privacy_router.plugin import PrivacyRouterPlugin
from privacy_router.values.wireguard import generate_private_key, public_key_of

if TYPE_CHECKING:
    from pathlib import Path

KEY, PEER = generate_private_key(), public_key_of(generate_private_key())


def profile(private_key: str, endpoint: str, more: str = "") -> str:
    return (
        f"[Interface]\nPrivateKey = {private_key}\nAddress = 172.16.0.2/32\n{more}"
        f"[Peer]\nPublicKey = {PEER}\nEndpoint = {endpoint}\n"
    )


class Site:
    """A plugin that keeps a node whose keys came from a profile."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "profile.conf"
        self.file.write_text(profile(KEY, "192.0.2.1:2408"))
        paths = NodePaths(state=directory / "state", run=directory / "run")
        section = {"warp": {"wgcf_config": str(self.file)}}
        document = {"version": 1, "plugins": {"privacy_router": section}}
        self.config = parse_document(json.dumps(document), "test").config
        self.plugin = PrivacyRouterPlugin(paths)
        keys = NodeKeys(None, read_tunnel(self.config, paths), None, ())
        nothing: Any = None
        self.kept = Intent(self.config, nothing, keys, nothing)

    def followed(self) -> Intent:
        return self.plugin._with_endpoint(self.kept)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(tmp_path)
    monkeypatch.setattr(
        site.plugin,
        "_compiled",
        lambda config, machine, keys, _: Intent(config, machine, keys, site.kept.state),
    )
    return site


def test_the_address_is_taken_and_nothing_else(site: Site) -> None:
    site.file.write_text(profile(KEY, "192.0.2.2:2408", more="MTU = 1400\n"))
    old = site.kept.keys.warp
    assert old is not None
    new = site.followed().keys.warp
    assert new is not None
    assert str(new.endpoint[0]) == "192.0.2.2"
    assert replace(new, endpoint=old.endpoint) == old


def test_nothing_is_taken_of_another_account(site: Site) -> None:
    site.file.write_text(profile(generate_private_key(), "192.0.2.2:2408"))
    assert site.followed() is site.kept
