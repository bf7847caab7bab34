"""The order of plugins, from what each says comes before it (pure)."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.engine.plugin import Plugin


def in_order(plugins: Iterable[Plugin]) -> list[Plugin]:
    """The plugins so that each comes behind those that it names in `after`.

    Among equals the names decide, so that every run is alike. Plugins that cannot roll back come
    last, behind everything that can still fail and be undone. One that is not there is not waited
    for. Raises ValueError for a cycle, and for one that can roll back but stands behind one that
    cannot.
    """
    by_name = {plugin.name: plugin for plugin in plugins}
    present = by_name.keys()
    sorter = TopologicalSorter({name: p.after & present for name, p in by_name.items()})
    ordered: list[Plugin] = []
    try:
        sorter.prepare()
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            ordered += [by_name[name] for name in ready]
            sorter.done(*ready)
    except CycleError as error:
        raise ValueError(f"plugins wait for each other: {' → '.join(error.args[1])}") from error
    return _irreversible_last(ordered)


def _irreversible_last(ordered: list[Plugin]) -> list[Plugin]:
    final = {plugin.name for plugin in ordered if not plugin.can_roll_back}
    for plugin in ordered:
        if plugin.can_roll_back and not final.isdisjoint(plugin.after):
            raise ValueError(f"{plugin.name} can be undone, but comes after what cannot")
    return sorted(ordered, key=lambda plugin: plugin.name in final)
