"""Which chains of other programs' firewalls may drop what the host has to let pass (pure).

The rules are not run: a chain counts when it drops what none of its rules accepts, and no rule of
its table names what the node needs. Rules of iptables that nftables cannot show are not understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from privacy_router.hops import firewall

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from privacy_router.values.rulesets import Ruleset

_CLOSED: Final = "drop"
_REFUSING: Final = frozenset({"drop", "reject"})
_WITHOUT_EFFECT: Final = frozenset({"counter", "log"})


@dataclass(frozen=True)
class ClosedChain:
    """A base chain that drops what no rule of it accepts."""

    family: str
    table: str
    name: str
    hook: str

    def __str__(self) -> str:
        """As `nft list chain` takes it."""
        return f"chain {self.family} {self.table} {self.name}"


def keeps_out_clients(rulesets: Iterable[Ruleset], listen_port: int) -> list[ClosedChain]:
    """The chains that may drop what clients send to the gateway's UDP port."""
    return list(_closed(rulesets, "input", listen_port))


def keeps_in_chain(rulesets: Iterable[Ruleset], port: str) -> list[ClosedChain]:
    """The chains that may drop what the host forwards for a chain whose way out is that port."""
    return list(_closed(rulesets, "forward", port))


def _closed(rulesets: Iterable[Ruleset], hook: str, wanted: int | str) -> Iterator[ClosedChain]:
    for ruleset in rulesets:
        chains = list(_parts(ruleset, "chain"))
        rules = list(_parts(ruleset, "rule"))
        if any(_names(rule.get("expr"), wanted) for rule in rules):
            continue
        for chain in chains:
            if chain.get("hook") == hook and _drops_the_rest(chain, rules):
                words = [str(chain.get(key)) for key in ("family", "table", "name")]
                if not words[1].startswith(firewall.TABLE):
                    yield ClosedChain(words[0], words[1], words[2], hook)


def _parts(ruleset: Ruleset, kind: str) -> Iterator[Mapping[str, Any]]:
    for entry in ruleset:
        part = entry.get(kind) if isinstance(entry, Mapping) else None
        if isinstance(part, Mapping):
            yield part


def _drops_the_rest(chain: Mapping[str, Any], rules: list[Mapping[str, Any]]) -> bool:
    """By its policy, or by a last rule that drops or rejects each packet."""
    if chain.get("policy") == _CLOSED:
        return True
    own = [rule for rule in rules if rule.get("chain") == chain.get("name")]
    last = own[-1].get("expr") if own else None
    if not isinstance(last, list) or not last:
        return False
    words = [set(one) if isinstance(one, Mapping) else set() for one in last]
    return bool(words[-1] & _REFUSING) and all(one <= _WITHOUT_EFFECT for one in words[:-1])


def _names(value: Any, wanted: int | str) -> bool:
    """Whether the value is anywhere in the rule's expressions, if only in a range."""
    if isinstance(value, Mapping):
        span = value.get("range")
        if isinstance(wanted, int) and isinstance(span, list) and len(span) == 2:
            first, last = span
            if isinstance(first, int) and isinstance(last, int) and first <= wanted <= last:
                return True
        return any(_names(one, wanted) for one in value.values())
    if isinstance(value, list):
        return any(_names(one, wanted) for one in value)
    return type(value) is type(wanted) and value == wanted
