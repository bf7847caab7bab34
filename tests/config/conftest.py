"""The seed's own example, and documents made from it by a few changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from privacy_router.config import ConfigError, Problem, parse_document

Change = Callable[[dict[str, Any]], object]

SEED_TEXT = (Path(__file__).parent / "seed.json").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def seed_text() -> str:
    return SEED_TEXT


@pytest.fixture(scope="session")
def problems_after() -> Callable[..., tuple[Problem, ...]]:
    """The problems of the seed after changes to its privacy router part."""

    def problems(*changes: Change) -> tuple[Problem, ...]:
        document = copy.deepcopy(json.loads(SEED_TEXT))
        for change in changes:
            change(document["plugins"]["privacy_router"])
        try:
            parse_document(json.dumps(document), "node.json")
        except ConfigError as error:
            return error.problems
        return ()

    return problems
