"""The plugin `pcidecl` on a bus in a directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config import ConfigError, parse_document
from privacy_router.config.models import Plugins
from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.errors import RefusedError
from privacy_router.engine.journal import Journal
from privacy_router.engine.model import enforced
from privacy_router.errors import PrivacyRouterError
from privacy_router.host import uevents
from privacy_router.host.dbus import Bus
from privacy_router.plugins.pcidecl import PcideclPlugin, bus
from privacy_router.plugins.target import Machine
from tests.plugins.pci_kernel import PciKernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from privacy_router.engine.model import Desired, Value

ADDRESS = "0000:03:00.0"
IDS = {"vendor": "0x8086", "device": "0x1533"}
NATIVE = "igb"


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[PciKernel]:
    made = PciKernel(tmp_path)
    made.add_driver(NATIVE, "8086 1533")
    made.add_driver("vfio-pci")
    made.add_driver("e1000e", "8086 10d3")
    yield made


@pytest.fixture
def device(kernel: PciKernel) -> Path:
    return kernel.add_device(ADDRESS, driver=NATIVE)


@pytest.fixture
def plugin(tmp_path: Path) -> PcideclPlugin:
    return PcideclPlugin(Machine(Bus(None), tmp_path))


def declared(plugin: PcideclPlugin, **keys: Any) -> Desired:
    section = {"devices": {ADDRESS: IDS | keys}}
    return plugin.declare(Plugins.model_validate({"pcidecl": section}).pcidecl)


async def state(plugin: PcideclPlugin) -> bytes:
    return (await plugin.query()).canonical()


async def value(plugin: PcideclPlugin) -> Value:
    key = plugin.key("device", ADDRESS)
    return (await plugin.query([key])).values.get(key)


async def apply(plugin: PcideclPlugin, desired: Desired) -> Value:
    """What the engine does; the checkpoint."""
    found = await plugin.query(list(desired.resources))
    changes = enforced(plugin.diff(desired, found))
    await plugin.check(desired, changes)
    checkpoint = json.loads(json.dumps(await plugin.checkpoint(changes)))
    await plugin.apply(desired, changes, lambda _: None)
    return checkpoint


# --- the section ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "item", "words"),
    [
        ("3:0.0", IDS, "the address of a PCI device"),
        (ADDRESS.upper() + "x", IDS, "the address of a PCI device"),
        (ADDRESS, IDS | {"vendor": "808"}, "four hexadecimal digits such as 8086"),
        (ADDRESS, IDS | {"vendor": "0x08086"}, "four hexadecimal digits such as 8086"),
        (ADDRESS, {"vendor": "0x8086"}, "device"),
        (ADDRESS, IDS | {"driver": "../vfio"}, "the name of a driver"),
        (ADDRESS, IDS | {"driver": "igb", "driver_override": "none"}, "the same name"),
        (ADDRESS, IDS | {"mode": "watch"}, "enforce (keep it so) or observe-only"),
        (ADDRESS, IDS | {"force": "yes"}, "force"),
    ],
)
def test_mistakes_are_named(address: str, item: dict[str, Any], words: str) -> None:
    plugins = {"pcidecl": {"devices": {address: item}}}
    with pytest.raises(ConfigError) as caught:
        parse_document(json.dumps({"version": 1, "plugins": plugins}), "the document", None)
    assert words in str(caught.value)


def test_ids_are_taken_as_lspci_prints_them() -> None:
    plugins = {"pcidecl": {"devices": {ADDRESS: {"vendor": "8086", "device": "0X10D3"}}}}
    document = json.dumps({"version": 1, "plugins": plugins})
    found = parse_document(document, "the document", None).plugins.pcidecl
    assert found is not None
    (device,) = found.devices.values()
    assert (device.vendor, device.device) == ("0x8086", "0x10d3")


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({}, {}),
        ({"driver": None}, {"driver": None}),
        ({"driver_override": None}, {"driver_override": None}),
        ({"driver": "igb"}, {"driver": "igb", "driver_override": "igb"}),
        ({"driver": "igb", "driver_override": None}, {"driver": "igb", "driver_override": None}),
        ({"driver": None, "driver_override": "none"}, {"driver": None, "driver_override": "none"}),
    ],
)
def test_what_is_left_out_is_left_alone(
    plugin: PcideclPlugin, keys: dict[str, Any], wanted: dict[str, Any]
) -> None:
    (resource,) = declared(plugin, **keys).resources.values()
    assert resource.value == IDS | wanted


# --- reading -------------------------------------------------------------------------------------


async def test_a_device_is_read_with_everything_that_can_be_declared(
    plugin: PcideclPlugin, device: Path
) -> None:
    read = IDS | {"class": "0x020000", "driver": NATIVE, "driver_override": None}
    assert await value(plugin) == read
    (device / "driver_override").write_text("vfio-pci\n")
    (device / "driver").unlink()
    assert await value(plugin) == read | {"driver": None, "driver_override": "vfio-pci"}


async def test_without_a_bus_the_plugin_says_so(plugin: PcideclPlugin, tmp_path: Path) -> None:
    availability = await plugin.availability()
    assert not availability
    assert "no PCI bus" in availability.reason
    assert await state(plugin) == b"[]"
    PciKernel(tmp_path)
    assert await plugin.availability()


# --- changing ------------------------------------------------------------------------------------

CASES: list[dict[str, Any]] = [
    {"driver": "vfio-pci"},
    {"driver": None},
    {"driver": None, "driver_override": "none"},
    {"driver_override": "igb"},
    {"driver": NATIVE},
]


@pytest.mark.parametrize("keys", CASES, ids=json.dumps)
async def test_a_device_becomes_as_declared_and_goes_back(
    kernel: PciKernel, device: Path, plugin: PcideclPlugin, keys: dict[str, Any]
) -> None:
    before = await state(plugin)
    desired = declared(plugin, **keys)
    with kernel.running():
        checkpoint = await apply(plugin, desired)
        assert await plugin.verify(desired) == []
        assert await state(plugin) != before
        for _ in range(2):
            await plugin.rollback(checkpoint, lambda _: None)
            assert await state(plugin) == before


@pytest.mark.parametrize("keys", CASES, ids=json.dumps)
async def test_a_run_that_was_cut_short_goes_back(
    kernel: PciKernel, device: Path, plugin: PcideclPlugin, keys: dict[str, Any]
) -> None:
    before = await state(plugin)
    desired = declared(plugin, **keys)
    changes = plugin.diff(desired, await plugin.query(list(desired.resources)))
    checkpoint = await plugin.checkpoint(changes)
    (device / "driver_override").write_text(f"{desired_override(keys)}\n")
    if "driver" in keys:
        (device / "driver").unlink()  # and here the daemon was killed
    with kernel.running():
        await plugin.rollback(checkpoint, lambda _: None)
        assert await state(plugin) == before


def desired_override(keys: dict[str, Any]) -> str:
    return keys.get("driver_override") or keys.get("driver") or "(null)"


async def test_a_driver_that_an_override_kept_away_comes_back_all_the_same(
    kernel: PciKernel, device: Path, plugin: PcideclPlugin
) -> None:
    (device / "driver_override").write_text("vfio-pci\n")  # set while igb had it
    before = await state(plugin)
    with kernel.running():
        checkpoint = await apply(plugin, declared(plugin, driver=None))
        assert (await value(plugin))["driver"] is None
        await plugin.rollback(checkpoint, lambda _: None)
        assert await state(plugin) == before


async def test_a_driver_that_does_not_take_the_device_is_an_error(
    kernel: PciKernel, device: Path, plugin: PcideclPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_PROBE_S", 0.1)
    before = await state(plugin)
    desired = declared(plugin, driver="e1000e", driver_override=None)
    changes = plugin.diff(desired, await plugin.query(list(desired.resources)))
    checkpoint = await plugin.checkpoint(changes)
    with kernel.running():
        with pytest.raises(PrivacyRouterError, match="is bound to no driver and does not change"):
            await plugin.apply(desired, changes, lambda _: None)
        await plugin.rollback(checkpoint, lambda _: None)
        assert await state(plugin) == before


async def test_a_device_that_is_unplugged_in_the_middle_is_named(
    device: Path, plugin: PcideclPlugin, tmp_path: Path
) -> None:
    desired = declared(plugin, driver=None)
    changes = plugin.diff(desired, await plugin.query(list(desired.resources)))
    (tmp_path / "sys/bus/pci/devices" / ADDRESS).unlink()
    with pytest.raises(PrivacyRouterError, match=f"there is no PCI device {ADDRESS}"):
        await plugin.apply(desired, changes, lambda _: None)


@pytest.mark.parametrize("other", [False, True], ids=["nothing", "another"])
async def test_a_device_that_was_taken_out_is_given_up(
    device: Path, kernel: PciKernel, plugin: PcideclPlugin, tmp_path: Path, other: bool
) -> None:
    engine = Engine([plugin], Journal(tmp_path / "journal"))
    section = {"devices": {ADDRESS: IDS | {"driver": None}}}
    with kernel.running():
        await engine.apply(Source(json.dumps({"version": 1, "plugins": {"pcidecl": section}})))
    if other:
        (device / "vendor").write_text("0x10de\n")
    else:
        (tmp_path / "sys/bus/pci/devices" / ADDRESS).unlink()
    before = await state(plugin)
    await engine.apply(Source())
    assert engine.journal.managed() == {}
    assert await state(plugin) == before
    await engine.close()


async def test_what_is_only_observed_is_reported_and_left(
    device: Path, plugin: PcideclPlugin
) -> None:
    before = await state(plugin)
    desired = declared(plugin, driver="nouveau", vendor="0x10de", mode="observe-only")
    (change,) = plugin.diff(desired, await plugin.query(list(desired.resources)))
    assert change.before["vendor"] == "0x8086"
    await plugin.check(desired, [change])
    await plugin.apply(desired, [change], lambda _: None)
    assert await state(plugin) == before


# --- refusing ------------------------------------------------------------------------------------


async def refused(plugin: PcideclPlugin, **keys: Any) -> str:
    before = await state(plugin)
    with pytest.raises(RefusedError) as caught:
        await apply(plugin, declared(plugin, **keys))
    assert await state(plugin) == before
    assert caught.value.remedy
    return caught.value.message


async def test_another_device_than_declared_is_not_touched(
    device: Path, plugin: PcideclPlugin
) -> None:
    message = await refused(plugin, vendor="0x10DE", driver=None)
    assert "its vendor is 0x8086, not 0x10de" in message
    assert "its device is 0x1533" in await refused(plugin, device="0x9999", driver=None)


async def test_a_device_that_is_not_there_is_refused(
    kernel: PciKernel, plugin: PcideclPlugin
) -> None:
    assert f"no PCI device {ADDRESS}" in await refused(plugin, driver=None)


async def test_a_driver_that_is_not_loaded_is_refused(device: Path, plugin: PcideclPlugin) -> None:
    assert "nouveau" in await refused(plugin, driver="nouveau")


@pytest.mark.parametrize("source", ["/dev/sda1", "by number"])
async def test_a_mounted_disk_keeps_its_driver(
    kernel: PciKernel, device: Path, plugin: PcideclPlugin, source: str, tmp_path: Path
) -> None:
    disk = kernel.add_part(device, "block", "sda1")
    if source == "by number":
        numbers = tmp_path / "sys/dev/block"
        numbers.mkdir(parents=True)
        (numbers / "8:1").symlink_to(disk)
    else:
        (tmp_path / "dev").mkdir()
        (tmp_path / source.lstrip("/")).touch()
    kernel.mount(source, "/")
    assert "in use: sda1 is mounted at /" in await refused(plugin, driver=None)
    with kernel.running():
        await apply(plugin, declared(plugin, driver=None, force=True))
        assert (await value(plugin))["driver"] is None


async def test_so_does_one_that_carries_a_volume(
    kernel: PciKernel, device: Path, plugin: PcideclPlugin, tmp_path: Path
) -> None:
    disk = kernel.add_part(device, "block", "sda1")
    volume = kernel.add_virtual("block", "dm-0")
    (disk / "holders").mkdir()
    (disk / "holders/dm-0").symlink_to(volume)
    (tmp_path / "dev/mapper").mkdir(parents=True)
    (tmp_path / "dev/dm-0").touch()
    (tmp_path / "dev/mapper/pve-root").symlink_to("../dm-0")
    kernel.mount("/dev/mapper/pve-root", "/")
    assert "dm-0 is mounted at /" in await refused(plugin, driver="vfio-pci")


async def test_so_does_an_nvme_disk_with_several_ways_to_it(
    kernel: PciKernel, device: Path, plugin: PcideclPlugin, tmp_path: Path
) -> None:
    controller = kernel.add_part(device, "nvme", "nvme0")
    subsystem = kernel.add_virtual("nvme-subsystem", "nvme-subsys0")
    (subsystem / "nvme0").symlink_to(controller)
    (subsystem / "nvme0n1/holders").mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvme0n1").touch()
    kernel.mount("/dev/nvme0n1", "/var")
    assert "nvme0n1 is mounted at /var" in await refused(plugin, driver=None)


async def test_what_leads_out_of_the_machine_keeps_its_driver(
    kernel: PciKernel, device: Path, plugin: PcideclPlugin
) -> None:
    link = kernel.add_part(device, "net", "eno1")
    kernel.route("vmbr0")
    bridge = kernel.add_virtual("net", "vmbr0")
    kernel.add_virtual("net", "ovs-system")
    (link / "upper_vmbr0").symlink_to(bridge)
    assert "the default route goes by eno1" in await refused(plugin, driver=None)
    (link / "upper_vmbr0").unlink()
    (link / "upper_ovs-system").symlink_to(bridge)
    assert "eno1 is a port of Open vSwitch" in await refused(plugin, driver=None)
    (link / "upper_ovs-system").unlink()
    with kernel.running():
        await apply(plugin, declared(plugin, driver=None))


async def test_a_way_out_over_ipv6_counts(
    kernel: PciKernel, device: Path, plugin: PcideclPlugin, tmp_path: Path
) -> None:
    kernel.add_part(device, "net", "eno1")
    nowhere = "0" * 32
    row = f"{nowhere} 00 {nowhere} 00 fe80{'0' * 27}1 00000400 1 0 00000003     eno1\n"
    (tmp_path / "proc/net/ipv6_route").write_text(row)
    assert "the default route goes by eno1" in await refused(plugin, driver=None)


async def test_a_change_of_the_override_alone_takes_nothing_away(
    kernel: PciKernel, device: Path, plugin: PcideclPlugin
) -> None:
    kernel.add_part(device, "net", "eno1")
    kernel.route("eno1")
    with kernel.running():
        await apply(plugin, declared(plugin, driver_override=NATIVE))
    assert (await value(plugin))["driver_override"] == NATIVE


# --- watching ------------------------------------------------------------------------------------


def test_an_event_is_read_field_by_field() -> None:
    datagram = (
        b"bind@/devices/pci0000:00/0000:03:00.0\0ACTION=bind\0SUBSYSTEM=pci\0"
        b"PCI_SLOT_NAME=0000:03:00.0\0MODALIAS=pci:v=1\0\xff\0"
    )
    event = uevents.parse(datagram)
    assert event["ACTION"] == "bind"
    assert event["PCI_SLOT_NAME"] == ADDRESS
    assert event["MODALIAS"] == "pci:v=1"
    assert len(event) == 4
