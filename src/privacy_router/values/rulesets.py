"""Tables of nftables: their content in libnftables' JSON, and as items.

Source: libnftables-json(5).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from privacy_router.values.items import ItemValue, Key, Kind, Plain

Ruleset = list[dict[str, Any]]
"""Chains, sets and rules, each an object with one member: its kind."""


class TableRole(Enum):
    """Whose a table of nftables is, and what for."""

    OWN = auto()
    GUARD = auto()
    """The host's guard, which is in force before all else and the last to go."""
    FOREIGN = auto()
    """Another program's, in a namespace of the node's."""


@dataclass(frozen=True)
class FirewallKey(Key, kind=Kind.FIREWALL):
    """A table of nftables. Value: `RulesetValue`; of a foreign one `ForeignTable`."""

    table: str
    role: TableRole = TableRole.OWN
    family: str = "inet"

    @property
    def name(self) -> str:
        """The table's; of a foreign one with its family."""
        return f"{self.family} {self.table}" if self.role is TableRole.FOREIGN else self.table


class FirewallValue(ItemValue):
    """What is known of a table."""

    __slots__ = ()


@dataclass(frozen=True)
class RulesetValue(FirewallValue):
    """The chains and rules of a table: libnftables' JSON as one text, the same for any order of
    chains and sets."""

    text: str

    @classmethod
    def of(cls, objects: Ruleset) -> RulesetValue:
        """From what libnftables-json(5) lists."""
        return cls(_canonical(objects))

    @property
    def objects(self) -> Ruleset:
        """The opposite of `of`."""
        objects: Ruleset = json.loads(self.text)
        return objects

    def plain(self) -> Plain:
        """The text."""
        return self.text

    def __str__(self) -> str:
        return self.text


def _canonical(objects: Ruleset) -> str:
    others = [item for item in objects if not item.keys() & {"chain", "rule"}]
    others.sort(key=lambda item: json.dumps(item, sort_keys=True))
    chains = sorted((item for item in objects if "chain" in item), key=_chain_name)
    rules = [item for item in objects if "rule" in item]
    grouped = sorted(rules, key=lambda item: str(item["rule"]["chain"]))  # stable within a chain
    return json.dumps([*others, *chains, *grouped], sort_keys=True)


def _chain_name(item: dict[str, Any]) -> str:
    return str(item["chain"]["name"])


@dataclass(frozen=True)
class ForeignTable(FirewallValue):
    """Another program's table. With flags it may be out of force (dormant) or owned by a socket."""

    family: str
    name: str
    flags: int = 0
