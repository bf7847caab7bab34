"""Addresses inside the clients' tunnel, and the way out of a chain."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

import pytest

from privacy_router.chain.addresses import client_addresses, gateway_addresses
from privacy_router.chain.stations import Chain
from tests.plan.hop_sets import config_of

NETWORKS = (IPv4Network("10.7.0.0/28"), IPv6Network("fd00:7::/64"))


def test_the_gateway_is_first_and_clients_follow() -> None:
    subnets = {"client_subnet": "10.7.0.0/28", "client_subnet6": "fd00:7::/64"}
    config = config_of(wireguard=subnets)
    own = (IPv4Interface("10.7.0.1/28"), IPv6Interface("fd00:7::1/64"))
    assert gateway_addresses(config) == own
    assert client_addresses(config, 2) == (IPv4Address("10.7.0.2"), IPv6Address("fd00:7::2"))
    assert client_addresses(config, 14) == (IPv4Address("10.7.0.14"), IPv6Address("fd00:7::e"))


def test_a_chain_without_a_way_out_is_refused() -> None:
    with pytest.raises(ValueError, match="no way out"):
        _ = Chain(None, None, None, None, NETWORKS).router
