"""The hops that there are, against the document that names them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from privacy_router.config import PrivacyRouterConfig, parse_document
from privacy_router.config.reserved import NODE_DEVICES
from privacy_router.hops.catalogue import CATALOGUE

VPS = {"vps_address": "192.0.2.9"}
SECTIONS: list[dict[str, Any]] = [
    {},
    {"xray": VPS},
    {"xray": VPS, "warp": {"enabled": False}},
    {"xray": VPS, "wireguard": {"enabled": False}},
]


def config_of(sections: dict[str, Any]) -> PrivacyRouterConfig:
    document = {"version": 1, "plugins": {"privacy_router": sections}}
    return parse_document(json.dumps(document), "test").config


@pytest.mark.parametrize("sections", SECTIONS)
def test_the_chain_is_the_documents(sections: dict[str, Any]) -> None:
    config = config_of(sections)
    stations = CATALOGUE.segment(config).stations
    hops = [station for station in stations if not station.role.in_host]
    assert tuple(station.hop for station in hops) == config.chain_hops
    assert tuple(station.port for station in hops) == config.privacy_port_names


def test_a_device_that_is_the_same_on_every_machine_can_not_be_given_away() -> None:
    assert {*CATALOGUE.tunnels, *CATALOGUE.host_ports(config_of({}))} == set(NODE_DEVICES)


def test_each_hop_of_the_document_is_in_the_catalogue() -> None:
    assert [hop.name for hop in CATALOGUE.hops if not hop.role.in_host] == list(config_of({}).hops)
