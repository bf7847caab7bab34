"""The interface of one plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from privacy_router.daemon.bus.interface import Interface, Reading, answers
from privacy_router.daemon.bus.values import Changed, Resources, changed, resources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.daemon.bus.values import Row
    from privacy_router.daemon.bus.view import PluginNow, View


class Plugin(Interface):
    """One plugin: whether it can work, what it keeps, what was not as declared."""

    readings: ClassVar[Mapping[str, Reading]] = {
        "Name": Reading("s", lambda self: self.now.plugin.name),
        "Title": Reading("s", lambda self: self.now.plugin.title),
        "After": Reading("as", lambda self: sorted(self.now.plugin.after)),
        "Capabilities": Reading("as", lambda self: sorted(self.now.plugin.capabilities)),
        "Available": Reading("b", lambda self: bool(self.now.available)),
        "Reason": Reading("s", lambda self: self.now.available.reason),
        "Remedy": Reading("s", lambda self: self.now.available.remedy),
        "State": Reading("s", lambda self: self.state()),
        "Trouble": Reading("s", lambda self: self.trouble()),
        "Resources": Reading("u", lambda self: self.kept()),
        "Deviations": Reading("a(ssssa{sv})", lambda self: self.deviations()),
        "LastDrift": Reading("(ta(ssssa{sv}))", lambda self: self.last_drift()),
    }

    def __init__(self, view: View, name: str) -> None:
        self._name = name
        super().__init__("org.opdbus.Plugin", view)

    @property
    def now(self) -> PluginNow:
        """As it was looked at last."""
        return self.view.plugins[self._name]

    def state(self) -> str:
        """`unavailable`, `idle` with nothing to keep, `kept`, `different` or `failed`."""
        if not self.now.available:
            return "unavailable"
        if self.trouble():
            return "failed"
        if self.deviations():
            return "different"
        return "kept" if self.kept() else "idle"

    def trouble(self) -> str:
        """What cannot be kept, and why."""
        return "" if self.now.loop is None else self.now.loop.trouble

    def kept(self) -> int:
        """How many resources are kept in this domain, of every document."""
        kept = self.view.engine.kept.values()
        own = self.view.engine.kept.get(self._name)
        if own is not None and own.resources:
            return len(own.resources)
        if self._name == "openflow" and (controller := self.view.controller) is not None:
            return len(controller.flows.program.flows) if controller.flows is not None else 0
        return sum(key.plugin == self._name for desired in kept for key in desired.resources)

    def deviations(self) -> list[Row]:
        """What is only observed, and is not as it should be."""
        return [] if self.now.loop is None else changed(self.now.loop.deviations)

    def last_drift(self) -> tuple[int, list[Row]]:
        """When something was found different last, in seconds since 1970, and what."""
        if self.now.loop is None:
            return (0, [])
        at_s, changes = self.now.loop.drift
        return (int(at_s), changed(changes))

    @answers("Query")
    async def query(self) -> Resources:
        """What is there now: plugin, kind, name, value."""
        return resources(await self.view.engine.query(self._name))

    @answers("Plan")
    async def plan(self) -> Changed:
        """What is not as declared now."""
        plan = await self.view.engine.preview(self.view.engine.source)
        return changed(c for c in plan.changes if c.key.plugin == self._name)
