"""A plugin whose machine is a folder: each resource a file. Real enough to be killed in the middle.

Several of them make an engine; each can be told to fail in the ways that plugins do.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from privacy_router.engine.engine import Engine
from privacy_router.engine.errors import RefusedError
from privacy_router.engine.journal import Journal
from privacy_router.engine.model import (
    Availability,
    Capability,
    Desired,
    Mode,
    Observed,
    Resource,
)
from privacy_router.engine.plugin import EVERYTHING, Plugin
from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from pathlib import Path

    from privacy_router.engine.clock import Clock
    from privacy_router.engine.document import Source
    from privacy_router.engine.model import Change, ResourceKey
    from privacy_router.engine.plugin import Progress


class FilePlugin(Plugin):
    """Its section is a mapping from file names to {"text": …, "mode": …} or None (no file)."""

    title = "files in a folder"

    def __init__(self, name: str, folder: Path, *after: str) -> None:
        self.name = name  # type: ignore[misc]
        self.after = frozenset(after)  # type: ignore[misc]
        self.folder = folder
        self.reason = ""
        self.fault = ""
        self.applied: list[str] = []
        self.callers: list[int | None] = []
        self.gone: set[str] = set()
        self.hints: asyncio.Queue[str] = asyncio.Queue()

    async def availability(self) -> Availability:
        return Availability(self.reason, f"install {self.name}") if self.reason else Availability()

    def declare(self, section: Any) -> Desired:
        return Desired(
            {
                self.key("file", name): Resource(
                    None if value is None else {"text": value["text"]},
                    Mode((value or {}).get("mode", "enforce")),
                )
                for name, value in (section or {}).items()
            }
        )

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        if self.fault == "raise in query":
            raise RuntimeError("the reader broke")
        if keys is None:
            names = sorted(path.name for path in self.folder.glob("[!.]*"))
        wanted = keys if keys is not None else [self.key("file", name) for name in names]
        return Observed({k: {"text": t} for k in wanted if (t := self._read(k)) is not None})

    def _read(self, key: ResourceKey) -> str | None:
        try:
            return (self.folder / key.name).read_text()
        except FileNotFoundError:
            return None

    def is_lost(self, key: ResourceKey, desired: Desired, observed: Observed) -> bool:
        return key.name in self.gone

    async def check(self, desired: Desired, changes: Sequence[Change]) -> None:
        self.callers.append(desired.caller_pid)
        if self.fault == "refuse":
            raise RefusedError(f"{self.name} refuses", remedy="ask for something else")

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        self.callers.append(desired.caller_pid)
        for number, change in enumerate(changes):
            tell(f"{change.verb} {change.key.name}")
            if self.fault == "hang" and number == len(changes) - 1:
                await asyncio.Event().wait()
            if self.fault == "raise" and number == len(changes) - 1:
                raise PrivacyRouterError(f"{self.name} broke", remedy="mend it")
            if self.fault == "do nothing":
                continue
            self.applied.append(f"{change.verb} {change.key.name}")
            self._write(change)

    def _write(self, change: Change) -> None:
        path = self.folder / change.key.name
        if change.after is None:
            path.unlink(missing_ok=True)
        else:
            new = path.with_name(f".{path.name}.new")
            new.write_text(change.after["text"])
            new.replace(path)

    async def verify(self, desired: Desired) -> list[Change]:
        if self.fault == "do nothing":
            return []  # all is well, it says
        return await super().verify(desired)

    async def rollback(self, checkpoint: Any, tell: Progress) -> None:
        if self.fault == "hang in rollback":
            await asyncio.Event().wait()
        if self.fault == "no way back":
            raise PrivacyRouterError(f"{self.name} does not go back")
        fault, self.fault = self.fault, ""
        try:
            await super().rollback(checkpoint, tell)
        finally:
            self.fault = fault

    async def watch(self, desired: Desired) -> AsyncIterator[str]:
        while True:
            yield await self.hints.get()


class Final(FilePlugin):
    """One that cannot go back."""

    capabilities = EVERYTHING - {Capability.ROLLBACK}


def parse(source: Source) -> Any:
    document = json.loads(source.text)
    return document.get("plugins", document)


NAMES = ("one", "two", "three")


def make_plugins(root: Path, names: Sequence[str] = NAMES) -> list[FilePlugin]:
    """Each comes after the one before it."""
    plugins = []
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True, exist_ok=True)
        plugins.append(FilePlugin(name, root / name, *names[max(0, number - 1) : number]))
    return plugins


def make_engine(
    root: Path, plugins: Sequence[FilePlugin] | None = None, clock: Clock | None = None
) -> Engine:
    journal = Journal(root / "state" / "journal.db")
    return Engine(plugins or make_plugins(root), journal, clock=clock, parse=parse)


def machine(root: Path) -> dict[str, str]:
    """All files of all plugins; a scratch file that was never put in its place is none of them."""
    return {
        f"{folder.name}/{file.name}": file.read_text()
        for folder in sorted(root.iterdir())
        if folder.name != "state"
        for file in sorted(folder.glob("[!.]*"))
    }
