"""The order of plugins."""

from __future__ import annotations

from pathlib import Path

import pytest

from privacy_router.engine.order import in_order
from tests.engine.file_plugin import FilePlugin, Final


def made(*pairs: tuple[str, str]) -> list[FilePlugin]:
    return [FilePlugin(name, Path(), *after.split()) for name, after in pairs]


def test_each_behind_what_it_needs_and_by_name_otherwise() -> None:
    plugins = made(("d", ""), ("c", "a b"), ("b", ""), ("a", "d"))
    assert [p.name for p in in_order(plugins)] == ["b", "d", "a", "c"]


def test_a_circle_is_named() -> None:
    with pytest.raises(ValueError, match=r"wait for each other: (a → b → a|b → a → b)"):
        in_order(made(("a", "b"), ("b", "a")))


def test_who_is_not_there_is_not_waited_for() -> None:
    assert [p.name for p in in_order(made(("b", "z"), ("a", "b")))] == ["b", "a"]


def test_nothing_that_goes_back_stands_behind_what_cannot() -> None:
    with pytest.raises(ValueError, match="b can be undone, but comes after what cannot"):
        in_order([Final("a", Path()), *made(("b", "a"))])
