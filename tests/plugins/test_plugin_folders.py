"""Every plugin's folder has the same names for the same stages of the engine's contract."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

from privacy_router import plugins

STAGES: Final = ("declare", "observe", "check", "apply", "rollback", "watch")
SYNONYMS: Final = {
    "declare": {"declared", "declaring", "declaration", "section", "wanted"},
    "observe": {"observed", "observing", "read", "reading", "query", "state"},
    "diff": {"compare", "comparing", "difference"},
    "check": {"checks", "checking", "obstacles", "in_use", "refuse", "validate"},
    "apply": {"applying", "making", "make", "ending", "doing", "work"},
    "rollback": {"undo", "undoing", "going_back", "restore", "restoring"},
    "watch": {"watches", "watching", "events", "hear", "listen", "changes"},
    "dry_run": {"rehearsal", "simulation"},
}
FOLDERS: Final = sorted(path.parent for path in Path(plugins.__path__[0]).glob("*/__init__.py"))


def modules(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_stage_has_its_name_and_no_other(folder: Path) -> None:
    assert "plugin" in modules(folder)
    for stage, others in SYNONYMS.items():
        assert modules(folder).isdisjoint(others), f"the name of that stage is {stage}"
    assert not [name for name in modules(folder) if name.endswith("ing")]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_plugin_itself_is_all_that_a_folder_shows(folder: Path) -> None:
    shown = ast.parse((folder / "__init__.py").read_text())
    imported = [node.module for node in ast.walk(shown) if isinstance(node, ast.ImportFrom)]
    assert f"privacy_router.plugins.{folder.name}.plugin" in imported


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_stages_know_nothing_of_the_plugin_that_calls_them(folder: Path) -> None:
    for path in folder.glob("*.py"):
        if path.stem in STAGES:
            text = path.read_text()
            assert f"privacy_router.plugins.{folder.name}.plugin " not in text
            assert "from privacy_router.engine.plugin import Plugin" not in text
