"""The page about the pipeline (docs/pipeline.md), written from its declarations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.pipeline.allocation import (
    MESH_TRACKING_ZONE,
    OWNER,
    ZONE_REGISTER,
    Layer,
    Rate,
    Zone,
    meter_id,
    tracking_zone_between,
)
from privacy_router.pipeline.flow_rows import NETWORK, naming_of, rows_of
from privacy_router.pipeline.mesh import expected_ports
from privacy_router.pipeline.tables import TABLES, number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from privacy_router.pipeline.compile import Pipeline
    from privacy_router.pipeline.flow_rows import Row
    from privacy_router.pipeline.mesh import MeshPort
    from privacy_router.pipeline.tables import Table

_LAYERS: Final = {
    Layer.BASE: "the ground: misses, who is who, ARP and neighbour discovery, tracking",
    Layer.SECURITY: "what is dropped or limited, and which connections may begin",
    Layer.OBFUSCATION: "what hides patterns: uniform TTL and hop limit",
    Layer.PRIVACY: "from hop to hop",
    Layer.FUNCTION: "function routing on the mesh",
    Layer.POLICY: "flows of `openflow.flow_policies`",
}
_ZONES: Final = {
    Zone.PRIVACY: "the privacy segment: the hops' ports",
    Zone.MESH: "the mesh: the containers' ports and the way into the mesh",
}
_RATES: Final = {
    Rate.ARP: "ARP and neighbour discovery",
    Rate.ICMP: "ICMP and ICMPv6",
    Rate.SYN: "TCP packets that begin a connection (SYN without ACK)",
    Rate.DNS: "UDP to port 53",
}
_ORIGINS: Final = {
    "pipeline": "the pipeline itself",
    "chain": "the chain of hops",
    "derived": "the chain of hops",
    "discovery": "the port on the bridge",
}

_BEGINNING: Final = """\
<!-- Written by `make docs` from the declarations in src/privacy_router/pipeline; do not edit. -->

# The flow pipeline

Every packet that crosses the node's bridge is decided here, by OpenFlow tables in Open vSwitch. \
There is no learning, no flooding and no `NORMAL`: a packet goes where a flow sends it, or nowhere.

What holds for every configuration, and is checked before any flow is sent:

* Packets only go onward, to tables that their table names.
* They leave only from tables that may send, to ports of the same zone: nothing crosses between \
the privacy segment and the mesh.
* A packet that nothing wants is dropped, except where a table says otherwise.

![The tables in order, with what each does on a miss and where it leads](pipeline.svg)

## Tables
"""

_LEGEND: Final = """\
## Flows

These are the flows of the seed's configuration (`examples/seed.json`), written as `ovs-ofctl` \
does. In a table the highest priority comes first, and the first flow that matches decides. \
Flows that differ only in their port, or in the version of IP, are one line:

* `PORT` is the port's name, `MAC` and `ADDRESS` are its own, and `MAC of warp0` is another's.
* `CLIENTS`, `SEGMENT` and `MESH` are the networks of the clients, the hops and the mesh.
* `meter:ICMP` is the port's own meter of that kind, and `load:…->reg0` notes down the zone; both \
are explained below.

`privacy-router flows dump` shows the flows that are on the switch now, with their counters, \
`flows explain` says each in words, and `flows trace` follows one packet through them.
"""

_COUNTED: Final = """\
## What the switch counts

