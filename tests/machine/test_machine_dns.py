"""The plugin `dns` with the real systemd-resolved, and without it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config.models import Plugins
from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.errors import PluginUnavailableError, RefusedError
from privacy_router.engine.journal import Journal
from privacy_router.engine.model import Desired, Resource, enforced
from privacy_router.engine.reconcile import RepairLoop
from privacy_router.errors import ConflictError
from privacy_router.host.file_state import read_entry
from privacy_router.plugins.dns import DnsPlugin
from privacy_router.plugins.dns.declare import DROP_IN, KEPT_COPY
from privacy_router.plugins.target import Machine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from privacy_router.engine.model import Change, Value
    from privacy_router.host.dbus import Bus

pytestmark = pytest.mark.machine

CONF = Path("/etc/resolv.conf")
STUB = "../run/systemd/resolve/stub-resolv.conf"
LINK = "dns0"
MACHINE = {
    "servers": ["192.0.2.53", "[2001:db8::53]:853#dns.example", "192.0.2.55:5353"],
    "search": ["Example.org.", "~corp.example", "~."],
    "dnssec": "allow-downgrade",
    "dns_over_tls": "opportunistic",
    "fallback": ["192.0.2.77"],
}
OF_LINK = {
    "servers": ["192.0.2.1", "[2001:db8::1]:8853#dns.example", "fe80::1"],
    "search": ["example.net", "~corp.example", "~."],
    "default_route": True,
    "dnssec": "no",
    "dns_over_tls": "yes",
}
PLAIN = {"servers": ["192.0.2.1", "2001:db8::1"], "search": ["example.net"]}


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(autouse=True)
def machine() -> Iterator[None]:
    """A link of our own, and afterwards everything as it was."""
    run("ip", "link", "add", LINK, "up", "type", "veth", "peer", "name", f"{LINK}-far")
    yield
    run("ip", "link", "del", LINK)
    shutil.rmtree(Path(DROP_IN).parent, ignore_errors=True)
    Path(KEPT_COPY).unlink(missing_ok=True)
    CONF.unlink(missing_ok=True)
    CONF.symlink_to(STUB)
    run("systemctl", "enable", "systemd-resolved")
    run("systemctl", "reset-failed", "systemd-resolved")
    run("systemctl", "restart", "systemd-resolved")


@pytest.fixture
def plugin(bus: Bus) -> DnsPlugin:
    return DnsPlugin(Machine(bus))


def without_resolved() -> None:
    run("systemctl", "disable", "--now", "systemd-resolved")


def lines(_: str) -> None:
    """Nobody looks on."""


def declared(plugin: DnsPlugin, section: dict[str, Any] | None) -> Desired:
    return plugin.declare(Plugins.model_validate({"dns": section}).dns)


async def changes_for(plugin: DnsPlugin, desired: Desired) -> list[Change]:
    return plugin.diff(desired, await plugin.query(list(desired.resources)))


async def apply(
    plugin: DnsPlugin, section: dict[str, Any], tell: Callable[[str], None] = lines
) -> tuple[list[Change], Value]:
    """As the engine does it; the changes and the checkpoint."""
    desired = declared(plugin, section)
    changes = await changes_for(plugin, desired)
    made = enforced(changes)
    await plugin.check(desired, made)
    checkpoint = await plugin.checkpoint(made)
    if made:
        await plugin.apply(desired, made, tell)
        assert enforced(await plugin.verify(desired)) == []
    assert enforced(await changes_for(plugin, desired)) == []
    return changes, checkpoint


async def state(plugin: DnsPlugin) -> tuple[bytes, Any]:
    """What the plugin sees, and what it does not look at."""
    directory = Path(DROP_IN).parent
    files = sorted(os.listdir(directory)) if directory.is_dir() else None  # noqa: PTH208
    return (await plugin.query()).canonical(), (files, Path(KEPT_COPY).exists())


async def settings(plugin: DnsPlugin, kind: str, name: str) -> Any:
    key = plugin.key(kind, name)
    return (await plugin.query([key])).values.get(key)


async def resolver(plugin: DnsPlugin) -> Any:
    return await settings(plugin, "resolver", "systemd-resolved")


# --- systemd-resolved ----------------------------------------------------------------------------


async def test_the_machines_settings_and_back(plugin: DnsPlugin) -> None:
    before = await state(plugin)
    _, checkpoint = await apply(plugin, MACHINE)
    found = await resolver(plugin)
    assert found["servers"] == ["192.0.2.53", "2001:db8::53#dns.example", "192.0.2.55:5353"]
    assert found["search"] == ["example.org", "~corp.example", "~."]
    assert found["dnssec"] == "allow-downgrade"
    assert found["dns_over_tls"] == "opportunistic"
    assert found["fallback"] == ["192.0.2.77"]
    assert "192.0.2.53" in run("resolvectl", "dns")
    await plugin.rollback(checkpoint, lines)
    assert await state(plugin) == before
    await plugin.rollback(checkpoint, lines)
    assert await state(plugin) == before


async def test_lists_replace_those_of_other_files(plugin: DnsPlugin) -> None:
    directory = Path(DROP_IN).parent
    directory.mkdir()
    other = directory / "10-other.conf"
    other.write_text("[Resolve]\nDNS=192.0.2.9\nDomains=other.example\nFallbackDNS=192.0.2.8\n")
    run("systemctl", "restart", "systemd-resolved")
    before = await state(plugin)
    section = {"servers": ["192.0.2.53"], "search": [], "fallback": []}
    _, checkpoint = await apply(plugin, section)
    found = await resolver(plugin)
    assert (found["servers"], found["search"], found["fallback"]) == (["192.0.2.53"], [], [])
    await plugin.rollback(checkpoint, lines)
    assert await state(plugin) == before
    assert (await resolver(plugin))["servers"] == ["192.0.2.9"]


async def test_settings_of_a_link_and_back(plugin: DnsPlugin) -> None:
    before = await state(plugin)
    assert await settings(plugin, "link", LINK) is None
    _, checkpoint = await apply(plugin, {"links": {LINK: OF_LINK}})
    assert await settings(plugin, "link", LINK) == OF_LINK
    domains = run("resolvectl", "domain", LINK).partition(":")[2].split()
    assert domains == ["example.net", "~corp.example", "~."]
    await plugin.rollback(checkpoint, lines)
    assert await state(plugin) == before


async def test_what_a_link_was_told_before_comes_back(plugin: DnsPlugin) -> None:
    run("resolvectl", "dns", LINK, "192.0.2.7")
    run("resolvectl", "domain", LINK, "before.example", "~.")
    run("resolvectl", "dnssec", LINK, "yes")
    before = await state(plugin)
    section = {"servers": ["192.0.2.1"], "search": ["~after.example"]}
    _, checkpoint = await apply(plugin, {"links": {LINK: section}})
    assert (await settings(plugin, "link", LINK))["dnssec"] == "yes"  # nobody spoke of it
    await plugin.rollback(checkpoint, lines)
    assert await state(plugin) == before


async def test_links_keep_their_settings_when_the_machines_change(plugin: DnsPlugin) -> None:
    await apply(plugin, {"links": {LINK: OF_LINK}})
    for last in range(1, 9):  # more restarts than systemd allows within ten seconds
        await apply(plugin, {"servers": [f"192.0.2.{last}"], "links": {LINK: OF_LINK}})
    assert (await resolver(plugin))["servers"] == ["192.0.2.8"]


async def test_going_back_from_a_run_that_was_cut_short(plugin: DnsPlugin, bus: Bus) -> None:
    before = await state(plugin)
    section = {**MACHINE, "links": {LINK: OF_LINK}}
    desired = declared(plugin, section)
    changes = await changes_for(plugin, desired)
    checkpoint = await plugin.checkpoint(changes)
    Path(DROP_IN).parent.mkdir(parents=True)
    Path(DROP_IN).write_text("[Resolve]\nDNS=192.0.2.53\n")  # and then there was no restart
    await DnsPlugin(Machine(bus)).rollback(checkpoint, lines)
    assert await state(plugin) == before


async def test_an_old_file_that_is_not_read_yet_is_noticed(plugin: DnsPlugin) -> None:
    await apply(plugin, {"servers": ["192.0.2.53"]})
    key = plugin.key("resolver", "systemd-resolved")
    desired = declared(plugin, {"servers": ["192.0.2.54"]})
    wanted = desired.resources[key].value
    Path(DROP_IN).write_text(wanted["drop_in"]["content"])
    (change,) = await changes_for(plugin, desired)
    assert change.before["servers"] == ["192.0.2.53"]
    await plugin.apply(desired, [change], lines)
    assert await plugin.verify(desired) == []


async def test_what_is_given_back_is_as_it_was_before_the_first_run(plugin: DnsPlugin) -> None:
    before = await state(plugin)
    section = {**MACHINE, "links": {LINK: OF_LINK}}
    first, _ = await apply(plugin, section)
    await apply(plugin, {**section, "servers": ["192.0.2.99"]})
    back = {change.key: Resource(change.before) for change in first}
    desired = Desired(back, declared(plugin, None).payload)
    await plugin.apply(desired, await changes_for(plugin, desired), lines)
    assert await plugin.verify(desired) == []
    assert await state(plugin) == before


async def test_a_link_that_is_gone_has_nothing_to_give_back(plugin: DnsPlugin) -> None:
    run("resolvectl", "dns", LINK, "192.0.2.7")
    first, _ = await apply(plugin, {"links": {LINK: {"servers": ["192.0.2.1"]}}})
    run("ip", "link", "del", LINK)
    back = {change.key: Resource(change.before) for change in first}
    assert await plugin.to_restore(Desired(back), lines) == []
    run("ip", "link", "add", LINK, "type", "veth", "peer", "name", f"{LINK}-far")


async def test_a_link_that_was_just_made_can_be_told(plugin: DnsPlugin) -> None:
    run("ip", "link", "del", LINK)
    desired = declared(plugin, {"links": {LINK: OF_LINK}})
    changes = await changes_for(plugin, desired)
    assert [change.verb for change in changes] == ["add"]
    run("ip", "link", "add", LINK, "type", "veth", "peer", "name", f"{LINK}-far")
    await plugin.apply(desired, changes, lines)
    assert await plugin.verify(desired) == []


async def test_a_link_that_is_not_there_is_named(plugin: DnsPlugin) -> None:
    desired = declared(plugin, {"links": {"none0": OF_LINK}})
    changes = await changes_for(plugin, desired)
    with pytest.raises(ConflictError, match="no network interface none0"):
        await plugin.apply(desired, changes, lines)


async def test_only_what_is_observed_is_not_changed(plugin: DnsPlugin) -> None:
    before = await state(plugin)
    section = {
        **MACHINE,
        "mode": "observe-only",
        "links": {LINK: {**OF_LINK, "mode": "observe-only"}},
    }
    changes, _ = await apply(plugin, section)
    assert {change.key.kind for change in changes} == {"resolver", "link"}
    assert await state(plugin) == before


async def test_a_foreign_resolv_conf_is_left_alone_and_told(plugin: DnsPlugin) -> None:
    CONF.unlink()
    CONF.write_text("nameserver 192.0.2.200\n")
    run("systemctl", "restart", "systemd-resolved")
    before = await state(plugin)
    told: list[str] = []
    _, checkpoint = await apply(plugin, {"servers": ["192.0.2.53"]}, told.append)
    assert any("does not lead to systemd-resolved" in line for line in told)
    await plugin.rollback(checkpoint, lines)
    assert await state(plugin) == before


# --- refusals ------------------------------------------------------------------------------------


async def test_a_file_that_is_read_later_is_refused(plugin: DnsPlugin) -> None:
    directory = Path(DROP_IN).parent
    directory.mkdir()
    (directory / "90-other.conf").write_text("[Resolve]\nDNS=192.0.2.9\n")
    before = await state(plugin)
    with pytest.raises(RefusedError, match=r"90-other\.conf sets DNS too"):
        await apply(plugin, {"servers": ["192.0.2.53"]})
    assert await state(plugin) == before
    await apply(plugin, {"dnssec": "no", "search": ["example.net"]})


@pytest.fixture
def networkd() -> Iterator[None]:
    network = Path("/run/systemd/network/10-dns.network")
    network.parent.mkdir(parents=True, exist_ok=True)
    network.write_text(f"[Match]\nName={LINK}\n[Network]\nLinkLocalAddressing=no\n")
    run("ip", "link", "set", f"{LINK}-far", "up")
    run("systemctl", "start", "systemd-networkd")
    run("/lib/systemd/systemd-networkd-wait-online", "-i", f"{LINK}:carrier", "--timeout=20")
    yield
    network.unlink()
    run("systemctl", "stop", "systemd-networkd.socket", "systemd-networkd")
    shutil.rmtree("/run/systemd/netif")


@pytest.mark.usefixtures("networkd")
async def test_a_link_of_networkd_is_refused(plugin: DnsPlugin) -> None:
    before = await state(plugin)
    with pytest.raises(ConflictError, match="systemd-networkd configures this link"):
        await apply(plugin, {"links": {LINK: OF_LINK}})
    assert await state(plugin) == before


async def test_what_only_resolved_can_do_is_refused_without_it(plugin: DnsPlugin) -> None:
    without_resolved()
    before = await state(plugin)
    for section, reason in (
        (MACHINE, "dnssec is given"),
        ({"servers": [f"192.0.2.{last}" for last in range(1, 5)]}, "4 servers"),
        ({"servers": ["192.0.2.1#dns.example"]}, "a name for TLS"),
        ({"links": {LINK: OF_LINK}}, "links have servers"),
        ({**PLAIN, "backend": "resolved"}, "asks for that backend"),
    ):
        with pytest.raises(PluginUnavailableError, match=reason) as caught:
            await apply(plugin, section)
        assert "apt-get install systemd-resolved" in caught.value.remedy
    assert await state(plugin) == before


async def test_a_mounted_resolv_conf_is_refused(plugin: DnsPlugin) -> None:
    without_resolved()
    CONF.unlink()
    CONF.write_text("nameserver 192.0.2.200\n")
    run("mount", "--bind", "/etc/hostname", str(CONF))
    try:
        with pytest.raises(RefusedError, match="is a mount of its own"):
            await apply(plugin, PLAIN)
    finally:
        run("umount", str(CONF))
    assert CONF.read_text() == "nameserver 192.0.2.200\n"


async def test_an_immutable_resolv_conf_is_refused(plugin: DnsPlugin) -> None:
    without_resolved()
    CONF.unlink()
    CONF.write_text("nameserver 192.0.2.200\n")
    run("chattr", "+i", str(CONF))
    try:
        with pytest.raises(RefusedError, match="is immutable") as caught:
            await apply(plugin, PLAIN)
    finally:
        run("chattr", "-i", str(CONF))
    assert "chattr -i /etc/resolv.conf" in caught.value.remedy
    assert CONF.read_text() == "nameserver 192.0.2.200\n"


# --- the file ------------------------------------------------------------------------------------


async def test_without_resolved_the_link_becomes_a_file_and_back(plugin: DnsPlugin) -> None:
    without_resolved()
    before = await state(plugin)
    told: list[str] = []
    _, checkpoint = await apply(plugin, PLAIN, told.append)
    assert CONF.read_text().splitlines()[1:] == [
        "search example.net",
        "nameserver 192.0.2.1",
        "nameserver 2001:db8::1",
    ]
    assert not CONF.is_symlink()
    assert CONF.stat().st_mode & 0o777 == 0o644
    assert str(Path(KEPT_COPY).readlink()) == STUB
    assert told == [f"/etc/resolv.conf becomes a file; it was a link to {STUB}"]
    await plugin.rollback(checkpoint, lines)
    assert str(CONF.readlink()) == STUB
    assert await state(plugin) == before


@pytest.mark.parametrize("mode", [0o600, 0o644])
async def test_a_file_comes_back_byte_for_byte(plugin: DnsPlugin, mode: int) -> None:
    without_resolved()
    content = b"# \xff not UTF-8\noptions rotate\nnameserver 192.0.2.200\n\n"
    CONF.unlink()
    CONF.write_bytes(content)
    CONF.chmod(mode)
    os.chown(CONF, 65534, 65534)
    before = await state(plugin)
    _, checkpoint = await apply(plugin, PLAIN)
    _, _ = await apply(plugin, {**PLAIN, "servers": ["192.0.2.2"]})
    kept = Path(KEPT_COPY)
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (content, mode)
    await plugin.rollback(checkpoint, lines)
    assert CONF.read_bytes() == content
    assert await state(plugin) == before


async def test_where_there_was_none_there_is_none_again(plugin: DnsPlugin) -> None:
    without_resolved()
    CONF.unlink()
    before = await state(plugin)
    _, checkpoint = await apply(plugin, PLAIN)
    await plugin.rollback(checkpoint, lines)
    assert await state(plugin) == before


async def test_the_file_on_demand_though_resolved_runs(plugin: DnsPlugin) -> None:
    before = await state(plugin)
    _, checkpoint = await apply(plugin, {**PLAIN, "backend": "file"})
    assert "nameserver 192.0.2.1" in CONF.read_text()
    await plugin.rollback(checkpoint, lines)
    assert await state(plugin) == before


class Nobody:
    def drifted(self, plugin: str, changes: Sequence[Change], repaired: bool) -> None: ...

    def settled(self) -> None: ...


async def test_either_backend_is_given_back_when_the_other_came_later(
    plugin: DnsPlugin, tmp_path: Path
) -> None:
    without_resolved()
    before = read_entry(CONF)
    engine = Engine([plugin], Journal(tmp_path / "journal"))
    await engine.apply(Source(json.dumps({"version": 1, "plugins": {"dns": PLAIN}})))
    assert "nameserver 192.0.2.1" in CONF.read_text()
    run("systemctl", "enable", "--now", "systemd-resolved")
    keeper = RepairLoop(engine, plugin, Nobody())
    await keeper.look()
    assert (keeper.trouble, Path(DROP_IN).exists()) == ("", True)
    await engine.apply(Source())
    assert engine.journal.managed() == {}
    assert not Path(DROP_IN).exists()
    assert read_entry(CONF) == before
    await engine.close()


async def test_our_file_goes_even_if_resolved_went_before(plugin: DnsPlugin) -> None:
    first, _ = await apply(plugin, {**PLAIN, "backend": "resolved"})
    without_resolved()
    back = {change.key: Resource(change.before) for change in first}
    desired = Desired(back, declared(plugin, None).payload)
    changes = await changes_for(plugin, desired)
    await plugin.check(desired, changes)
    await plugin.apply(desired, changes, lines)
    assert await plugin.verify(desired) == []
    assert not Path(DROP_IN).exists()


# --- watching ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def watched(plugin: DnsPlugin) -> AsyncIterator[asyncio.Queue[str]]:
    """What is told. A first change shows that it listens everywhere."""
    told: asyncio.Queue[str] = asyncio.Queue()

    async def listen() -> None:
        async for words in plugin.watch(Desired()):
            told.put_nowait(words)

    task = asyncio.create_task(listen())
    await listens(told)
    try:
        yield told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def listens(told: asyncio.Queue[str]) -> None:
    """Cause each kind of event until all are heard of."""
    missing = {"DNS", "network interface", "resolv.conf"}
    number = 0
    while missing:
        number += 1
        run("resolvectl", "dns", LINK, f"192.0.2.{number}")
        run("ip", "link", "set", LINK, "mtu", str(1400 + number))
        scratch = CONF.with_name("scratch")
        scratch.symlink_to(STUB)
        scratch.replace(CONF)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while missing:
                    words = await told.get()
                    missing = {one for one in missing if one not in words}
    run("resolvectl", "revert", LINK)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while "netif" not in await told.get():
                pass
    while not told.empty():
        told.get_nowait()


async def until(told: asyncio.Queue[str], *words: str) -> None:
    missing = set(words)
    async with asyncio.timeout(20):
        while missing:
            heard = await told.get()
            missing = {one for one in missing if one not in heard}


async def test_changes_by_others_are_told(plugin: DnsPlugin) -> None:
    async with watched(plugin) as told:
        run("resolvectl", "domain", LINK, "outside.example")
        await until(told, "/run/systemd/resolve/netif")
        run("systemctl", "stop", "systemd-resolved")
        await until(told, "systemd-resolved went")
        run("systemctl", "start", "systemd-resolved")
        await until(told, "systemd-resolved came")
        Path(DROP_IN).parent.mkdir()
        await until(told, "resolved.conf.d came or went")
        Path(DROP_IN).write_text("[Resolve]\n")
        await until(told, f"{DROP_IN} changed")
        CONF.unlink()
        await until(told, "/etc/resolv.conf changed")
        run("ip", "link", "set", LINK, "down")
        await until(told, "a network interface changed")


async def test_a_lost_link_is_drift_and_so_is_its_return(plugin: DnsPlugin) -> None:
    section = {"links": {LINK: OF_LINK}}
    await apply(plugin, section)
    desired = declared(plugin, section)
    async with watched(plugin) as told:
        run("ip", "link", "del", LINK)
        await until(told, "a network interface changed")
        run("ip", "link", "add", LINK, "type", "veth", "peer", "name", f"{LINK}-far")
        await until(told, "a network interface changed")
        (change,) = await changes_for(plugin, desired)
        await plugin.apply(desired, [change], lines)
        assert await plugin.verify(desired) == []
