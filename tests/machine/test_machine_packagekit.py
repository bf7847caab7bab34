"""The plugin `packagekit` with the real PackageKit, apt and dpkg."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config.models import Plugins
from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Desired, Resource, enforced
from privacy_router.errors import ConflictError, VerificationError
from privacy_router.plugins.packagekit import PackagekitPlugin
from privacy_router.plugins.packagekit.declare import PINS
from privacy_router.plugins.packagekit.transactions import DAEMON
from privacy_router.plugins.target import Machine
from tests.machine import package_repository as repository
from tests.machine.package_repository import GATE, installed, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from privacy_router.engine.model import Change, Value
    from privacy_router.host.dbus import Bus

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module", autouse=True)
def _repository() -> Iterator[None]:
    sources = repository.SOURCES.read_text() if repository.SOURCES.exists() else ""
    repository.build()
    yield
    repository.SOURCES.write_text(sources)


@pytest.fixture(autouse=True)
def _no_packages(_repository: None) -> Iterator[None]:
    yield
    for pin in Path(PINS).iterdir():
        pin.unlink()
    repository.purge()


@pytest.fixture
def plugin(bus: Bus) -> PackagekitPlugin:
    return PackagekitPlugin(Machine(bus))


def silent(_: str) -> None:
    """Nobody looks on."""


def declared(plugin: PackagekitPlugin, packages: Any, **more: Any) -> Desired:
    section = None if packages is None else {"packages": packages, **more}
    return plugin.declare(Plugins.model_validate({"packagekit": section}).packagekit)


async def changes_for(plugin: PackagekitPlugin, desired: Desired) -> list[Change]:
    return plugin.diff(desired, await plugin.query(list(desired.resources)))


async def made(
    plugin: PackagekitPlugin, desired: Desired, tell: Callable[[str], None] = silent
) -> tuple[list[Change], Value]:
    """Apply as the engine does, removals first; the changes and the checkpoint."""
    changes = await changes_for(plugin, desired)
    ours = enforced(changes)
    await plugin.check(desired, ours)
    checkpoint = json.loads(json.dumps(await plugin.checkpoint(ours)))
    for step in ([c for c in ours if c.after is None], [c for c in ours if c.after is not None]):
        if step:
            await plugin.apply(desired, step, tell)
    assert enforced(await plugin.verify(desired)) == []
    assert enforced(await changes_for(plugin, desired)) == []
    return changes, checkpoint


async def apply(
    plugin: PackagekitPlugin, packages: Any, tell: Callable[[str], None] = silent, **more: Any
) -> tuple[list[Change], Value]:
    return await made(plugin, declared(plugin, packages, **more), tell)


async def state(plugin: PackagekitPlugin) -> tuple[bytes, dict[str, str]]:
    return (await plugin.query()).canonical(), installed()


def have(*packages: str) -> None:
    """Install these by hand, as an administrator would."""
    run("apt-get", "install", "--yes", "--allow-downgrades", *packages)


# --- installing, removing, and back --------------------------------------------------------------


async def test_a_package_comes_with_what_it_needs_and_both_go_again(
    plugin: PackagekitPlugin,
) -> None:
    before = await state(plugin)
    told: list[str] = []
    changes, checkpoint = await apply(plugin, {"pr-app": {}}, told.append)
    assert [(c.verb, c.key.name, c.after) for c in changes] == [
        ("add", "pr-app", {"version": "2.0"})
    ]
    assert installed() == {"pr-app": "2.0", "pr-lib": "2.0 automatic"}
    assert any(line.startswith("installing pr-app 2.0") for line in told)
    await plugin.rollback(checkpoint, silent)
    assert await state(plugin) == before
    await plugin.rollback(checkpoint, silent)
    assert await state(plugin) == before


async def test_a_removed_package_comes_back_in_its_version(plugin: PackagekitPlugin) -> None:
    have("pr-app=1.0", "pr-lib=1.0")
    run("apt-mark", "auto", "pr-lib")
    before = await state(plugin)
    section = {"pr-app": {"state": "removed"}, "pr-lib": {"state": "removed"}}
    _, checkpoint = await apply(plugin, section)
    assert installed() == {}
    await plugin.rollback(checkpoint, silent)
    assert installed() == {"pr-app": "1.0", "pr-lib": "1.0 automatic"}
    assert await state(plugin) == before


async def test_others_go_along_only_when_that_is_allowed(plugin: PackagekitPlugin) -> None:
    have("pr-app=1.0")
    before = await state(plugin)
    section = {"pr-lib": {"state": "removed"}}
    with pytest.raises(RefusedError, match="pr-app would be removed along") as caught:
        await apply(plugin, section)
    assert "allow_remove_dependents" in caught.value.remedy
    assert await state(plugin) == before
    _, checkpoint = await apply(plugin, section, allow_remove_dependents=True)
    assert installed() == {}
    await plugin.rollback(checkpoint, silent)
    assert await state(plugin) == before


async def test_what_is_in_the_way_goes_only_when_the_document_says_so(
    plugin: PackagekitPlugin,
) -> None:
    have("pr-one=1.0")
    before = await state(plugin)
    with pytest.raises(RefusedError, match="pr-one would be removed along"):
        await apply(plugin, {"pr-foe": {}})
    assert await state(plugin) == before
    _, checkpoint = await apply(plugin, {"pr-foe": {}, "pr-one": {"state": "removed"}})
    assert installed() == {"pr-foe": "1.0"}
    await plugin.rollback(checkpoint, silent)
    assert await state(plugin) == before


async def test_the_newest_version_and_back(plugin: PackagekitPlugin) -> None:
    have("pr-app=1.0", "pr-lib=1.0")
    before = await state(plugin)
    changes, checkpoint = await apply(plugin, {"pr-app": {"state": "latest"}})
    (change,) = changes
    assert (change.before, change.after) == ({"version": "1.0"}, {"version": "2.0"})
    assert installed() == {"pr-app": "2.0", "pr-lib": "2.0"}
    await plugin.rollback(checkpoint, silent)
    assert await state(plugin) == before


async def test_what_an_administrator_holds_is_the_latest(plugin: PackagekitPlugin) -> None:
    have("pr-one=1.0")
    run("apt-mark", "hold", "pr-one")
    changes, _ = await apply(plugin, {"pr-one": {"state": "latest"}})
    assert changes == []
    assert installed() == {"pr-one": "1.0"}


async def test_installed_means_in_any_version(plugin: PackagekitPlugin) -> None:
    have("pr-one=1.0")
    changes, _ = await apply(plugin, {"pr-one": {}})
    assert changes == []


async def test_only_what_is_observed_is_not_changed(plugin: PackagekitPlugin) -> None:
    have("pr-one=1.0")
    before = await state(plugin)
    observed = {"mode": "observe-only"}
    section = {
        "pr-one": {"state": "removed", **observed},
        "pr-lib": {"version": "1.0", **observed},
    }
    changes, _ = await apply(plugin, section)
    assert [change.key.name for change in changes] == ["pr-lib", "pr-one"]
    assert await state(plugin) == before


async def test_what_is_given_back_goes_or_stays_in_its_version(plugin: PackagekitPlugin) -> None:
    have("pr-lib=1.0")
    section = {"pr-one": {}, "pr-lib": {"version": "2.0"}, "pr-plus+": {"version": "1.0"}}
    changes, _ = await apply(plugin, section)
    desired = declared(plugin, None)
    originals = {change.key: Resource(change.before) for change in changes}
    await made(plugin, Desired(originals, desired.payload))
    assert installed() == {"pr-lib": "2.0"}
    assert list(Path(PINS).iterdir()) == []


# --- pins ----------------------------------------------------------------------------------------


async def test_a_pinned_version_is_kept_from_upgrades(plugin: PackagekitPlugin) -> None:
    before = await state(plugin)
    _, checkpoint = await apply(
        plugin, {"pr-one": {"version": "1.0"}, "pr-plus+": {"version": "1.0"}}
    )
    assert installed() == {"pr-one": "1.0", "pr-plus+": "1.0"}
    assert sorted(path.name for path in Path(PINS).iterdir()) == [
        "50-privacy-router-pr-one.pref",
        "50-privacy-router-pr-plus_.pref",
    ]
    run("apt-get", "dist-upgrade", "--yes")
    assert installed() == {"pr-one": "1.0", "pr-plus+": "1.0"}
    await plugin.rollback(checkpoint, silent)
    assert await state(plugin) == before


async def test_from_a_newer_version_to_a_pinned_one_and_back(plugin: PackagekitPlugin) -> None:
    have("pr-app")
    before = await state(plugin)
    section = {"pr-app": {"version": "1.0"}, "pr-lib": {"version": "1.0"}}
    _, checkpoint = await apply(plugin, section)
    assert installed() == {"pr-app": "1.0", "pr-lib": "1.0 automatic"}
    await plugin.rollback(checkpoint, silent)
    assert await state(plugin) == before


async def test_from_one_pinned_version_to_another_and_back(plugin: PackagekitPlugin) -> None:
    await apply(plugin, {"pr-app": {"version": "1.0"}})
    have("pr-lib=1.0")
    before = await state(plugin)
    _, checkpoint = await apply(plugin, {"pr-app": {"version": "2.0"}})
    assert installed()["pr-app"] == "2.0"
    assert installed()["pr-lib"].startswith("2.0")  # came along
    await plugin.rollback(checkpoint, silent)
    assert await state(plugin) == before


async def test_from_pinned_to_the_newest_and_back(plugin: PackagekitPlugin) -> None:
    section = {"pr-one": {"version": "1.0"}}
    first, _ = await apply(plugin, section)
    before = await state(plugin)
    desired = declared(plugin, {"pr-one": {"state": "latest"}})
    pin = next(change.key for change in first if change.key.kind == "pin")
    given_back = Desired({**desired.resources, pin: Resource(None)}, desired.payload)
    changes, checkpoint = await made(plugin, given_back)
    assert {change.key.kind: change.after for change in changes} == {
        "package": {"version": "latest"},
        "pin": None,
    }
    assert installed() == {"pr-one": "2.0"}
    await plugin.rollback(checkpoint, silent)
    assert await state(plugin) == before


# --- refusals ------------------------------------------------------------------------------------


async def test_unknown_packages_and_versions_are_refused(plugin: PackagekitPlugin) -> None:
    before = await state(plugin)
    for section, reason in (
        ({"pr-one": {}, "pr-none": {}}, "no repository has a package pr-none"),
        ({"pr-one": {"version": "3.0"}}, r"no repository has pr-one 3\.0"),
        ({"pr-foe": {}, "pr-one": {}}, "cannot be so"),
    ):
        with pytest.raises(RefusedError, match=reason):
            await apply(plugin, section)
    assert await state(plugin) == before


async def test_what_the_system_needs_is_not_removed(plugin: PackagekitPlugin) -> None:
    with pytest.raises(RefusedError):
        await apply(plugin, {"dpkg": {"state": "removed"}}, allow_remove_dependents=True)


async def test_what_nobody_signed_is_refused(plugin: PackagekitPlugin) -> None:
    repository.publish(trusted=False)
    try:
        with pytest.raises(RefusedError, match="pr-one: not signed"):
            await apply(plugin, {"pr-one": {}})
    finally:
        repository.publish()
    assert installed() == {}


async def test_a_machine_that_is_offline_is_told_so(plugin: PackagekitPlugin, bus: Bus) -> None:
    have("pr-lib")
    routes = [["ip", family, "route", "del", "default"] for family in ("-4", "-6")]
    saved = {family: run("ip", family, "route", "show", "default") for family in ("-4", "-6")}
    path = f"path='{DAEMON.path}'"
    async with bus.subscribed(path) as signals:
        for route in routes:
            run(*route)
        await network_state(bus, signals, online=False)
        with pytest.raises(RefusedError, match="offline") as caught:
            await apply(plugin, {"pr-one": {}})
        assert caught.value.retryable
        await apply(plugin, {"pr-lib": {"state": "removed"}})  # needs no network
        for family, words in saved.items():
            run("ip", family, "route", "add", *words.split())
        await network_state(bus, signals, online=True)


async def network_state(bus: Bus, signals: AsyncIterator[Any], *, online: bool) -> None:
    async with asyncio.timeout(30):
        while (await bus.get(DAEMON, "NetworkState") == 2) is not online:
            await anext(signals)


async def test_a_version_that_is_gone_is_told_before_and_after(plugin: PackagekitPlugin) -> None:
    have("pr-one=1.0", "pr-lib=1.0")
    gone = repository.file_of("pr-one", "1.0")
    content = gone.read_bytes()
    gone.unlink()
    repository.publish()
    try:
        told: list[str] = []
        section = {"pr-one": {"state": "latest"}, "pr-lib": {"state": "latest"}}
        _, checkpoint = await apply(plugin, section, told.append)
        assert told[0].startswith("pr-one 1.0 is in no repository: once gone, it cannot come back")
        with pytest.raises(VerificationError, match=r"no repository has pr-one 1\.0 any more"):
            await plugin.rollback(checkpoint, silent)
        assert installed() == {"pr-one": "2.0", "pr-lib": "1.0"}  # what could go back did
    finally:
        gone.write_bytes(content)
        repository.publish()
    await plugin.rollback(checkpoint, silent)
    assert installed() == {"pr-one": "1.0", "pr-lib": "1.0"}


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """As if another apt were at work."""
    with Path("/var/lib/dpkg/lock-frontend").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        yield


async def test_another_program_that_installs_is_waited_for_and_told(
    plugin: PackagekitPlugin,
) -> None:
    with locked(), pytest.raises(ConflictError, match="another program is") as caught:
        await apply(plugin, {"pr-one": {}})
    assert caught.value.retryable
    await apply(plugin, {"pr-one": {}})


_AS_NOBODY = """
import asyncio, sys
from privacy_router.errors import PrivilegeError
from privacy_router.host.dbus import Bus
from privacy_router.plugins.packagekit.transactions import Transactions