Each flow counts the packets and bytes that it took, those that it dropped as well: so \
`flows dump` says how many NULL scans or spoofed packets there were, and from which port the \
latter came. Each meter counts what it dropped. Counters begin anew when Open vSwitch is \
restarted; a reload of the configuration leaves alone what stays the same.
"""


def pipeline_document(pipeline: Pipeline) -> str:
    """The page as Markdown, with the flows that `pipeline` compiles for the expected ports."""
    config = pipeline.config
    mesh = expected_ports(config)
    networks: dict[str, Iterable[object]] = {
        "CLIENTS": pipeline.segment.clients,
        "SEGMENT": (config.transit_subnet, config.transit_subnet6),
        "MESH": (config.mesh_subnet, config.mesh_subnet6),
    }
    naming = naming_of(pipeline.segment, mesh, networks)
    rows = rows_of(pipeline.compile(mesh).flows, naming)
    groups = _port_groups(pipeline, mesh)
    parts = (
        _BEGINNING,
        *_table_of_tables(),
        "",
        _LEGEND,
        *(line for table in TABLES for line in _flows(table, rows, groups)),
        *_cookies(),
        *_registers(),
        *_tracking_zones(pipeline),
        *_meters(pipeline),
        _COUNTED,
    )
    return "\n".join(parts)


def _grid(headings: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|---" * len(headings) + "|"
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"


# --- tables and flows ---------------------------------------------------------------------------


def _table_of_tables() -> Iterator[str]:
    headings = ("number", "table", "what it is for", "on a miss", "leads on to")
    return _grid(headings, map(_about_table, TABLES))


def _about_table(table: Table) -> tuple[object, ...]:
    onward = [f"`{name}`" for name in table.onward] + (["ports"] if table.sends else [])
    link = f"[`{table.name}`](#{number_of(table.name)}-{table.name})"
    return number_of(table.name), link, table.purpose, _miss(table), ", ".join(onward)


def _miss(table: Table) -> str:
    return f"on to `{table.miss}`" if table.miss else "drop"


def _flows(
    table: Table, rows: Iterable[Row], groups: Mapping[frozenset[str], str]
) -> Iterator[str]:
    headings = ("priority", "match", "actions", "why", "asked for by")
    yield f"### {number_of(table.name)} {table.name}\n"
    yield f"{table.purpose}\n"
    yield from _grid(headings, (_about_row(row, groups) for row in rows if row.table == table.name))
    yield ""


def _about_row(row: Row, groups: Mapping[frozenset[str], str]) -> tuple[object, ...]:
    whom = [groups.get(frozenset(row.ports)) or ", ".join(row.ports)] if row.ports else []
    whom += ["IPv4 and IPv6"] if row.both_versions else []
    whom += [f"`{NETWORK}`: {', '.join(row.networks)}"] if row.networks else []
    match = "<br>".join([_code(row.match) or "all other packets", *whom])
    origin = _ORIGINS.get(row.origin) or f"`{row.origin}`"
    return row.priority, match, _code(row.actions), row.reason, origin


def _code(text: str) -> str:
    """In a cell, so that it can be broken after commas."""
    return f"`{text.replace(',', ', ').replace('|', '&#124;')}`" if text else ""


def _port_groups(pipeline: Pipeline, mesh: Mapping[str, MeshPort]) -> dict[frozenset[str], str]:
    hops = frozenset(port.port for port in pipeline.segment.stations)
    containers = frozenset(p.name for p in mesh.values() if p.container_id is not None)
    return {
        containers: "each container's port",
        frozenset(mesh): "each port of the mesh",
        hops: "each hop's port",
        hops | frozenset(mesh): "each port",
    }


# --- numbers ------------------------------------------------------------------------------------


def _cookies() -> Iterator[str]:
    yield "## Cookies\n"
    yield (
        "A flow's cookie says whose it is, so that flows of other programs are left alone. From"
        f" the top: 16 bits `{OWNER >> 48:#06x}` (the letters PR), 16 bits for the part of the"
        " pipeline, 32 bits for the OpenFlow number of the port that the flow came with, or 0.\n"
    )
    rows = ((int(layer), layer.name.lower(), _LAYERS[layer]) for layer in Layer)
    yield from _grid(("part", "name", "its flows"), rows)
    yield ""


def _registers() -> Iterator[str]:
    yield "## Registers\n"
    yield (
        f"`{ZONE_REGISTER}` holds the zone of a packet, from the first table on. No other register"
        " is used, and no flow of yours can match or set one.\n"
    )
    yield from _grid(("value", "zone"), ((int(zone), _ZONES[zone]) for zone in Zone))
    yield ""


def _tracking_zones(pipeline: Pipeline) -> Iterator[str]:
    yield "## Connection tracking zones\n"
    yield (
        "A client's packet crosses the bridge once for each stretch between two hops. Each stretch"
        " has a zone of its own, since in one zone for all the second crossing would look like a"
        " repetition of the first.\n"
    )
    segment = pipeline.segment
    zones = {MESH_TRACKING_ZONE: "the mesh"}
    for source, target in segment.edges:
        stretch = f"between `{source.port}` and `{target.port}`"
        zones.setdefault(tracking_zone_between(source, target), stretch)
    yield from _grid(("zone", "connections"), sorted(zones.items()))
    yield ""


def _meters(pipeline: Pipeline) -> Iterator[str]:
    limits = pipeline.config.openflow.rates.model_dump()
    example = pipeline.segment.stations[0]
    numbers = [meter_id(rate, example.ofport) for rate in Rate]
    yield "## Meters\n"
    yield (
        "Each port has a meter for each kind of packet that floods are made of; what exceeds the"
        f" rate is dropped by the switch. The hops' meters come first:"
        f" `{example.port}` is port {example.ofport} and has {numbers[0]} to"
        f" {numbers[-1]}. Hops do not speak ARP and have no meter for it.\n"
    )
    kinds = {rate: rate.name.lower() for rate in Rate}
    rows = (
        (int(rate), _RATES[rate], limits[kind], f"`openflow.rates.{kind}`")
        for rate, kind in kinds.items()
    )
    yield from _grid(("kind", "packets", "per second", "key"), rows)
    yield ""
