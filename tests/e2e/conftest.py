"""Labs for the end-to-end tests: one a module, with a name of its own, gone afterwards."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from privacy_router.lab import stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab


@pytest.fixture(scope="module")
def lab_prefix(request: pytest.FixtureRequest) -> str:
    """For modules that build labs of their own."""
    return lab_name(request)


def lab_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test process uses."""
    module = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    return f"t{os.getpid()}-{module.replace('_', '-')}"[:24]


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab whose node is up and whose client is connected."""
    name = lab_name(request)
    try:
        yield stage.up(name)
    finally:
        stage.down(name)


@pytest.fixture
def bare_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab whose node was not started."""
    name = lab_name(request) + "-bare"
    try:
        yield stage.up(name, with_node=False)
    finally:
        stage.down(name)
