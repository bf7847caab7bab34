"""The plugin `net` beside the machine's own services: its Open vSwitch, networkd, systemd."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config.models import Plugins
from privacy_router.engine.errors import RefusedError
from privacy_router.plugins.net import NetPlugin
from privacy_router.plugins.target import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.engine.model import Value
    from privacy_router.host.dbus import Bus

pytestmark = pytest.mark.machine

DEVICE = "net0"
NETWORK = Path("/run/systemd/network/10-net0.network")
UPLINK = {"bridges": {"vmbr0": {"datapath": "netdev", "uplink": DEVICE}}}
DHCP_OFF = {"interfaces": {DEVICE: {"dhcp": False}}}


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(autouse=True)
def device() -> Iterator[None]:
    """A device of our own, at the end of a cable."""
    run("ip", "link", "add", DEVICE, "type", "veth", "peer", "name", f"{DEVICE}-far")
    run("ip", "link", "set", f"{DEVICE}-far", "up")
    run("ip", "link", "set", DEVICE, "up")
    run("ip", "address", "add", "198.51.100.2/24", "brd", "+", "dev", DEVICE)
    run("ip", "route", "add", "203.0.113.0/24", "via", "198.51.100.1", "dev", DEVICE)
    yield
    run("ip", "link", "del", DEVICE)


@pytest.fixture
def networkd() -> Iterator[None]:
    """systemd-networkd, which knows no device unless a test tells it."""
    run("systemctl", "start", "systemd-networkd")
    yield
    NETWORK.unlink(missing_ok=True)
    run("systemctl", "stop", "systemd-networkd.socket", "systemd-networkd")


def plugin(bus: Bus) -> NetPlugin:
    return NetPlugin(Machine(bus))


def said(_: str) -> None:
    """Takes a line of progress, for nobody."""


async def put(net: NetPlugin, data: Any) -> Value:
    desired = net.declare(Plugins.model_validate({"net": data}).net)
    changes = net.diff(desired, await net.query(list(desired.resources)))
    await net.check(desired, changes)
    checkpoint = await net.checkpoint(changes)
    await net.apply(desired, changes, said)
    assert await net.verify(desired) == []
    return checkpoint


async def test_the_machines_own_open_vswitch_takes_the_uplink_over(bus: Bus) -> None:
    """Beside the machine's other default route, which stays where it is."""
    before = (await plugin(bus).query()).canonical()
    checkpoint = await put(plugin(bus), UPLINK)
    assert "198.51.100.2/24" in run("ip", "address", "show", "vmbr0")
    assert "dev vmbr0" in run("ip", "route", "show", "203.0.113.0/24")
    assert "dev uplink0" in run("ip", "route", "show", "default")
    await plugin(bus).rollback(checkpoint, said)
    assert (await plugin(bus).query()).canonical() == before


async def test_what_networkd_manages_is_left_to_it(bus: Bus, networkd: None) -> None:
    NETWORK.parent.mkdir(exist_ok=True)
    NETWORK.write_text(f"[Match]\nName={DEVICE}\n[Network]\nDHCP=ipv4\n")
    run("networkctl", "reload")
    run("networkctl", "reconfigure", DEVICE)
    index = Path(f"/sys/class/net/{DEVICE}/ifindex").read_text().strip()
    state = Path(f"/run/systemd/netif/links/{index}")
    async with asyncio.timeout(20):
        while not (state.exists() and f"NETWORK_FILE={NETWORK}" in state.read_text()):
            await asyncio.sleep(0)
    before = (await plugin(bus).query()).canonical()
    for data in (DHCP_OFF, UPLINK, {"interfaces": {DEVICE: {"ipv6_ra": False}}}):
        with pytest.raises(RefusedError, match="systemd-networkd") as caught:
            await put(plugin(bus), data)
        assert caught.value.remedy
    assert (await plugin(bus).query()).canonical() == before


async def test_what_networkd_does_not_manage_moves(bus: Bus, networkd: None) -> None:
    """And it leaves the bridge alone, too."""
    before = (await plugin(bus).query()).canonical()
    checkpoint = await put(plugin(bus), UPLINK | DHCP_OFF)
    run("networkctl", "reload")
    assert "198.51.100.2/24" in run("ip", "address", "show", "vmbr0")
    await plugin(bus).rollback(checkpoint, said)
    assert (await plugin(bus).query()).canonical() == before


async def test_a_client_that_is_given_back_is_a_service_of_its_own(
    bus: Bus, tmp_path: Path
) -> None:
    """In our own control group it would end with us. (It does nothing: its name is what counts.)"""
    program = tmp_path / "dhclient"
    shutil.copy("/usr/bin/tail", program)
    # exec: it returns once the program runs, and not when its process is there
    start = ("systemd-run", "--unit=client-before", "--property=Type=exec", str(program))
    run(*start, "-f", "/dev/null", DEVICE)
    before = (await plugin(bus).query()).canonical()
    assert b"dhclient" in before
    checkpoint = await put(plugin(bus), DHCP_OFF)
    await plugin(bus).rollback(checkpoint, said)
    assert (await plugin(bus).query()).canonical() == before
    pid = run("pgrep", "-x", "dhclient").strip()
    assert "/run-" in Path(f"/proc/{pid}/cgroup").read_text()
    await put(plugin(bus), DHCP_OFF)
