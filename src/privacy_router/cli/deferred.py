"""Commands whose modules are loaded when they are run, and not to list them.

A module of commands has `app`, a typer.Typer made by `commands`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


def commands(**settings: Any) -> typer.Typer:
    """What the commands of a module are registered with; they look alike."""
    return typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, **settings)


def group_of(module: str) -> TyperGroup:
    """The commands of a module of this package."""
    return get_group(import_module(f"privacy_router.cli.{module}").app)


class DeferredCommand(TyperCommand):
    """A command of a module; `text` is the first paragraph of its help."""

    def __init__(self, name: str, module: str, text: str) -> None:
        super().__init__(name, help=text, rich_markup_mode="markdown")
        self.module = module

    def load(self) -> TyperCommand | TyperGroup:
        """The command itself."""
        return cast("TyperCommand", group_of(self.module).commands[str(self.name)])

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        """The context of the command itself, so that from here on it is the one that runs."""
        return self.load().make_context(*arguments, **more)


class DeferredGroup(DeferredCommand):
    """A module's commands as a group."""

    def load(self) -> TyperGroup:
        """The group itself."""
        return group_of(self.module)
