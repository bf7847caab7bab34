"""An nftables ruleset in libnftables' JSON, and one text for it. Source: libnftables-json(5)."""

from __future__ import annotations

import json
from typing import Any

Ruleset = list[dict[str, Any]]


def canonical(objects: Ruleset) -> str:
    """One text for a ruleset, with any order of its chains and sets: what comparisons are made
    on."""
    others = [item for item in objects if not item.keys() & {"chain", "rule"}]
    others.sort(key=lambda item: json.dumps(item, sort_keys=True))
    chains = sorted((item for item in objects if "chain" in item), key=_chain_name)
    rules = [item for item in objects if "rule" in item]
    grouped = sorted(rules, key=lambda item: str(item["rule"]["chain"]))  # stable within a chain
    return json.dumps([*others, *chains, *grouped], sort_keys=True)


def parse(text: str) -> Ruleset:
    """The opposite of `canonical`."""
    objects: Ruleset = json.loads(text)
    return objects


def _chain_name(item: dict[str, Any]) -> str:
    return str(item["chain"]["name"])
