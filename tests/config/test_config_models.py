"""What documents mean: the seed's example, the empty one, defaults and derived facts."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
            "containers": [{"id": 150, "name": "web", "container_type": "web"}],
            "socket_networking": {"mesh_sockets": [{"name": "internal_151", "container_id": 151}]},
        }
    )
    assert config.mesh_port_names == ("internal_151", "internal_150")


@pytest.mark.parametrize(
    ("subnets", "container_id", "addresses"),
    [
        ({}, 200, ("10.103.0.200/16", "fd70:7276:6174:3::c8/64")),
        ({}, 1000, ("10.103.3.232/16", "fd70:7276:6174:3::3e8/64")),
        ({"mesh_subnet": "10.104.0.0/24"}, 254, ("10.104.0.254/24", "fd70:7276:6174:3::fe/64")),
        ({"mesh_subnet": "10.104.0.0/24"}, 255, None),
        ({"mesh_subnet": "10.104.0.0/16"}, 65534, ("10.104.255.254/16", None)),
        ({"mesh_subnet": "10.0.0.0/12", "mesh_subnet6": "fd00::/112"}, 70000, None),
    ],
)
def test_the_address_of_a_mesh_container_follows_from_its_id(
    subnets: dict[str, str], container_id: int, addresses: tuple[str, str | None] | None
) -> None:
    config = PrivacyRouterConfig.model_validate(subnets)
    found = config.mesh_address(container_id)
    if addresses is None:
        assert found is None
        return
    assert found is not None
    assert str(found[0]) == addresses[0]
    assert addresses[1] in {None, str(found[1])}


@given(st.integers(20, 28), st.integers(100, 5000))
def test_mesh_addresses_are_hosts_of_the_subnet_and_never_the_gateways(
    prefix_bits: int, container_id: int
) -> None:
    network = IPv4Network((int(IPv4Address("10.96.0.0")), prefix_bits))
    config = PrivacyRouterConfig(mesh_subnet=network)
    found = config.mesh_address(container_id)
    hosts = network.num_addresses - 2
    assert (found is not None) == (container_id <= hosts)
    if found is not None:
        assert found[0].ip in network
        assert found[0].ip not in {network.network_address, network.broadcast_address}
        assert found != config.mesh_gateway_address


def test_the_mesh_gateway_has_the_first_addresses() -> None:
    addresses = PrivacyRouterConfig().mesh_gateway_address
    assert [str(one) for one in addresses] == ["10.103.0.1/16", "fd70:7276:6174:3::1/64"]


def test_rates_and_policies_have_defaults_that_a_person_can_take_away() -> None:
    usual = config_of({}).openflow
    assert usual.rates.model_dump() == {"arp": 100, "icmp": 200, "syn": 1000, "dns": 500}
    assert (usual.fragments, usual.normal_ttl, usual.flow_policies) == ("drop", 64, ())
    unlimited = config_of({"openflow": {"rates": {"syn": None, "dns": 1}}}).openflow.rates
    assert unlimited.model_dump() == {"arp": 100, "icmp": 200, "syn": None, "dns": 1}
    template = {"actions": ["output:{port_name}"]}
    policy = {"name": "all", "selector": "container:*", "template": template}
    (kept,) = config_of({"openflow": {"flow_policies": [policy]}}).openflow.flow_policies
    assert (kept.template.priority, kept.template.match_fields) == (80, {})


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
        ({"openflow": {"obfuscation_level": 1}}, []),
        ({}, ["level 2, packet padding and timing randomization"]),
        ({"openflow": {"obfuscation_level": 3}}, ["padding", "morphing, protocol mimicry"]),
        (
            {"openflow": {"obfuscation_level": 0}, "netmaker": {"enabled": True}},
            ["joining a Netmaker network"],
        ),
    ],
)
def test_notes_say_what_is_not_in_force(part: dict[str, Any], words: list[str]) -> None:
    sentences = notes(config_of(part))
    assert len(sentences) == len(words)
    for sentence, word in zip(sentences, words, strict=True):
        assert word in sentence
        assert sentence.endswith(": accepted, but not in force in this version.")


def test_notes_say_who_makes_the_containers(seed_text: str) -> None:
    sentences = notes(parse_document(seed_text, "seed.json").config)
    assert len(sentences) == 3
    assert sentences[-1].startswith("containers: accepted, but not made by this version")
    assert "internal_{id}" in sentences[-1]


@pytest.mark.parametrize("vps_address", [None, "vps.example.com", "2001:db8::1"])
def test_a_new_document_is_valid_and_short(vps_address: str | None) -> None:
    text = default_document(vps_address, endpoint="home.example.org", accept_terms=True)
    config = parse_document(text, "node.json").config
    assert config.vps_address == vps_address
    assert config.wireguard.endpoint == "home.example.org"
    assert config.warp.accept_terms
    assert text.count("\n") < 30
