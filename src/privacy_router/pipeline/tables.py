"""The flow tables, declared once: numbers follow the order, docs and output use the names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table: what it is for, what becomes of a packet that no flow in it wants, where it may go.

    `miss` is None for drop, else the name of the table that a missed packet goes on to.
    """

    name: str
    purpose: str
    miss: str | None
    onward: tuple[str, ...]


TABLES = (
    Table(
        "classify",
        "Who sent this: a port may only use its own MAC, and decides the zone.",
        miss=None,
        onward=("security",),
    ),
    Table(
        "security",
        "Packets that nobody sends in earnest are dropped.",
        miss="normalise",
        onward=("normalise",),
    ),
    Table(
        "normalise",
        "What gives away the sender's system (TTL, hop limit) is made uniform.",
        miss="privacy",
        onward=("privacy",),
    ),
    Table(
        "privacy",
        "From hop to hop; what is not on its way along the chain is dropped.",
        miss=None,
        onward=(),
    ),
)

_NUMBERS = {table.name: number for number, table in enumerate(TABLES)}


def number_of(name: str) -> int:
    """The number of the table on the switch. Raises KeyError for a name that is not declared."""
    return _NUMBERS[name]


def name_of(number: int) -> str:
    """The name of a table number, or the number itself where none is declared."""
    return TABLES[number].name if number < len(TABLES) else str(number)


def check_declarations() -> None:
    """Tables only lead onward, to tables that exist. Raises ValueError; runs at import."""
    for number, table in enumerate(TABLES):
        targets = (*table.onward, *([table.miss] if table.miss else []))
        for target in targets:
            if target not in _NUMBERS or _NUMBERS[target] <= number:
                raise ValueError(f"table {table.name} leads back to {target}")


check_declarations()
