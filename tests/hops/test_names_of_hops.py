"""A hop is known by its declaration: its name is spelled in no other part of the program."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privacy_router.hops.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES: Final = Path(__file__).parents[2] / "src/privacy_router"
MAY_NAME_THEM: Final = {
    "hops": "where they are declared",
    "config": "the sections of the document",
    "lab": "the seed's own chain, with its stand-ins",
}
OTHER_WORDS: Final = {
    ("node/probe.py", "warp"): "a field of Cloudflare's trace page",
    ("pipeline/notation.py", "exit"): "an action of Open vSwitch",
}


def spelled() -> Iterator[tuple[str, str]]:
    """The files with a string that is the name of a hop, and that string."""
    names = {hop.name for hop in CATALOGUE.hops}
    for path in SOURCES.rglob("*.py"):
        file = path.relative_to(SOURCES)
        if file.parts[0] not in MAY_NAME_THEM:
            for part in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(part, ast.Constant) and part.value in names:
                    yield (file.as_posix(), str(part.value))


def test_no_other_part_spells_the_name_of_a_hop() -> None:
    assert set(spelled()) == set(OTHER_WORDS)
