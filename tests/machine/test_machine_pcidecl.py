"""The plugin `pcidecl` with the kernel's own PCI bus; devices that are in use are only read.

The machine's /sys is read-only, as in containers, so a second one is mounted where it may be
written. Where the kernel has no PCI bus at all, that is what the plugin has to say.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config.models import Plugins
from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Desired
from privacy_router.plugins.pcidecl import PcideclPlugin
from privacy_router.plugins.pcidecl.check import use_of
from privacy_router.plugins.target import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.engine.model import Change
    from privacy_router.host.dbus import Bus

pytestmark = pytest.mark.machine

DEVICES = Path("/sys/bus/pci/devices")
ADDRESSES = sorted(path.name for path in DEVICES.iterdir()) if DEVICES.is_dir() else []
WITHOUT_DRIVER = [address for address in ADDRESSES if not (DEVICES / address / "driver").exists()]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The machine's tree with a /sys that can be written."""
    for name in ("dev", "proc"):
        (tmp_path / name).symlink_to(f"/{name}")
    (tmp_path / "sys").mkdir()
    # another network namespace's, since mounts of one's own share their being read-only
    mount = ["unshare", "--net", "mount", "-t", "sysfs", "sysfs", str(tmp_path / "sys")]
    subprocess.run(mount, check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path / "sys"], check=True)


@pytest.fixture
def plugin(bus: Bus, root: Path) -> PcideclPlugin:
    return PcideclPlugin(Machine(bus, root))


def declared(plugin: PcideclPlugin, address: str, **keys: Any) -> Desired:
    ids = {name: (DEVICES / address / name).read_text().strip() for name in ("vendor", "device")}
    section = {"devices": {address: ids | keys}}
    return plugin.declare(Plugins.model_validate({"pcidecl": section}).pcidecl)


async def changes(plugin: PcideclPlugin, desired: Desired) -> list[Change]:
    return plugin.diff(desired, await plugin.query(list(desired.resources)))


async def test_what_is_read_is_what_the_kernel_says(plugin: PcideclPlugin) -> None:
    assert bool(await plugin.availability()) is DEVICES.is_dir()
    found = {key.name: value for key, value in (await plugin.query()).values.items()}
    assert sorted(found) == ADDRESSES
    for address, value in found.items():
        event = dict(
            line.split("=", 1) for line in (DEVICES / address / "uevent").read_text().splitlines()
        )
        vendor, device = event["PCI_ID"].lower().split(":")
        assert (value["vendor"], value["device"]) == (f"0x{vendor}", f"0x{device}")
        assert value["driver"] == event.get("DRIVER")


async def test_an_override_is_set_and_taken_back(plugin: PcideclPlugin, root: Path) -> None:
    for address in WITHOUT_DRIVER[:1]:
        before = (await plugin.query()).canonical()
        desired = declared(plugin, address, driver=None, driver_override="none")
        made = await changes(plugin, desired)
        await plugin.check(desired, made)
        checkpoint = json.loads(json.dumps(await plugin.checkpoint(made)))
        await plugin.apply(desired, made, lambda _: None)
        assert await plugin.verify(desired) == []
        assert (DEVICES / address / "driver_override").read_text() == "none\n"
        for _ in range(2):
            await plugin.rollback(checkpoint, lambda _: None)
            assert (DEVICES / address / "driver_override").read_text() == "(null)\n"
            assert (await plugin.query()).canonical() == before


async def test_where_sys_is_read_only_changes_are_refused(bus: Bus) -> None:
    plugin = PcideclPlugin(Machine(bus))
    for address in ADDRESSES[:1]:
        desired = declared(plugin, address, driver_override="none")
        with pytest.raises(RefusedError, match="cannot be written here"):
            await plugin.check(desired, await changes(plugin, desired))


async def test_what_is_only_observed_is_left(plugin: PcideclPlugin) -> None:
    before = (await plugin.query()).canonical()
    for address in ADDRESSES:
        desired = declared(plugin, address, driver="vfio-pci", mode="observe-only")
        made = await changes(plugin, desired)
        assert len(made) == 1
        await plugin.check(desired, made)
        await plugin.apply(desired, made, lambda _: None)
    assert (await plugin.query()).canonical() == before


async def test_a_mounted_disk_is_not_taken_away(
    plugin: PcideclPlugin, bus: Bus, root: Path
) -> None:
    # the project is mounted here from a disk, in whatever way the machine outside has one
    place, devices = Machine(bus, root), root / "sys/bus/pci/devices"
    before = (await plugin.query()).canonical()
    for address in ADDRESSES:
        if "is mounted" in use_of(place, (devices / address).resolve()):
            desired = declared(plugin, address, driver=None)
            with pytest.raises(RefusedError, match=r"is in use: \w+ is mounted at /"):
                await plugin.check(desired, await changes(plugin, desired))
    assert (await plugin.query()).canonical() == before


async def test_news_of_a_device_are_told(plugin: PcideclPlugin, root: Path) -> None:
    for address in WITHOUT_DRIVER[:1] or ADDRESSES[:1]:
        news = plugin.watch(Desired())
        heard = asyncio.ensure_future(anext(news))
        async with asyncio.timeout(20):
            while not heard.done():
                # the kernel announces what is written here, and does nothing else about it
                (root / "sys/bus/pci/devices" / address / "uevent").write_text("change\n")
                await asyncio.wait({heard}, timeout=0.05)
        assert heard.result() == f"PCI device {address}: change"
        assert isinstance(news, AsyncGenerator)
        await news.aclose()
