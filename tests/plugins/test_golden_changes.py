"""Every folder of tests/golden/PLUGIN/CASE: what a section changes on a machine, and the way back.

section.json  the plugin's section of the document
current.json  the machine: [kind, name, value] of each resource
change.json   what is to be changed: verb, kind, name, before, after, mode
revert.json   what undoes it, once it was made
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config.models import Plugins
from privacy_router.engine.model import Change, Observed, enforced
from privacy_router.host.dbus import Bus
from privacy_router.plugins.target import MACHINE_PLUGINS, Machine, make

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.engine.plugin import Plugin

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(case for name in MACHINE_PLUGINS for case in (GOLDEN / name).glob("*/"))


def read(case: Path, name: str) -> Any:
    return json.loads((case / f"{name}.json").read_text())


def plugin_of(case: Path) -> Plugin:
    return make(case.parent.name, Machine(Bus(None), case))


def observed(plugin: Plugin, case: Path) -> Observed:
    return Observed({plugin.key(kind, name): value for kind, name, value in read(case, "current")})


def rows(changes: Iterable[Change]) -> list[dict[str, Any]]:
    return [
        {
            "verb": change.verb,
            "kind": change.key.kind,
            "name": change.key.name,
            "before": change.before,
            "after": change.after,
            "mode": change.mode.value,
        }
        for change in changes
    ]


def merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: merged(old.get(key), value) for key, value in new.items()}
    return new


def after(machine: Observed, changes: Iterable[Change]) -> Observed:
    values = dict(machine.values)
    for change in changes:
        values[change.key] = merged(values.get(change.key), change.after)
    return Observed({key: value for key, value in values.items() if value is not None})


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}-{case.name}")
async def test_a_section_changes_the_machine_and_back(case: Path) -> None:
    plugin, machine = plugin_of(case), observed(plugin_of(case), case)
    section = Plugins.model_validate({plugin.name: read(case, "section")})
    desired = plugin.declare(getattr(section, plugin.name))
    changes = plugin.diff(desired, machine)
    assert rows(changes) == read(case, "change")
    made = enforced(changes)
    changed = after(machine, made)
    assert enforced(plugin.diff(desired, changed)) == []
    back = plugin.diff(plugin.restoring(await plugin.checkpoint(made)), changed)
    assert rows(back) == read(case, "revert")
    assert after(changed, back).canonical() == machine.canonical()


def test_every_plugin_has_cases() -> None:
    assert {case.parent.name for case in CASES} == set(MACHINE_PLUGINS)
