"""The plugin sessdecl: reports sessions that should be there, ends those that should not."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from privacy_router.engine.model import Capability, Desired, Mode, Observed, Resource
from privacy_router.engine.plugin import EVERYTHING, Plugin
from privacy_router.plugins.login1 import logind
from privacy_router.plugins.login1.watch import logins
from privacy_router.plugins.sessdecl.apply import end
from privacy_router.plugins.sessdecl.check import own_sessions, refuse_own
from privacy_router.plugins.sessdecl.selector import (
    declared_name,
    label,
    matching,
    observed_value,
    resource_name,
    selector_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from privacy_router.config.plugins.sessdecl import SessdeclConfig, SessionConfig
    from privacy_router.engine.model import Availability, Change, ResourceKey, Value
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.login1.logind import Session
    from privacy_router.plugins.target import Machine

_ABSENT: Final = {"sessions": list[str]()}
_PRESENT: Final = {"present": True}


class SessdeclPlugin(Plugin):
    """Sessions that have to be there (reported when they are not), or must not (ended).

    The value of a `session` says whether one is present, and which there are. What is ended stays
    so: there is no going back.
    """

    name: ClassVar[str] = "sessdecl"
    title: ClassVar[str] = "Declared sessions"
    after: ClassVar[frozenset[str]] = frozenset({"login1"})
    capabilities: ClassVar[frozenset[Capability]] = EVERYTHING - {Capability.ROLLBACK}

    def __init__(self, machine: Machine) -> None:
        self._bus = machine.bus

    async def availability(self) -> Availability:
        """Whether logind answers."""
        return await logind.availability(self._bus)

    def declare(self, section: Any) -> Desired:
        """The payload says, by resource, whether even the session of ours may be ended."""
        config: SessdeclConfig | None = section
        sessions = () if config is None else config.sessions
        keys = {self.key("session", resource_name(one)): one for one in sessions}
        return Desired(
            {key: _wanted(one) for key, one in keys.items()},
            {key.name: one.force for key, one in keys.items()},
        )

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        """With None every session, with all that a selector looks at."""
        sessions = await logind.sessions(self._bus)
        if keys is None:
            return Observed({self.key("seen", one.id): _facts(one) for one in sessions})
        return Observed(
            {key: observed_value(matching(selector_of(key.name), sessions)) for key in keys}
        )

    def diff(self, desired: Desired, observed: Observed) -> list[Change]:
        """Only what is to be absent can be enforced. A declaration that is given back changes
        nothing: the sessions that it ended do not come back."""
        declared = desired.payload
        return [
            change if change.after == _ABSENT else replace(change, mode=Mode.OBSERVE_ONLY)
            for change in super().diff(desired, observed)
            if declared is None or change.key.name in declared
        ]

    async def check(self, desired: Desired, changes: Sequence[Change]) -> None:
        """Refuse to end the session in which this runs."""
        sessions = await logind.sessions(self._bus)
        own = await own_sessions(self._bus, desired.caller_pid)
        for change in changes:
            refuse_own(desired, change, _meant(change, sessions), own)

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        """End what is there now of the sessions that must not be. One of ours that has come since
        the check is refused again."""
        sessions = await logind.sessions(self._bus)
        own = await own_sessions(self._bus, desired.caller_pid)
        for change in changes:
            meant = _meant(change, sessions)
            refuse_own(desired, change, meant, own)
            for session in meant:
                tell(f"ending session {label(session)}")
            await asyncio.gather(*(end(self._bus, session, tell) for session in meant))

    async def rollback(self, checkpoint: Value, tell: Progress) -> None:
        """There is nothing that could be done."""
        for _, name, before in checkpoint:
            for session in before["sessions"]:
                tell(f"{declared_name(name)}: session {session} stays ended")

    async def watch(self, desired: Desired) -> AsyncIterator[str]:  # noqa: ARG002
        """Signals of the login manager."""
        async for words in logins(self._bus):
            yield words


def _wanted(config: SessionConfig) -> Resource:
    if config.state == "present":
        return Resource(_PRESENT, Mode.OBSERVE_ONLY)
    return Resource(_ABSENT, Mode(config.mode))


def _facts(session: Session) -> Value:
    facts = asdict(session)
    return {"kind": facts["type"], "state": facts["state"]} | {
        key: facts[key] for key in ("user", "tty", "seat", "service", "remote", "session_class")
    }


def _meant(change: Change, sessions: Sequence[Session]) -> list[Session]:
    if change.after != _ABSENT:
        return []
    return matching(selector_of(change.key.name), sessions)
