"""The plugin `dns`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from privacy_router.engine.errors import PluginUnavailableError
from privacy_router.engine.model import Desired, Observed, differences
from privacy_router.engine.plugin import Plugin
from privacy_router.host.file_state import put_entry, read_entry, remove_if_empty
from privacy_router.host.threads import in_thread
from privacy_router.plugins.dns import resolv_conf
from privacy_router.plugins.dns.check import require_last_word, require_replaceable
from privacy_router.plugins.dns.declare import (
    DROP_IN,
    FILE,
    LINK,
    RESOLVER,
    Wanted,
    assignments,
    only_resolved,
    resources,
)
from privacy_router.plugins.dns.resolved import UNIT, Resolved, managed_elsewhere
from privacy_router.plugins.dns.watch import changes as outside_changes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from privacy_router.config.plugins.dns import DnsConfig
    from privacy_router.engine.model import Change, ResourceKey, Value
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.target import Machine


class DnsPlugin(Plugin):
    """How the machine resolves names: systemd-resolved where it is, else /etc/resolv.conf."""

    name = "dns"
    title = "Name resolution"
    after: ClassVar[frozenset[str]] = frozenset({"net"})  # which makes the links
    timeout_s = 120.0

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._resolved = Resolved(machine)
        self._drop_in = machine.path(DROP_IN)
        self._resolver_key = self.key(*RESOLVER)
        self._file_key = self.key(*FILE)

    def declare(self, section: Any) -> Desired:
        if section is None:
            return Desired(payload=Wanted())
        config: DnsConfig = section
        found = {self.key(*where): resource for where, resource in resources(config)}
        either = {self._resolver_key, self._file_key} <= found.keys()
        return Desired(found, Wanted(only_resolved(config), either))

    # --- looking -----------------------------------------------------------------------------

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        wanted = {self._resolver_key, self._file_key} if keys is None else set(keys)
        links = sorted(key for key in wanted if key.kind == LINK)
        found: dict[ResourceKey, Value] = {}
        there = await self._resolved.is_there() if wanted - {self._file_key} else False
        if self._resolver_key in wanted:
            found[self._resolver_key] = await self._resolver(there)
        if self._file_key in wanted:
            found[self._file_key] = await in_thread(resolv_conf.read, self._machine)
        if there:
            found |= {key: await self._resolved.link(key.name) for key in links}
            if keys is None:
                told = await self._resolved.links()
                found |= {self.key(LINK, name): value for name, value in told.items()}
        return Observed({key: value for key, value in found.items() if value is not None})

    async def _resolver(self, there: bool) -> Value:
        """Without the service its file may still be left."""
        drop_in = await in_thread(read_entry, self._drop_in)
        if there:
            return {**await self._resolved.settings(), "drop_in": drop_in}
        return None if drop_in is None else {"drop_in": drop_in}

    def diff(self, desired: Desired, observed: Observed) -> list[Change]:
        """The changes on the backend that is there, where either will do."""
        moot = self._moot(desired, observed)
        changes = differences(desired, observed)
        return [c for c in changes if c.key != moot and not _is_given_back(c)]

    def _moot(self, desired: Desired, observed: Observed) -> ResourceKey | None:
        """The resource of the other backend, where either will do."""
        if not (desired.payload or Wanted()).either:
            return None
        there = "servers" in (observed.values.get(self._resolver_key) or {})
        return self._file_key if there else self._resolver_key

    def is_lost(self, key: ResourceKey, desired: Desired, observed: Observed) -> bool:  # noqa: ARG002
        """What a link was told went with it."""
        return key.kind == LINK and key not in observed.values

    def takes(
        self, desired: Desired, observed: Observed, changes: Sequence[Change]
    ) -> dict[ResourceKey, Value]:
        """The other backend may come later, and is set up then."""
        found = super().takes(desired, observed, changes)
        moot = self._moot(desired, observed)
        return found if moot is None else {moot: observed.values.get(moot), **found}

    async def check(self, desired: Desired, changes: Sequence[Change]) -> None:
        if any(_needs_resolved(change) for change in changes):
            await self._require_resolved(desired.payload)
        for change in changes:
            if change.key.kind == LINK and await self._resolved.is_managed(change.key.name):
                raise managed_elsewhere(change.key.name)
        await in_thread(self._check_files, changes)

    async def _require_resolved(self, wanted: Wanted | None) -> None:
        if await self._resolved.is_there():
            return
        because = wanted.only_resolved if wanted else ""
        raise PluginUnavailableError(
            "systemd-resolved is not there, and plugins.dns needs it: "
            + (because or "it asks for that backend"),
            remedy=f"apt-get install systemd-resolved, then systemctl enable --now {UNIT}",
        )

    def _check_files(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.key == self._file_key:
                require_replaceable(self._machine, self._machine.path(FILE[1]))
            if change.key == self._resolver_key and _needs_resolved(change):
                require_last_word(self._machine, self._drop_in, assignments(change.after))

    # --- changing ----------------------------------------------------------------------------

    async def apply(
        self,
        desired: Desired,  # noqa: ARG002
        changes: Sequence[Change],
        tell: Progress,
    ) -> None:
        for change in changes:
            if change.key == self._resolver_key:
                await self._set_resolver(change.after, tell)
            elif change.key == self._file_key:
                await in_thread(resolv_conf.put, self._machine, change.after, tell)
        for change in changes:
            if change.key.kind == LINK:
                await self._set_link(change.key.name, change.after)

    async def _set_resolver(self, settings: Value, tell: Progress) -> None:
        drop_in = settings and settings["drop_in"]
        await in_thread(self._put_drop_in, drop_in)
        if not await self._resolved.is_there():
            return
        tell("systemd-resolved starts again")
        await self._resolved.restart()
        found = await self._resolved.settings()
        if drop_in is not None and found["resolv_conf"] in {"foreign", "missing"}:
            tell(
                f"{FILE[1]} does not lead to systemd-resolved: programs that read it"
                " themselves ask other servers"
            )

    def _put_drop_in(self, value: Value) -> None:
        put_entry(self._drop_in, value)
        if value is None:
            remove_if_empty(self._drop_in.parent)

    async def _set_link(self, name: str, settings: Value) -> None:
        if settings is None:
            await self._resolved.revert_link(name)
        else:
            await self._resolved.set_link(name, settings)

    def watch(self, desired: Desired) -> AsyncIterator[str]:  # noqa: ARG002
        return outside_changes(self._machine)


def _is_given_back(change: Change) -> bool:
    """Without our file, what is in force is not ours to say."""
    after = {"drop_in": None} if change.after is None else change.after
    if change.key.kind != RESOLVER[0] or after.get("drop_in", "") is not None:
        return False
    return (change.before or {}).get("drop_in") is None


def _needs_resolved(change: Change) -> bool:
    """Whether the change can be made by systemd-resolved only."""
    if change.key.kind == LINK:
        return change.after is not None
    return change.key.kind == RESOLVER[0] and (change.after or {}).get("drop_in") is not None
