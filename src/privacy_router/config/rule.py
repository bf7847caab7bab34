"""What a cross-check is: a pure function over the parts of the configuration that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy_router.config.problems import Problem, describe

if TYPE_CHECKING:
    from privacy_router.config.models import PrivacyRouterConfig

CONFIG_PATH = "plugins.privacy_router"

Finder = Callable[["PrivacyRouterConfig"], Iterable[Problem]]


@dataclass(frozen=True)
class Rule:
    """A cross-check; it runs only when all of `parts` (keys of the configuration) are valid."""

    parts: frozenset[str]
    find: Finder


def rule(parts: str, find: Finder) -> Rule:
    """A rule that reads the `parts`, which are separated by spaces."""
    return Rule(frozenset(parts.split()), find)


def problem(
    path: str, found: object, expected: str, nearest: str | None = None, *, because: str = ""
) -> Problem:
    """A problem at `path` below the privacy router's part of the document."""
    reason = f" ({because})" if because else ""
    return Problem(f"{CONFIG_PATH}.{path}", describe(found), expected + reason, nearest)
