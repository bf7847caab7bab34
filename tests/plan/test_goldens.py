"""The compiled node of each set of hops, as files for a reviewer: `make goldens` rewrites them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plan.goldens import cases, texts_of
from tests.plan.hop_sets import HOP_SETS

if TYPE_CHECKING:
    from pathlib import Path


def test_every_set_of_hops_has_its_files() -> None:
    assert {case.name.replace("-", " ") for case in cases()} == set(HOP_SETS)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_files_are_what_the_node_compiles_to(case: Path) -> None:
    stale = [
        name
        for name, text in texts_of(case).items()
        if (case / name).read_text(encoding="utf-8") != text
    ]
    assert not stale, "read what changed with `make goldens` and git diff"