async def main():
    packagekit = Transactions(Bus(sys.argv[1]))
    states = await packagekit.states(["pr-one"])
    try:
        await packagekit.install([states["pr-one"].package_id("1.0")])
    except PrivilegeError as error:
        print(error.message, error.remedy, sep="\\n")

asyncio.run(main())
"""


async def test_what_polkit_does_not_allow_is_said(bus: Bus) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    said = run(*nobody, sys.executable, "-c", _AS_NOBODY, str(bus.address))
    assert said.startswith("polkit does not let this user change packages")
    assert "org.freedesktop.packagekit" in said


# --- cut short -----------------------------------------------------------------------------------


async def until_installing(told: asyncio.Queue[str]) -> None:
    async with asyncio.timeout(60):
        while not (await told.get()).startswith("installing pr-slow"):
            pass


async def test_dpkg_is_not_interrupted_and_going_back_waits_for_it(
    plugin: PackagekitPlugin,
) -> None:
    before = await state(plugin)
    desired = declared(plugin, {"pr-slow": {}, "pr-app": {}})
    changes = await changes_for(plugin, desired)
    checkpoint = await plugin.checkpoint(changes)
    told: asyncio.Queue[str] = asyncio.Queue()
    applying = asyncio.create_task(plugin.apply(desired, changes, told.put_nowait))
    await until_installing(told)
    applying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await applying
    back = asyncio.create_task(plugin.rollback(checkpoint, silent))
    done, _ = await asyncio.wait({back}, timeout=1)
    assert not done  # PackageKit does one thing at a time
    GATE.touch()
    await back
    assert await state(plugin) == before


_KILLED = """
import asyncio, os, sys
from privacy_router.host.dbus import Bus
from privacy_router.plugins.packagekit.transactions import Transactions

