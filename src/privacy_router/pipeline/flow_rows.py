"""Flows as rows for people: what is the same for several ports, or both versions of IP, said once.

In such a row `PORT` stands for each port's name, `MAC` and `ADDRESS` for what it uses itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.pipeline.allocation import Rate, meter_id
from privacy_router.pipeline.tables import name_of, number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from privacy_router.chain.order import Segment
    from privacy_router.chain.stations import Station
    from privacy_router.pipeline.flow import Flow
    from privacy_router.pipeline.mesh import MeshPort

NETWORK = "NETWORK"
_SAME_WORDS: Final = {
    "ipv6_src=": "nw_src=",
    "ipv6_dst=": "nw_dst=",
    "icmp6": "icmp",
    "tcp6": "tcp",
    "udp6": "udp",
    "ipv6": "ip",
    "IPv6": "IP",
    "IPv4": "IP",
    "hop limit": "TTL",
}
_EITHER_VERSION: Final = re.compile("|".join(_SAME_WORDS))
_SIXTH: Final = re.compile(r"\b(?:ipv6|icmp6|tcp6|udp6)\b")
_IN_NETWORK: Final = re.compile(r"(?<=nw_src=|nw_dst=|v6_src=|v6_dst=)[0-9a-f:][0-9a-f:./]*")
_NAMED_NETWORK: Final = re.compile(r" \S*[.:]\S*/\d+$")
# what is whole: not a part of a longer address or name
_BEGINS: Final = r"(?:(?<=set_field:)|(?<=output:)|(?<![\w.:]))"
_ENDS: Final = r"(?![\w./]|:\S)"
_METER: Final = re.compile(r"(?<=meter:)\d+")


@dataclass(frozen=True)
class Row:
    """One line about one or more flows that differ in their port, network or version only."""

    table: str
    priority: int
    match: str
    actions: str
    reason: str
    origin: str
    ports: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    both_versions: bool = False
    flows: int = 1


@dataclass(frozen=True)
class Naming:
    """Whose each number, MAC and address is."""

    port_names: Mapping[int, str]
    literals: Mapping[str, tuple[str, str]] = field(repr=False)
    pattern: re.Pattern[str] = field(repr=False)

    def name(self, text: str, own: str) -> str:
        """The text with words in the place of MACs and addresses, those of `own` without a name."""

        def word(found: re.Match[str]) -> str:
            what, owner = self.literals[found.group()]
            if owner in ("", own):
                return what
            return owner if what == "PORT" else f"{what} of {owner}"

        return self.pattern.sub(word, text)


def naming_of(
    segment: Segment, mesh: Mapping[str, MeshPort], networks: Mapping[str, Iterable[object]]
) -> Naming:
    """The names for everything that belongs to a port, and for `networks` by their words."""
    literals = {str(one): (words, "") for words, those in networks.items() for one in those}
    ports: dict[str, Station | MeshPort] = {hop.port: hop for hop in segment.stations}
    ports |= mesh
    for name, port in ports.items():
        literals |= {name: ("PORT", name), port.mac: ("MAC", name)}
        literals |= {str(port.address(version)): ("ADDRESS", name) for version in (4, 6)}
    names = {port.ofport: name for name, port in ports.items()}
    words = "|".join(map(re.escape, sorted(literals, key=len, reverse=True)))
    return Naming(names, literals, re.compile(rf"{_BEGINS}(?:{words}){_ENDS}"))


def rows_of(flows: Iterable[Flow], naming: Naming) -> list[Row]:
    """The rows in the order of the pipeline: table, then priority from the top."""
    groups: dict[tuple[str, ...], list[Flow]] = {}
    for flow in flows:
        key = tuple(_EITHER_VERSION.sub(_same, part) for part in _general(flow, naming))
        groups.setdefault((flow.table, str(flow.priority), *key), []).append(flow)
    rows = [_row(group, naming) for group in groups.values()]
    return sorted(rows, key=lambda row: (number_of(row.table), -row.priority))


def _same(found: re.Match[str]) -> str:
    return _SAME_WORDS[found.group()]


def _row(group: list[Flow], naming: Naming) -> Row:
    first = group[0]
    ports = tuple(dict.fromkeys(naming.port_names[f.port] for f in group if f.port))
    networks = tuple(dict.fromkeys(n for flow in group for n in _networks(flow, naming)))
    sixth = [bool(_SIXTH.search(format_match(flow.match))) for flow in group]
    both = any(sixth) and not all(sixth)
    several = len(ports) > 1
    own = naming.port_names.get(first.port, "") if several else ""
    match, actions, reason, origin = _named(first, naming, own)
    if len(networks) > 1:
        match, reason = _IN_NETWORK.sub(NETWORK, match), _NAMED_NETWORK.sub("", reason)
    if both:
        reason = reason.replace("IPv4", "IP")
    listed = networks if len(networks) > 1 else ()
    of = ports if several else ()
    place = (first.table, first.priority)
    return Row(*place, match, actions, reason, origin, of, listed, both, len(group))


def _general(flow: Flow, naming: Naming) -> tuple[str, ...]:
    """The flow without anything that may differ within a row."""
    match, *rest = _named(flow, naming, naming.port_names.get(flow.port, ""))
    if _networks(flow, naming):
        match = _IN_NETWORK.sub(NETWORK, match)
        rest[1] = _NAMED_NETWORK.sub("", rest[1])
    return (match, *rest)


def _networks(flow: Flow, naming: Naming) -> list[str]:
    """The networks that a flow of no port names and that belong to no port here."""
    return [] if flow.port else _IN_NETWORK.findall(_named(flow, naming, "")[0])


def _named(flow: Flow, naming: Naming, own: str) -> tuple[str, str, str, str]:
    """Match, actions, reason and origin."""
    match = format_match(flow.match, naming.port_names.get)
    actions = format_instructions(flow.instructions, naming.port_names.get, name_of)
    rates = {str(meter_id(rate, flow.port)): rate.name for rate in Rate}
    actions = _METER.sub(lambda found: rates.get(found.group(), found.group()), actions)
    parts = (match, actions, _without_port(flow, naming))
    match, actions, reason = (naming.name(part, own) for part in parts)
    return match, actions, reason, flow.origin


def _without_port(flow: Flow, naming: Naming) -> str:
    """The reason without the hop's or the port's name before it."""
    name = naming.port_names.get(flow.port)
    if name is None:
        return flow.reason
    hop, _, rest = flow.reason.partition(": ")
    shorter = rest if hop == name or rest.startswith(f"{name} ") else flow.reason
    return shorter.removeprefix(f"{name} ")
