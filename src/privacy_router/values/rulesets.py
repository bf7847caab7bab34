"""An nftables ruleset in libnftables' JSON. Source: libnftables-json(5)."""

from __future__ import annotations

from typing import Any

Ruleset = list[dict[str, Any]]
"""Chains, sets and rules, each an object with one member: its kind."""
