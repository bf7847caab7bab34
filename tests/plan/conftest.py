"""Configurations and keys to plan with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.plan.hop_sets import HOP_SETS, config_of
from tests.plan.node_keys import FACTS, KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.hops.keys import NodeFacts, NodeKeys


@pytest.fixture(params=HOP_SETS, ids=lambda name: name.replace(" ", "-"))
def config(request: pytest.FixtureRequest) -> PrivacyRouterConfig:
    """Every set of hops that makes a chain."""
    return config_of(**HOP_SETS[request.param])


@pytest.fixture
def keys() -> NodeKeys:
    """Keys for all hops, and one client."""
    return KEYS


@pytest.fixture
def facts() -> NodeFacts:
    """A machine with nothing but userspace."""
    return replace(FACTS, uplink=None)


@pytest.fixture
def make_config() -> Callable[..., PrivacyRouterConfig]:
    """Build a configuration from sections."""
    return config_of
