"""What a document would change on the machine: everything read, nothing touched."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from privacy_router.engine.calls import availability, bounded, require_available
from privacy_router.engine.model import Change, Desired, Mode, Observed, Resource, enforced
from privacy_router.host.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from privacy_router.engine.document import Source
    from privacy_router.engine.model import ResourceKey, Value
    from privacy_router.engine.plugin import Plugin, Trust


@dataclass(frozen=True)
class Share:
    """One plugin's share of a plan. `desired` has what the section declares, and what is given
    back because it declares it no longer."""

    plugin: Plugin
    desired: Desired
    observed: Observed
    changes: Sequence[Change]
    released: frozenset[ResourceKey] = frozenset()

    @property
    def to_make(self) -> list[Change]:
        """The changes that a run makes; the others are only reported."""
        return enforced(self.changes)

    @property
    def kept(self) -> Desired:
        """What is to be kept so after the run."""
        return replace(self.desired.without(self.released), caller_pid=None)


@dataclass(frozen=True)
class Preview:
    """What a document would change, to be shown: the shares of all plugins that have one, in the
    order in which changes are made. Values in it may stand for what is not known, so that nothing
    carries it out."""

    source: Source
    shares: Sequence[Share]

    @property
    def changes(self) -> list[Change]:
        """All differences, by plugin."""
        return [change for share in self.shares for change in share.changes]


@dataclass(frozen=True)
class Plan(Preview):
    """The same of what was prepared, to be carried out."""

    @property
    def changing(self) -> list[Share]:
        """The shares with anything to do."""
        return [share for share in self.shares if share.to_make]

    def takes(self) -> dict[ResourceKey, Value]:
        """What was there of the resources that this takes over."""
        found: dict[ResourceKey, Value] = {}
        for share in self.changing:
            keeper = share.plugin.keeper()
            found |= keeper.takes(share.desired, share.observed, share.to_make)
        return found

    def releases(self) -> list[ResourceKey]:
        """The resources that are given back."""
        return sorted(key for share in self.shares for key in share.released)


async def make_plan(
    plugins: Sequence[Plugin],
    source: Source,
    sections: Mapping[str, Any],
    managed: Mapping[ResourceKey, Value],
    caller_pid: int | None = None,
) -> Plan:
    """Compare what the document declares with the machine, all plugins at the same time.

    `caller_pid` is the process that calls for a run of this plan, if one does. Raises
    PluginUnavailableError for a section whose plugin cannot work here, and what declaring and
    querying do.
    """

    def declare_of(plugin: Plugin) -> Callable[[Any], Desired]:
        return lambda section: replace(plugin.declare(section), caller_pid=caller_pid)

    return Plan(source, await _shares(plugins, sections, managed, declare_of))


async def make_preview(
    plugins: Sequence[Plugin],
    source: Source,
    sections: Mapping[str, Any],
    managed: Mapping[ResourceKey, Value],
    trust: Trust,
) -> Preview:
    """The same to be shown, of a document that nothing was prepared for."""

    def draft_of(plugin: Plugin) -> Callable[[Any], Desired]:
        return lambda section: plugin.draft(section, trust)

    return Preview(source, await _shares(plugins, sections, managed, draft_of))


_Declaring: TypeAlias = "Callable[[Plugin], Callable[[Any], Desired]]"


async def _shares(
    plugins: Sequence[Plugin],
    sections: Mapping[str, Any],
    managed: Mapping[ResourceKey, Value],
    declaring: _Declaring,
) -> list[Share]:
    tasks = [
        asyncio.create_task(_share(plugin, sections.get(plugin.name), managed, declaring(plugin)))
        for plugin in plugins
    ]
    try:
        shares = await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return [share for share in shares if share is not None]


async def _share(
    plugin: Plugin,
    section: Any,
    managed: Mapping[ResourceKey, Value],
    declare: Callable[[Any], Desired],
) -> Share | None:
    ours = {key: value for key, value in managed.items() if key.plugin == plugin.name}
    if not plugin.keeper().has_share(section, ours):
        return None
    if section is not None:
        await require_available(plugin, f"plugins.{plugin.name}")
    elif not await availability(plugin):
        return None  # what it had taken over is given back once it is there again
    declared = await bounded(plugin, "declare", in_thread(declare, section))
    released = frozenset(ours.keys() - declared.resources.keys())
    desired = _with_originals(declared, {key: ours[key] for key in released})
    observed = await bounded(plugin, "read its state", plugin.observe(desired))
    desired = desired.without(plugin.lost_of(released, desired, observed))
    return Share(plugin, desired, observed, plugin.diff(desired, observed), released)


def _with_originals(declared: Desired, originals: Mapping[ResourceKey, Value]) -> Desired:
    back = {key: Resource(value, Mode.ENFORCE) for key, value in originals.items()}
    return replace(declared, resources={**declared.resources, **back})
