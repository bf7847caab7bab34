"""What the tests of the plugin systemd share: one run as the engine makes it, and the whole tree of
unit files as bytes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy_router.config.models import Plugins
from privacy_router.engine.model import Desired, Resource, canonical_json, enforced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from privacy_router.engine.model import Change, Observed, ResourceKey, Value
    from privacy_router.plugins.systemd import SystemdPlugin

ETC = Path("/etc/systemd/system")
CONTROL = Path("/etc/systemd/system.control")
RUN = Path("/run/systemd/system")
TREES = (ETC, CONTROL, RUN, Path("/run/systemd/system.control"))

DEMO = "demo.service"
SLEEPER = """\
[Unit]
Description=sleeps

[Service]
Type=exec
ExecStart=/bin/sleep infinity

[Install]
WantedBy=multi-user.target
"""


def systemctl(*arguments: str) -> str:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def shown(unit: str, name: str) -> str:
    return systemctl("show", "--value", "--property", name, unit)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def tree() -> dict[str, Any]:
    """Everything below the directories of unit files: kinds, modes, owners, contents, targets."""
    found: dict[str, Any] = {}
    for root in TREES:
        for path in [root, *root.rglob("*")] if root.exists() else []:
            status = path.lstat()
            kind: Any = "directory"
            if path.is_symlink():
                kind = os.readlink(path)  # noqa: PTH115 - as it is, not tidied up
            elif path.is_file():
                kind = path.read_bytes()
            found[str(path)] = (kind, oct(status.st_mode), status.st_uid, status.st_gid)
    return found


def no_demo_units() -> Iterator[None]:
    """No unit of a test, before and after it."""
    remove_all()
    before = tree()
    yield
    remove_all()
    assert tree() == before


def remove_all() -> None:
    systemctl("stop", "demo*")
    systemctl("reset-failed")
    for root in TREES:
        for path in [*root.glob("demo*"), *root.glob("*/demo*")]:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for path in root.glob("*"):
            if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()
        if root not in {ETC, RUN} and root.is_dir() and not any(root.iterdir()):
            root.rmdir()
    systemctl("daemon-reload")


def existing(text: str = SLEEPER, name: str = DEMO, mode: int = 0o644) -> None:
    """A unit that was there before us."""
    write(ETC / name, text, mode)
    systemctl("daemon-reload")


def service(**unit: Any) -> dict[str, Any]:
    return {"files": {DEMO: {"content": SLEEPER}}, "units": {DEMO: unit}}


def nice_of(unit: str) -> str:
    """The nice value that its process really has."""
    return Path(f"/proc/{shown(unit, 'MainPID')}/stat").read_text().split()[18]


def silent(_: str) -> None:
    pass


class Run:
    """One run of one plugin, step by step."""

    def __init__(
        self,
        plugin: SystemdPlugin,
        section: dict[str, Any],
        given_back: dict[ResourceKey, Value] | None = None,
    ) -> None:
        self.plugin = plugin
        parsed = Plugins.model_validate({"systemd": section}).systemd
        declared = plugin.declare(parsed)
        back = {key: Resource(value) for key, value in (given_back or {}).items()}
        self.desired = Desired({**declared.resources, **back}, declared.payload)
        self.tree = tree()
        self.before: Observed
        self.changes: Sequence[Change] = ()
        self.checkpoint: Value = None

    async def look(self) -> Observed:
        return await self.plugin.query(list(self.desired.resources))

    async def plan(self) -> Sequence[Change]:
        self.before = await self.look()
        self.changes = self.plugin.diff(self.desired, self.before)
        return self.changes

    async def prepare(self) -> None:
        made = enforced(await self.plan())
        await self.plugin.check(self.desired, made)
        kept = await self.plugin.checkpoint(made)
        self.checkpoint = json.loads(canonical_json(kept))

    async def make(self, tell: Callable[[str], None] = silent) -> None:
        made = enforced(self.changes)
        for part in (
            [change for change in made if change.after is None],
            [change for change in made if change.after is not None],
        ):
            if part:
                await self.plugin.apply(self.desired, part, tell)

    async def verify(self) -> None:
        assert enforced(await self.plugin.verify(self.desired)) == []
        assert enforced(self.plugin.diff(self.desired, await self.look())) == []

    async def apply(self) -> None:
        await self.prepare()
        await self.make()
        await self.verify()

    async def undo(self) -> None:
        await self.plugin.rollback(self.checkpoint, silent)
        await self.require_as_before()

    async def require_as_before(self) -> None:
        assert (await self.look()).canonical() == self.before.canonical()
        assert tree() == self.tree

    def taken(self) -> dict[ResourceKey, Value]:
        """What the engine gives back once nothing declares it any more."""
        return {change.key: change.before for change in enforced(self.changes)}


async def stop_after(run: Run, count: int) -> bool:
    """Make changes until so many steps were told, as if killed then; whether that was before the
    end."""
    told = 0

    def tell(_: str) -> None:
        nonlocal told
        told += 1
        if told > count:
            raise KilledError

    try:
        await run.make(tell)
    except KilledError:
        return True
    return False


class KilledError(Exception):
    """Stands for SIGKILL."""


async def heard(
    plugin: SystemdPlugin, desired: Desired, act: Callable[[], object], expected: str
) -> str:
    """Do something while watching; the first words that hold what is expected."""
    watching = plugin.watch(desired)
    first = asyncio.ensure_future(anext(watching))
    try:
        async with asyncio.timeout(20):
            while not first.done():  # what it says of this shows that the watch is there
                await asyncio.to_thread(systemctl, "daemon-reload")
                await asyncio.wait({first}, timeout=0.2)
            await asyncio.to_thread(act)
            async for words in watching:
                if expected in words:
                    return words
    finally:
        first.cancel()
        assert isinstance(watching, AsyncGenerator)
        await watching.aclose()
    raise AssertionError("the watch ended")
