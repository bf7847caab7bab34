"""The plugin login1: reads all of the login manager, and keeps settings, locks and lingering."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from privacy_router.engine.errors import RefusedError, not_as_asked
from privacy_router.engine.model import Desired, Mode, Observed, Resource
from privacy_router.engine.plugin import Plugin
from privacy_router.host.threads import in_thread
from privacy_router.plugins.login1 import linger, locks, logind, settings
from privacy_router.plugins.login1.drop_in import FILE, DropIn, overriding
from privacy_router.plugins.login1.watch import outside_changes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence

    from privacy_router.config.plugins.login1 import Login1Config
    from privacy_router.engine.model import Availability, Change, ResourceKey, Value
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.target import Machine

SETTING = "setting"
LOCK = "inhibitor"
LINGER = "linger"


class Login1Plugin(Plugin):
    """Keys, lid and idleness; inhibitor locks; lingering users. Sessions and seats to look at.

    A `setting` has the name and the value that logind.conf has for it, with times in seconds; an
    `inhibitor` says what it inhibits; `linger` is true or false.
    """

    name: ClassVar[str] = "login1"
    title: ClassVar[str] = "Login manager"
    after: ClassVar[frozenset[str]] = frozenset({"packagekit", "systemd"})

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._bus = machine.bus
        self._drop_in = DropIn(machine.path(FILE))

    async def availability(self) -> Availability:
        """Whether logind answers."""
        return await logind.availability(self._bus)

    def declare(self, section: Any) -> Desired:
        """The payload is what our file has to say: settings that are enforced, in its words."""
        config: Login1Config | None = section
        if config is None:
            return Desired({}, {})
        resources = dict(self._declared(config))
        return Desired(resources, _lines(resources))

    def _declared(self, config: Login1Config) -> Iterator[tuple[ResourceKey, Resource]]:
        for name, resource in settings.declared(config.keys):
            yield self.key(SETTING, name), resource
        for lock in config.inhibitors:
            value = {"what": sorted(set(lock.what)), "mode": lock.lock_mode, "why": lock.why}
            yield self.key(LOCK, lock.name), Resource(value, Mode(lock.mode))
        for user in config.users:
            yield self.key(LINGER, user.name), Resource(user.linger, Mode(user.mode))

    # --- looking ---------------------------------------------------------------------------------

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        """With None also sessions, seats, users, and the locks of others."""
        kinds = None if keys is None else {key.kind for key in keys}
        found: dict[ResourceKey, Value] = {}
        for kind, read in (
            (SETTING, self._settings),
            (LOCK, self._locks),
            (LINGER, self._linger),
            ("session", self._sessions),
            ("seat", self._seats),
            ("user", self._users),
        ):
            if kinds is None or kind in kinds:
                found |= {self.key(kind, name): value for name, value in (await read()).items()}
        if keys is None:
            return Observed(found)
        users = await linger.existing({key.name for key in keys if key.kind == LINGER})
        asked = {k: found.get(k, False) for k in keys if k.kind == LINGER and k.name in users}
        others = {key: found[key] for key in keys if key.kind != LINGER and key in found}
        return Observed(asked | others)

    async def _settings(self) -> Mapping[str, Value]:
        return settings.in_force(await logind.properties(self._bus))

    async def _locks(self) -> Mapping[str, Value]:
        return await locks.locks(self._bus)

    async def _linger(self) -> Mapping[str, Value]:
        return dict.fromkeys(await linger.lingering(self._machine), True)

    async def _sessions(self) -> Mapping[str, Value]:
        found = {session.id: asdict(session) for session in await logind.sessions(self._bus)}
        return {key: {k: v for k, v in one.items() if k != "id"} for key, one in found.items()}

    async def _seats(self) -> Mapping[str, Value]:
        return await logind.seats(self._bus)

    async def _users(self) -> Mapping[str, Value]:
        return await logind.users(self._bus)

    async def watch(self, desired: Desired) -> AsyncIterator[str]:  # noqa: ARG002
        """Signals of the login manager; its configuration and the list of lingering users."""
        async for words in outside_changes(self._machine):
            yield words

    # --- changing --------------------------------------------------------------------------------

    def diff(self, desired: Desired, observed: Observed) -> list[Change]:
        """As for every plugin; but a user who is not there does not linger."""
        changes = super().diff(desired, observed)
        return [c for c in changes if (c.key.kind, c.before, c.after) != (LINGER, None, False)]

    def is_lost(self, key: ResourceKey, desired: Desired, observed: Observed) -> bool:  # noqa: ARG002
        """A user who was deleted, a setting that an older login manager does not have."""
        return key.kind in {LINGER, SETTING} and key not in observed.values

    async def check(self, desired: Desired, changes: Sequence[Change]) -> None:
        """Refuse settings that this version does not have or that another file overrides, and
        users that are not there."""
        for change in changes:
            if change.key.kind == SETTING and change.before is None:
                raise RefusedError(
                    f"the login manager of this machine has no {change.key.name}",
                    remedy="leave that setting out, or use a newer systemd",
                )
            if change.key.kind == LINGER and change.after:
                await linger.uid_of(change.key.name)
        written = {c.key.name for c in changes if c.key.name in (desired.payload or {})}
        later = await in_thread(overriding, self._machine, written)
        for name, path in sorted(later.items()):
            raise RefusedError(
                f"{path} is read after {FILE} and says otherwise about {name}",
                remedy=f"take {name} out of {path}, or out of plugins.login1.keys",
            )

    async def checkpoint(self, changes: Sequence[Change]) -> Value:
        """Besides what the changes change, our file as it is, written by any program."""
        saved = await in_thread(self._drop_in.save)
        return {"changes": await super().checkpoint(changes), "file": saved}

    def restoring(self, checkpoint: Value) -> Desired:
        """What the changes changed."""
        return super().restoring(checkpoint["changes"])

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        """Settings in one go, then locks and users one by one."""
        if any(change.key.kind == SETTING for change in changes):
            tell("settings")
            await self._apply_settings(desired)
        for change in changes:
            name = change.key.name
            if change.key.kind == LOCK:
                tell(f"lock {name}")
                await self._apply_lock(name, change.after)
            elif change.key.kind == LINGER:
                tell(f"user {name}")
                await linger.set_linger(self._bus, name, bool(change.after))

    async def _apply_lock(self, name: str, value: Value) -> None:
        if value is None:
            await locks.release(self._bus, name)
        else:
            await locks.take(self._bus, name, value)

    async def _apply_settings(self, desired: Desired) -> None:
        """Write what is declared; of the rest (what is given back, or was before) only what does
        not come by itself."""
        lines = desired.payload
        if lines is None:
            lines = await in_thread(self._drop_in.read)
        await self._write(lines)
        wanted = {k: r for k, r in desired.resources.items() if k.kind == SETTING}
        left = self._still_wrong(wanted, await self._settings())
        if not left:
            return
        await self._write({**lines, **_lines({c.key: Resource(c.after) for c in left})})
        if still := self._still_wrong(wanted, await self._settings()):
            raise not_as_asked(still, f"the login manager does not take it from {FILE}")

    def _still_wrong(
        self, wanted: Mapping[ResourceKey, Resource], found: Mapping[str, Value]
    ) -> list[Change]:
        observed = Observed({self.key(SETTING, name): value for name, value in found.items()})
        changes = self.diff(Desired(wanted), observed)
        return [change for change in changes if change.mode is Mode.ENFORCE]

    async def _write(self, lines: Mapping[str, str]) -> None:
        await in_thread(self._drop_in.write, lines)
        await logind.reload(self._bus)

    async def rollback(self, checkpoint: Value, tell: Progress) -> None:
        """Our file first, byte for byte; then what is not yet as it was."""
        if any(kind == SETTING for kind, *_ in checkpoint["changes"]):
            tell("settings")
            await in_thread(self._drop_in.restore, checkpoint["file"])
            await logind.reload(self._bus)
        await super().rollback(checkpoint, tell)


def _lines(resources: Mapping[ResourceKey, Resource]) -> dict[str, str]:
    return {
        key.name: settings.text(resource.value)
        for key, resource in resources.items()
        if key.kind == SETTING and resource.mode is Mode.ENFORCE
    }
