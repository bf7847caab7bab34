"""The plugin net and those who configure devices by DHCP."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.engine.model import Mode, ResourceKey
from privacy_router.host.files import write_atomic
from tests.e2e.net_machine import UPLINK, net_machine, plan, put, refused, said, seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.net_machine import NetMachine

pytestmark = pytest.mark.e2e


@pytest.fixture
def machine() -> Iterator[NetMachine]:
    with net_machine() as made:
        yield made


LIFETIME = ("valid_lft", "900", "preferred_lft", "800")
DHCP_OFF = {"interfaces": {"eth0": {"dhcp": False}}}


def start_client(machine: NetMachine, directory: Path, *words: str) -> list[str]:
    """A program of that name that does nothing: what is looked at is who runs, and for whom."""
    program = directory / "dhclient"
    shutil.copy("/usr/bin/tail", program)
    command = [str(program), "-f", "--", "/dev/null", *words]
    machine.host.spawn("dhclient", command)
    return command


async def client_of(machine: NetMachine, device: str) -> Any:
    key = ResourceKey("net", "dhcp", device)
    return (await machine.plugin().query([key])).values[key]


async def test_a_dhcp_client_ends_and_its_address_stays(
    machine: NetMachine, tmp_path: Path
) -> None:
    machine.ip("address", "add", "192.0.2.5/24", "dev", "eth0", *LIFETIME)
    command = start_client(machine, tmp_path, "eth0")
    async with asyncio.timeout(10):
        while not await client_of(machine, "eth0"):
            await asyncio.sleep(0)
    before = await seen(machine)
    checkpoint = await put(machine.plugin(), DHCP_OFF)
    assert await client_of(machine, "eth0") is False
    shown = machine.ip("-o", "address", "show", "to", "192.0.2.5")
    assert "valid_lft forever" in shown
    await machine.plugin().rollback(checkpoint, said)
    await machine.plugin().rollback(checkpoint, said)
    assert (await client_of(machine, "eth0"))["commands"] == [command]
    assert await seen(machine) == before
    assert "dynamic" in machine.ip("-o", "address", "show", "to", "192.0.2.5")
    await put(machine.plugin(), DHCP_OFF)


async def test_a_client_that_has_no_address_yet_is_left_until_it_has(
    machine: NetMachine, tmp_path: Path
) -> None:
    """After a boot, say: without an address there would be nothing to keep."""
    machine.ip("-4", "address", "flush", "dev", "eth0")
    start_client(machine, tmp_path, "eth0")
    async with asyncio.timeout(10):
        while not await client_of(machine, "eth0"):
            await asyncio.sleep(0)
    desired, (change,) = await plan(machine.plugin(), DHCP_OFF)
    assert change.mode is Mode.OBSERVE_ONLY
    observed = await machine.plugin().query(list(desired.resources))
    assert list(machine.plugin().takes(desired, observed, [])) == [change.key]
    assert "no address for eth0 yet" in (await refused(machine, UPLINK | DHCP_OFF)).message
    machine.ip("address", "add", "192.0.2.5/24", "dev", "eth0", *LIFETIME)
    await put(machine.plugin(), DHCP_OFF)
    assert "valid_lft forever" in machine.ip("-o", "address", "show", "to", "192.0.2.5")


async def test_an_address_by_dhcpv6_is_kept_and_one_by_advertisement_runs_out(
    machine: NetMachine, tmp_path: Path
) -> None:
    for address in ("2001:db8::5/128", "2001:db8::6/64"):
        machine.ip("address", "add", address, "dev", "eth0", *LIFETIME)
    start_client(machine, tmp_path, "-6", "eth0")
    async with asyncio.timeout(10):
        while not await client_of(machine, "eth0"):
            await asyncio.sleep(0)
    await put(machine.plugin(), DHCP_OFF)
    assert "valid_lft forever" in machine.ip("-o", "address", "show", "to", "2001:db8::5")
    assert "valid_lft forever" not in machine.ip("-o", "address", "show", "to", "2001:db8::6/128")


async def test_an_uplink_with_a_dhcp_client_moves_only_without_it(
    machine: NetMachine, tmp_path: Path
) -> None:
    start_client(machine, tmp_path, "eth0")
    async with asyncio.timeout(10):
        while not await client_of(machine, "eth0"):
            await asyncio.sleep(0)
    error = await refused(machine, UPLINK)
    assert "dhclient" in error.message
    assert "dhcp to false" in error.remedy
    before = await seen(machine)
    checkpoint = await put(machine.plugin(), UPLINK | DHCP_OFF)
    await machine.plugin().rollback(checkpoint, said)
    assert await seen(machine) == before
    await put(machine.plugin(), DHCP_OFF)


async def test_clients_that_cannot_be_ended_safely_are_refused(
    machine: NetMachine, tmp_path: Path
) -> None:
    start_client(machine, tmp_path, "eth0", "eth1")
    async with asyncio.timeout(10):
        while not await client_of(machine, "eth0"):
            await asyncio.sleep(0)
    assert "eth0, eth1 together" in (await refused(machine, DHCP_OFF)).message
    machine.run("pkill", "-x", "dhclient")
    links = machine.host.file("/run/systemd/netif/links")
    index = machine.ip("-o", "link", "show", "eth0").split(":")[0]
    write_atomic(
        links / index,
        b"ADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/eth0.network\n",
        0o644,
    )
    network = machine.host.file("/run/systemd/network/eth0.network")
    write_atomic(network, b"[Match]\nName=eth0\n[Network]\nDHCP=yes\n", 0o644)
    assert "systemd-networkd" in (await refused(machine, DHCP_OFF)).message
    assert "systemd-networkd" in (await refused(machine, UPLINK)).message
    ra = {"interfaces": {"eth0": {"ipv6_ra": False}}}
    assert "routers" in (await refused(machine, ra)).message
