"""Random documents of a node, each another chain, level or address than the one before (pure)."""

from __future__ import annotations

import copy
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from privacy_router.config import parse_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from privacy_router.config import PrivacyRouterConfig

Hops = tuple[str, ...]
CHAINS: tuple[Hops, ...] = (
    ("gateway", "warp", "xray"),
    ("gateway", "xray"),
    ("gateway", "warp"),
)
"""Every set of hops by which a client gets anywhere."""

_KNOB_CHANCE = 0.25


@dataclass(frozen=True)
class Knob:
    """A setting of the node beside its hops: where it is, and what it may be."""

    path: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The path in dots."""
        return ".".join(self.path)


# Rates stay above what the load sends, and the clients' own addresses as the client knows them.
KNOBS = (
    Knob(("openflow", "obfuscation_level"), (0, 1, 2, 3)),
    Knob(("openflow", "enable_security_flows"), (True, False)),
    Knob(("openflow", "fragments"), ("drop", "reassemble")),
    Knob(("openflow", "normal_ttl"), (64, 128)),
    Knob(("openflow", "rates"), ({}, {"syn": None}, {"icmp": 33, "dns": 900}, {"dns": None})),
    Knob(("transit_subnet",), ("10.102.0.0/24", "10.100.0.0/24", "172.30.9.0/28")),
    Knob(("transit_subnet6",), ("fd70:7276:6174::/64", "fd70:7276:6175:7::/64")),
    Knob(("wireguard", "mtu"), (None, 1280, 1380)),
    Knob(("warp", "mtu"), (1280, 1400)),
    Knob(("warp", "persistent_keepalive"), (25, 0)),
    Knob(("xray", "tproxy_port"), (12345, 23456)),
    Knob(("xray", "socks_port"), (1080, 1081)),
    Knob(("xray", "dns"), (["198.18.100.53", "2001:db8:100::53"], ["198.18.100.53"])),
    Knob(("xray", "vps_address"), ("vps.example.com", "198.18.200.1")),
    Knob(("xray", "container_id"), (101, 102)),
    Knob(("wireguard", "container_id"), (100, 110)),
)


@dataclass(frozen=True)
class Variant:
    """A document, its hops, and in words what is different from the one before."""

    document: dict[str, Any]
    hops: Hops
    changed: tuple[str, ...]

    @property
    def config(self) -> PrivacyRouterConfig:
        """The privacy router's part, parsed. Raises ConfigError."""
        return parse_document(json.dumps(self.document), "a variant").config


@dataclass
class Variants:
    """An endless row of variants of `base`; every ordered pair of chains comes equally often,
    pairs of the same one only where there is something else to change."""

    base: dict[str, Any]
    rng: Random
    knobs: tuple[Knob, ...] = KNOBS
    _pairs: Counter[tuple[Hops, Hops]] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Variant]:
        current = Variant(copy.deepcopy(self.base), CHAINS[0], ())
        while True:
            current = self._after(current)
            yield current

    def _after(self, current: Variant) -> Variant:
        hops = self._next_hops(current.hops)
        self._pairs[current.hops, hops] += 1
        document = copy.deepcopy(current.document)
        section = document["plugins"]["privacy_router"]
        changed = [] if hops == current.hops else [f"{_short(current.hops)} → {_short(hops)}"]
        for hop in ("warp", "xray"):
            section.setdefault(hop, {})["enabled"] = hop in hops
        turned = [knob for knob in self.knobs if self.rng.random() < _KNOB_CHANCE]
        if self.knobs and not turned and not changed:
            turned = [self.rng.choice(self.knobs)]
        changed += [f"{knob.name}={_turn(section, knob, self.rng)}" for knob in turned]
        return Variant(document, hops, tuple(changed))

    def _next_hops(self, current: Hops) -> Hops:
        others = [hops for hops in CHAINS if self.knobs or hops != current]
        least = min(self._pairs[current, hops] for hops in others)
        return self.rng.choice([h for h in others if self._pairs[current, h] == least])


def _turn(section: dict[str, Any], knob: Knob, rng: Random) -> Any:
    """Give a knob another value than it has."""
    *parents, key = knob.path
    for parent in parents:
        section = section.setdefault(parent, {})
    now = section.get(key, knob.values[0])
    value = rng.choice([one for one in knob.values if one != now])
    section[key] = copy.deepcopy(value)
    return value


def _short(hops: Hops) -> str:
    return "+".join(hop[0] for hop in hops)


def pair_of(before: Hops, after: Hops) -> str:
    """Two chains in a few letters, such as `g+w+x → g+x`."""
    return f"{_short(before)} → {_short(after)}"
