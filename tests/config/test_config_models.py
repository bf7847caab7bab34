"""What documents mean: the seed's example, the empty one, defaults and derived facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from privacy_router.config import (
    Document,
    PrivacyRouterConfig,
    check,
    default_document,
    notes,
    parse_document,
)

ZERO_CONFIG = '{"version":1,"plugins":{"privacy_router":{}}}'


def config_of(part: dict[str, Any]) -> PrivacyRouterConfig:
    document = {"version": 1, "plugins": {"privacy_router": part}}
    return parse_document(json.dumps(document), "node.json").config


def test_the_seed_is_accepted_and_keeps_every_value(seed_text: str) -> None:
    document = parse_document(seed_text, "seed.json")
    given = json.loads(seed_text)
    kept = document.model_dump(mode="json", exclude_unset=True)
    assert kept == given


def test_the_example_for_users_is_the_seed(seed_text: str) -> None:
    example = Path(__file__).parents[2] / "examples" / "seed.json"
    assert example.read_text(encoding="utf-8") == seed_text


def test_the_seed_describes_the_whole_chain(seed_text: str) -> None:
    config = parse_document(seed_text, "seed.json").config
    assert config.chain_hops == ("gateway", "warp", "xray")
    assert config.privacy_port_names == ("internal_100", "warp0", "internal_101")
    assert config.mesh_port_names == ("nm-privacy", "internal_200", "internal_201")
    assert (config.vps_address, config.vps_port) == ("vps.example.com", 443)


def test_an_empty_part_is_a_complete_node() -> None:
    config = parse_document(ZERO_CONFIG, "node.json").config
    assert check(config) == []
    assert config.chain_hops == ("gateway", "warp")
    assert config.gateway_port == "internal_100"
    assert config.warp.accept_terms is False
    assert config.mesh_port_names == ()
    assert config.openflow.privacy_flows is None


@pytest.mark.parametrize("text_name", ["seed", "zero"])
def test_writing_and_reading_again_changes_nothing(text_name: str, seed_text: str) -> None:
    text = seed_text if text_name == "seed" else ZERO_CONFIG
    document = parse_document(text, "node.json")
    again = parse_document(document.model_dump_json(), "again.json")
    assert again == document


@pytest.mark.parametrize(
    ("part", "hops"),
    [
        ({"xray": {"vps_address": "192.0.2.7"}}, ("gateway", "warp", "xray")),
        ({"vps": {"xray_server": "192.0.2.7"}}, ("gateway", "warp", "xray")),
        ({"xray": {"vps_address": "192.0.2.7", "enabled": False}}, ("gateway", "warp")),
        (
            {"warp": {"enabled": False}, "vps": {"xray_server": "vps.example.com"}},
            ("gateway", "xray"),
        ),
        ({"wireguard": {"enabled": False}}, ("warp",)),
        ({"wireguard": {"enabled": False}, "warp": {"enabled": False}}, ()),
    ],
)
def test_the_chain_is_made_of_the_enabled_hops(part: dict[str, Any], hops: tuple[str, ...]) -> None:
    assert config_of(part).chain_hops == hops


@pytest.mark.parametrize(
    ("part", "address", "port"),
    [
        ({}, None, 443),
        ({"vps": {"xray_server": "a.example", "xray_port": 8443}}, "a.example", 8443),
        ({"xray": {"vps_address": "a.example", "vps_port": 8443}}, "a.example", 8443),
        (
            {"xray": {"vps_address": "A.example."}, "vps": {"xray_server": "a.example"}},
            "A.example.",
            443,
        ),
        (
            {"xray": {"vps_address": "2001:db8::1"}, "vps": {"xray_server": "2001:DB8:0::1"}},
            "2001:db8::1",
            443,
        ),
    ],
)
def test_either_place_may_name_the_vps(
    part: dict[str, Any], address: str | None, port: int
) -> None:
    config = config_of(part)
    assert (config.vps_address, config.vps_port) == (address, port)


def test_a_container_gets_a_mesh_port_by_being_listed() -> None:
    config = config_of(
        {
            "containers": [{"id": 300, "name": "web", "container_type": "web"}],
            "socket_networking": {"mesh_sockets": [{"name": "internal_301", "container_id": 301}]},
        }
    )
    assert config.mesh_port_names == ("internal_301", "internal_300")


@pytest.mark.parametrize(
    ("port", "container_id"),
    [
        ("internal_100", 100),
        ("internal_101", 101),
        ("internal_201", 201),
        ("warp0", None),
        ("nm-privacy", None),
        ("internal_999", None),
    ],
)
def test_ports_lead_to_their_containers(
    port: str, container_id: int | None, seed_text: str
) -> None:
    assert parse_document(seed_text, "seed.json").config.container_for(port) == container_id


def test_a_container_may_name_a_hop_of_the_tunnel_again() -> None:
    hop = {"id": 100, "name": "gateway", "container_type": "wireguard", "network_type": "privacy"}
    config = config_of({"containers": [hop]})
    assert config.mesh_port_names == ()
    assert config.privacy_port_names == ("internal_100", "warp0")


def test_reality_falls_back_to_its_server_name() -> None:
    assert config_of({}).xray.reality_target == "dl.google.com:443"
    own = config_of({"xray": {"target": "[2001:db8::1]:8443"}})
    assert own.xray.reality_target == "[2001:db8::1]:8443"


def test_a_configuration_cannot_be_changed() -> None:
    config = parse_document(ZERO_CONFIG, "node.json").config
    with pytest.raises(ValidationError):
        config.bridge_name = "other"  # type: ignore[misc]


def test_every_key_is_described() -> None:
    def undescribed(model: Any, path: str) -> list[str]:
        missing = []
        for name, field in model.model_fields.items():
            if not (field.description or "").endswith("."):
                missing.append(f"{path}{name}")
            if hasattr(field.annotation, "model_fields"):
                missing += undescribed(field.annotation, f"{path}{name}.")
        return missing

    assert undescribed(Document, "") == []


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"openflow": {"obfuscation_level": 1, "enable_security_flows": False}}, []),
        ({}, ["rate limits", "packet padding and timing randomization"]),
        (
            {"openflow": {"obfuscation_level": 3}},
            ["connection tracking", "padding", "morphing, protocol mimicry"],
        ),
        (
            {"openflow": {"obfuscation_level": 0}, "netmaker": {"enabled": True}},
            ["fragments", "joining a Netmaker network"],
        ),
    ],
)
def test_notes_say_what_is_not_in_force(part: dict[str, Any], words: list[str]) -> None:
    sentences = notes(config_of(part))
    assert len(sentences) == len(words)
    for sentence, word in zip(sentences, words, strict=True):
        assert word in sentence
        assert "not in force" in sentence


def test_notes_on_the_seed(seed_text: str) -> None:
    sentences = notes(parse_document(seed_text, "seed.json").config)
    assert len(sentences) == 4
    assert "function routing" in sentences[-1]


@pytest.mark.parametrize("vps_address", [None, "vps.example.com", "2001:db8::1"])
def test_a_new_document_is_valid_and_short(vps_address: str | None) -> None:
    text = default_document(vps_address, endpoint="home.example.org", accept_terms=True)
    config = parse_document(text, "node.json").config
    assert config.vps_address == vps_address
    assert config.wireguard.endpoint == "home.example.org"
    assert config.warp.accept_terms
    assert text.count("\n") < 30
