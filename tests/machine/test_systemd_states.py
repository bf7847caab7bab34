"""The plugin systemd on a real service manager: enabled, masked, types, properties."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.plugins.systemd import SystemdPlugin
from privacy_router.plugins.target import Machine
from tests.machine.systemd_units import (
    CONTROL,
    DEMO,
    ETC,
    SLEEPER,
    Run,
    existing,
    no_demo_units,
    shown,
    systemctl,
    tree,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.host.dbus import Bus

pytestmark = pytest.mark.machine

ALL_PROPERTIES = {
    "Description": "a demo of properties",
    "CPUAccounting": True,
    "IOAccounting": True,
    "IPAccounting": True,
    "MemoryAccounting": True,
    "TasksAccounting": True,
    "CPUWeight": "idle",
    "StartupCPUWeight": 300,
    "CPUQuota": "150%",
    "AllowedCPUs": "0-1",
    "AllowedMemoryNodes": "0",
    "MemoryMin": 0,
    "MemoryLow": "1M",
    "MemoryHigh": "1.5G",
    "MemoryMax": "2G",
    "MemorySwapMax": 0,
    "TasksMax": 77,
    "IOWeight": 50,
    "StartupIOWeight": 60,
    "IPAddressAllow": ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "localhost"],
    "IPAddressDeny": ["any"],
    "DeviceAllow": ["/dev/null rw", "/dev/zero r"],
    "DevicePolicy": "closed",
    "ManagedOOMSwap": "kill",
    "ManagedOOMMemoryPressure": "kill",
    "ManagedOOMPreference": "avoid",
}


@pytest.fixture
def plugin(bus: Bus) -> SystemdPlugin:
    return SystemdPlugin(Machine(bus))


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield from no_demo_units()


# --- enablement -----------------------------------------------------------------------------------


def family() -> None:
    """A service that comes with a socket and another name, wanted twice."""
    install = "[Install]\nWantedBy=multi-user.target rescue.target\nAlias=demo-alias.service\n"
    write(ETC / DEMO, SLEEPER.partition("[Install]")[0] + install + "Also=demo.socket\n")
    write(
        ETC / "demo.socket",
        "[Socket]\nListenStream=/run/demo.sock\n[Install]\nWantedBy=sockets.target\n",
    )
    systemctl("daemon-reload")


async def test_half_enabled_comes_back_half_enabled(plugin: SystemdPlugin) -> None:
    family()
    (ETC / "rescue.target.wants").mkdir(exist_ok=True)
    (ETC / f"rescue.target.wants/{DEMO}").symlink_to(f"../{DEMO}")
    run = Run(plugin, {"units": {DEMO: {"enabled": False}}})
    await run.apply()
    assert not (ETC / "rescue.target.wants").exists()
    await run.undo()


async def test_what_is_enabled_along_is_undone_along(plugin: SystemdPlugin) -> None:
    family()
    run = Run(plugin, {"units": {DEMO: {"enabled": True}}})
    await run.apply()
    assert (ETC / "sockets.target.wants/demo.socket").is_symlink()
    assert (ETC / "demo-alias.service").is_symlink()
    await run.undo()


async def test_enabled_until_the_next_boot_and_for_ever(plugin: SystemdPlugin) -> None:
    existing()
    systemctl("enable", "--runtime", DEMO)
    run = Run(plugin, {"units": {DEMO: {"enabled": True}}})
    await run.apply()
    assert systemctl("is-enabled", DEMO) == "enabled"
    back = Run(plugin, {}, run.taken())
    await back.apply()
    assert systemctl("is-enabled", DEMO) == "enabled-runtime"
    await back.undo()
    await run.undo()
    off = Run(plugin, {"units": {DEMO: {"enabled": False}}})
    await off.apply()
    assert systemctl("is-enabled", DEMO) == "disabled"
    await off.undo()


async def test_a_linked_unit_stays_linked_when_it_is_disabled(plugin: SystemdPlugin) -> None:
    elsewhere = Path("/root/demo-linked.service")
    write(elsewhere, SLEEPER)
    systemctl("link", str(elsewhere))
    run = Run(plugin, {"units": {elsewhere.name: {"enabled": False}}})
    assert await run.plan() == []
    systemctl("enable", elsewhere.name)
    run = Run(plugin, {"units": {elsewhere.name: {"enabled": False}}})
    await run.apply()
    assert systemctl("is-enabled", elsewhere.name) == "linked"
    await run.undo()
    elsewhere.unlink()


async def test_a_template_is_enabled_by_its_default_instance(plugin: SystemdPlugin) -> None:
    text = SLEEPER + "DefaultInstance=one\n"
    run = Run(
        plugin,
        {
            "files": {"demo@.service": {"content": text}},
            "units": {"demo@.service": {"enabled": True}, "demo@two.service": {"enabled": True}},
        },
    )
    await run.apply()
    assert (ETC / "multi-user.target.wants/demo@one.service").is_symlink()
    assert (ETC / "multi-user.target.wants/demo@two.service").is_symlink()
    await run.undo()


async def test_masking_stops_and_disables_and_comes_back(plugin: SystemdPlugin) -> None:
    unit = "systemd-resolved.service"
    run = Run(plugin, {"units": {unit: {"masked": True, "active": False, "enabled": False}}})
    await run.apply()
    assert systemctl("is-enabled", unit) == "masked"
    assert shown(unit, "ActiveState") == "inactive"
    back = Run(plugin, {}, run.taken())
    await back.apply()
    assert tree() == run.tree
    assert shown(unit, "ActiveState") == "active"
    await back.undo()
    await run.undo()
    assert (shown(unit, "ActiveState"), systemctl("is-enabled", unit)) == ("active", "enabled")


async def test_masked_until_the_next_boot_is_unmasked_and_comes_back(
    plugin: SystemdPlugin,
) -> None:
    systemctl("mask", "--runtime", "systemd-pstore.service")
    run = Run(plugin, {"units": {"systemd-pstore.service": {"masked": False}}})
    await run.apply()
    assert systemctl("is-enabled", "systemd-pstore.service") == "enabled"
    await run.undo()
    assert systemctl("is-enabled", "systemd-pstore.service") == "masked-runtime"
    systemctl("unmask", "--runtime", "systemd-pstore.service")


# --- other types ----------------------------------------------------------------------------------


async def test_sockets_timers_targets_slices_and_oneshots(plugin: SystemdPlugin) -> None:
    texts = {
        "demo-a.socket": "[Socket]\nListenStream=/run/demo-a.sock\n",
        "demo-a.service": SLEEPER,
        "demo-b.timer": "[Timer]\nOnBootSec=10h\n",
        "demo-b.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
        "demo-c.target": "[Unit]\nDescription=a target\n",
        "demo-d.slice": "[Slice]\nMemoryMax=1G\n",
        "demo-e.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
        "demo-f.path": "[Path]\nPathExists=/nowhere\nUnit=demo-b.service\n",
    }
    active = [n for n in texts if n not in {"demo-a.service", "demo-b.service"}]
    section: dict[str, dict[str, Any]] = {
        "files": {name: {"content": text} for name, text in texts.items()},
        "units": {name: {"active": True} for name in active},
    }
    section["units"]["demo-d.slice"]["properties"] = {"TasksMax": 100}
    section["units"]["demo-c.target"]["properties"] = {"Description": "another"}
    run = Run(plugin, section)
    await run.apply()
    assert {shown(name, "ActiveState") for name in active} == {"active"}
    await run.undo()
    # A slice needs no file to be known.
    assert {shown(n, "LoadState") for n in texts if n != "demo-d.slice"} == {"not-found"}
    assert shown("demo-d.slice", "FragmentPath") == ""


# --- properties -----------------------------------------------------------------------------------


async def test_every_property_is_set_read_back_kept_and_undone(plugin: SystemdPlugin) -> None:
    existing()
    systemctl("start", DEMO)
    run = Run(plugin, {"units": {DEMO: {"properties": ALL_PROPERTIES}}})
    await run.apply()
    systemctl("daemon-reload")
    await run.verify()
    names = {path.name for path in (CONTROL / f"{DEMO}.d").iterdir()}
    # Those that were so before are not set.
    assert names <= {f"50-{name}.conf" for name in ALL_PROPERTIES}
    assert len(names) > 20
    await run.undo()
    assert shown(DEMO, "Description") == "sleeps"


async def test_properties_of_somebody_else_stay_and_come_back(plugin: SystemdPlugin) -> None:
    existing(SLEEPER.replace("[Install]", "MemoryMax=3G\nCPUWeight=9\n[Install]"))
    systemctl("start", DEMO)
    systemctl("set-property", DEMO, "MemoryHigh=20%", "TasksMax=99")
    systemctl("set-property", "--runtime", DEMO, "CPUWeight=11")
    wanted = {"MemoryMax": "1G", "MemoryHigh": "500M", "CPUWeight": 12}
    run = Run(plugin, {"units": {DEMO: {"properties": wanted}}})
    await run.apply()
    systemctl("daemon-reload")
    await run.verify()
    assert (shown(DEMO, "TasksMax"), shown(DEMO, "MemoryHigh")) == ("99", str(500 * 1024**2))
    await run.undo()
    again = Run(plugin, {"units": {DEMO: {"properties": {"MemoryMax": "1G", "CPUWeight": 12}}}})
    await again.apply()
    back = Run(plugin, {}, again.taken())
    await back.apply()
    assert (shown(DEMO, "MemoryMax"), shown(DEMO, "CPUWeight")) == (str(3 * 1024**3), "11")
    assert tree() == again.tree
    await back.undo()


async def test_a_property_that_another_drop_in_overrides_is_not_believed(
    plugin: SystemdPlugin,
) -> None:
    existing()
    write(ETC / f"{DEMO}.d/90-mine.conf", "[Service]\nTasksMax=5\n")
    systemctl("daemon-reload")
    run = Run(plugin, {"units": {DEMO: {"properties": {"TasksMax": 6}}}})
    await run.prepare()
    await run.make()
    assert [change.before["value"] for change in await plugin.verify(run.desired)] == [5]
    await run.undo()
