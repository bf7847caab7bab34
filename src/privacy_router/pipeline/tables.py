"""The flow tables, declared once: numbers follow the order, docs and output use the names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table: what it is for, what becomes of a packet that no flow in it wants, where it may go.

    `miss` is None for drop, else the name of the table that a missed packet goes on to. `sends`
    says whether flows of the table may send packets out of a port.
    """

    name: str
    purpose: str
    miss: str | None
    onward: tuple[str, ...]
    sends: bool = False


TABLES = (
    Table(
        "classify",
        "Who sent this: a port may only use its own MAC, and decides the zone.",
        miss=None,
        onward=("neighbours", "security", "conntrack", "ttl"),
    ),
    Table(
        "neighbours",
        "Who has this address: answered here or asked of its owner alone, never flooded.",
        miss=None,
        onward=(),
        sends=True,
    ),
    Table(
        "security",
        "Bad TCP flags, reserved addresses and fragments are dropped.",
        miss="sources",
        onward=("sources",),
    ),
    Table(
        "sources",
        "A port may only use its own IP addresses, and never another port's.",
        miss=None,
        onward=("rates",),
    ),
    Table(
        "rates",
        "What can be used to flood is limited, for each port by itself.",
        miss="conntrack",
        onward=("conntrack",),
    ),
    Table(
        "conntrack",
        "Every packet is looked up as part of a connection, in the zone of its stretch.",
        miss=None,
        onward=("state",),
    ),
    Table(
        "state",
        "Established first, invalid never, new ones only where connections begin.",
        miss=None,
        onward=("ttl",),
    ),
    Table(
        "ttl",
        "Packets at the end of their life stay here; the others' TTL and hop limit become uniform.",
        miss=None,
        onward=("privacy", "functions"),
    ),
    Table(
        "privacy",
        "From hop to hop; what is not on its way along the chain is dropped.",
        miss=None,
        onward=(),
        sends=True,
    ),
    Table(
        "functions",
        "To the container that serves the function, and back to who asked.",
        miss=None,
        onward=(),
        sends=True,
    ),
)

_NUMBERS = {table.name: number for number, table in enumerate(TABLES)}


def number_of(name: str) -> int:
    """The number of the table on the switch; what `name_of` gave is taken back.

    Raises ValueError for a name that is not declared.
    """
    return _NUMBERS[name] if name in _NUMBERS else int(name)


def name_of(number: int) -> str:
    """The name of a table number, or the number itself where none is declared."""
    return TABLES[number].name if number < len(TABLES) else str(number)


def table_of(name: str) -> Table:
    """The declaration. Raises KeyError for a name that is not declared."""
    return TABLES[_NUMBERS[name]]


def check_declarations() -> None:
    """Tables only lead onward, to tables that exist. Raises ValueError; runs at import."""
    for number, table in enumerate(TABLES):
        if table.miss is not None and table.miss not in table.onward:
            raise ValueError(f"table {table.name} misses into {table.miss}, which is not declared")
        for target in table.onward:
            if target not in _NUMBERS or _NUMBERS[target] <= number:
                raise ValueError(f"table {table.name} leads back to {target}")


check_declarations()
