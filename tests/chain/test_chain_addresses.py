"""Addresses inside the clients' tunnel, and the way out of a chain."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
)

from privacy_router.chain.addresses import client_addresses, gateway_addresses
from tests.plan.hop_sets import config_of


def test_the_gateway_is_first_and_clients_follow() -> None:
    subnets = {"client_subnet": "10.7.0.0/28", "client_subnet6": "fd00:7::/64"}
    config = config_of(wireguard=subnets)
    own = (IPv4Interface("10.7.0.1/28"), IPv6Interface("fd00:7::1/64"))
    assert gateway_addresses(config) == own
    assert client_addresses(config, 2) == (IPv4Address("10.7.0.2"), IPv6Address("fd00:7::2"))
    assert client_addresses(config, 14) == (IPv4Address("10.7.0.14"), IPv6Address("fd00:7::e"))