def tell(line):
    if line.startswith("installing pr-slow"):
        os.kill(os.getpid(), 9)

async def main():
    packagekit = Transactions(Bus(sys.argv[1]))
    states = await packagekit.states(["pr-slow", "pr-app"])
    ids = [one.package_id(one.offered.version) for one in states.values()]
    await packagekit.install(ids, tell)

asyncio.run(main())
"""


async def test_after_a_kill_everything_goes_back(plugin: PackagekitPlugin, bus: Bus) -> None:
    before = await state(plugin)
    desired = declared(plugin, {"pr-slow": {}, "pr-app": {}})
    checkpoint = await plugin.checkpoint(await changes_for(plugin, desired))
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", _KILLED, str(bus.address))
    assert await killed.wait() == -9
    GATE.touch()
    await PackagekitPlugin(Machine(bus)).rollback(checkpoint, silent)
    assert await state(plugin) == before


async def test_a_run_that_got_only_to_the_pins_goes_back(plugin: PackagekitPlugin) -> None:
    before = await state(plugin)
    desired = declared(plugin, {"pr-one": {"version": "1.0"}})
    changes = await changes_for(plugin, desired)
    checkpoint = await plugin.checkpoint(changes)
    await plugin.apply(desired, [c for c in changes if c.key.kind == "pin"], silent)
    await plugin.rollback(checkpoint, silent)
    assert await state(plugin) == before


# --- availability and watching -------------------------------------------------------------------


async def test_without_packagekit_it_says_so(plugin: PackagekitPlugin) -> None:
    assert await plugin.availability()
    run("systemctl", "mask", "--runtime", "--now", "packagekit")
    try:
        available = await plugin.availability()
    finally:
        run("systemctl", "unmask", "--runtime", "packagekit")
    assert not available
    assert "PackageKit does not answer" in available.reason
    assert "apt-get install packagekit" in available.remedy
    assert await plugin.availability()


@contextlib.asynccontextmanager
async def watched(plugin: PackagekitPlugin) -> AsyncIterator[asyncio.Queue[str]]:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def listen() -> None:
        async for words in plugin.watch(Desired()):
            told.put_nowait(words)

    task = asyncio.create_task(listen())
    try:
        yield told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_changes_by_others_are_told(plugin: PackagekitPlugin, bus: Bus) -> None:
    pin = Path(PINS) / "50-privacy-router-pr-one.pref"
    async with watched(plugin) as told, asyncio.timeout(60):
        heard = asyncio.create_task(told.get())
        while not heard.done():  # until it listens
            pin.write_text("")
            await asyncio.wait({heard}, timeout=0.2)
        assert await heard == f"{pin} changed"
        have("pr-one")
        while await told.get() != "packages were installed or removed":
            pass
        await bus.call(DAEMON, "StateHasChanged", "s", "cache-update")
        while await told.get() != "there may be other updates":
            pass
