"""Configurations and keys to plan with."""

from __future__ import annotations

import base64
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import TYPE_CHECKING

import pytest
from hop_sets import HOP_SETS, config_of

from privacy_router.hops.gateway import Client
from privacy_router.hops.xray.keys import XrayIdentity
from privacy_router.plan.keys import NodeFacts, NodeKeys, WarpTunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.config import PrivacyRouterConfig


def key(byte: int) -> str:
    """A WireGuard key that is the same in every run."""
    return base64.b64encode(bytes([byte]) * 32).decode()


@pytest.fixture(params=HOP_SETS, ids=lambda name: name.replace(" ", "-"))
def config(request: pytest.FixtureRequest) -> PrivacyRouterConfig:
    """Every set of hops that makes a chain."""
    return config_of(**HOP_SETS[request.param])


@pytest.fixture
def keys() -> NodeKeys:
    """Keys for all hops, and one client."""
    client = Client(
        name="phone",
        public_key=key(1),
        preshared_key=key(2),
        number=2,
        v4=IPv4Address("10.101.0.2"),
        v6=IPv6Address("fd70:7276:6174:1::2"),
        created="2026-01-01T00:00:00+00:00",
    )
    tunnel = WarpTunnel(
        private_key=key(3),
        peer_public_key=key(4),
        endpoint=(IPv4Address("162.159.192.1"), 2408),
        v4=IPv4Interface("172.16.0.2/32"),
        v6=IPv6Interface("2606:4700:110::2/128"),
        mtu_bytes=1280,
        keepalive_s=25,
    )
    return NodeKeys(key(5), tunnel, XrayIdentity.generate(), (client,))


@pytest.fixture
def facts() -> NodeFacts:
    """A machine with nothing but userspace."""
    return NodeFacts("netdev", False, True, "/run/privacy-router")


@pytest.fixture
def make_config() -> Callable[..., PrivacyRouterConfig]:
    """Build a configuration from sections."""
    return config_of
