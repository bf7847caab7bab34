"""All cross-checks: what each key allows by itself, but not together with another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.config import (
    flow_checks,
    hop_checks,
    server_checks,
    socket_checks,
    subnet_checks,
)
from privacy_router.config.subnet_checks import check_host

if TYPE_CHECKING:
    from collections.abc import Collection

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.config.problems import Problem

__all__ = ["RULES", "check", "check_host"]

RULES = (
    *hop_checks.RULES,
    *server_checks.RULES,
    *socket_checks.RULES,
    *flow_checks.RULES,
    *subnet_checks.RULES,
)


def check(config: PrivacyRouterConfig, unusable: Collection[str] = ()) -> list[Problem]:
    """Find all contradictions in a configuration; an empty list means that there are none.

    `unusable` names top-level keys whose values are not the user's (they did not validate, and
    defaults stand in for them): rules that would read them are left out.
    """
    return [
        problem
        for rule in RULES
        if rule.parts.isdisjoint(unusable)
        for problem in rule.find(config)
    ]
