"""A node as the sections of its domains, and a document that has the hops alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from privacy_router.config import (
    ConfigError,
    PrivacyConfig,
    PrivacyRouterConfig,
    node_of,
    parse_document,
    sections_of,
)
from privacy_router.config.models import NODE_DOMAINS
from privacy_router.engine.document import Source

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / "examples").glob("*.json"),
    *(ROOT / "tests" / "golden" / "node").glob("*/config.json"),
]
HOPS: dict[str, Any] = {
    "wireguard": {"listen_port": 51999},
    "warp": {"enabled": False},
    "vps": {"xray_server": "198.51.100.7"},
}


def parse(**plugins: Any) -> Any:
    return parse_document(json.dumps({"version": 1, "plugins": plugins}), "a test").plugins


def paths(**plugins: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(**plugins)
    return [one.path for one in caught.value.problems]


def test_each_key_of_a_node_is_in_one_domain() -> None:
    keys = [key for model in NODE_DOMAINS.values() for key in model.model_fields]
    assert sorted(keys) == sorted(PrivacyRouterConfig.model_fields)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_node_is_what_its_domains_are(path: Path) -> None:
    node = parse_document(path.read_text(), "a test").plugins.node
    if node is None:
        return
    sections = sections_of(node)
    assert sections.keys() == NODE_DOMAINS.keys()
    assert node_of(sections) == node
    assert PrivacyRouterConfig.model_validate(node.model_dump(mode="json")) == node


def test_the_hops_alone_are_a_node_that_is_as_usual_else() -> None:
    alone = parse(privacy=HOPS)
    whole = parse(privacy_router=HOPS)
    assert alone.node == whole.node
    assert sections_of(whole.node)["privacy"] == alone.privacy == PrivacyConfig(**HOPS)
    text = json.dumps({"version": 1, "plugins": {"privacy": HOPS}})
    assert Source(text).sections() == {"privacy_router": whole.node}
    assert parse_document(text, "a test").config == whole.node


def test_the_hops_are_declared_in_one_place() -> None:
    assert paths(privacy={}, privacy_router={}) == ["plugins.privacy"]


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"warp": {"mtu": 1}}, "plugins.privacy.warp.mtu"),
        ({"bridge_name": "ovsbr1"}, "plugins.privacy.bridge_name"),
        ({"openflow": {}}, "plugins.privacy.openflow"),
        # what each key allows by itself, but not together with another one
        ({"wireguard": {"zero_config": False}}, "plugins.privacy.wireguard.private_key_file"),
        (
            {"xray": {"vps_address": "198.51.100.7"}, "vps": {"xray_server": "198.51.100.8"}},
            "plugins.privacy.vps.xray_server",
        ),
    ],
)
def test_each_problem_of_the_hops_names_its_key(section: dict[str, Any], path: str) -> None:
    assert paths(privacy=section) == [path]


def test_the_nodes_bridge_is_kept_from_others_all_the_same() -> None:
    section: dict[str, Any] = {"bridges": {"ovsbr0": {}}}
    assert paths(privacy={}, openflow=section) == ["plugins.openflow.bridges.ovsbr0"]
    assert paths(privacy={}, net=section) == ["plugins.net.bridges.ovsbr0"]
