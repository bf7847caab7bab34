"""Commands are loaded when they run; the list of them says what each says itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from privacy_router.cli.deferred import DeferredCommand, group_of
from privacy_router.cli.main import app

ROOT = typer.main.get_group(app)
DEFERRED = {name: one for name, one in ROOT.commands.items() if isinstance(one, DeferredCommand)}
HEAVY = ("pydantic", "ovs", "dbus_fast", "structlog", "privacy_router.node")


def first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


@pytest.mark.parametrize("name", sorted(DEFERRED))
def test_a_listed_command_is_there_and_says_the_same(name: str) -> None:
    loaded = DEFERRED[name].load()
    assert loaded.name == name or hasattr(loaded, "commands")
    assert first_paragraph(DEFERRED[name].help) == first_paragraph(loaded.help)


def test_every_command_of_a_module_is_listed() -> None:
    for module in {one.module for one in DEFERRED.values()}:
        names = {name for name, one in DEFERRED.items() if one.module == module}
        loaded = DEFERRED[min(names)].load()
        if not hasattr(loaded, "commands"):
            group = group_of(module)
            assert set(group.commands) == names


def test_listing_the_commands_loads_nothing_heavy() -> None:
    script = (
        "import sys; from privacy_router.cli.main import app\n"
        "sys.argv = ['privacy-router', '--help']\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sys.modules)\n"
    )
    ran = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=True)
    loaded = ran.stdout.rpartition("LOADED")[2].split()
    assert [one for one in loaded if one.startswith(HEAVY)] == []
    assert "rollback" in ran.stdout
