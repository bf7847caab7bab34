"""Devices that go, that are made on one another, and that are down after a boot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.journal import Journal
from privacy_router.engine.model import Desired
from tests.e2e.net_conversation import hears_once
from tests.e2e.net_machine import NEIGHBOUR, UPLINK, dump, net_machine, plan, put, said

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.net_machine import NetMachine

pytestmark = pytest.mark.e2e
BRIDGE = {
    "interfaces": {"vmbr0": {"addresses": ["192.0.2.2/24", "2001:db8::2/64"]}},
    "routes": [{"to": "default", "via": NEIGHBOUR, "dev": "vmbr0"}],
}


@pytest.fixture
def machine() -> Iterator[NetMachine]:
    with net_machine() as made:
        yield made


async def test_after_a_boot_the_uplink_is_connected_again(machine: NetMachine) -> None:
    """Open vSwitch keeps its ports then; all else is gone."""
    await put(machine.plugin(), UPLINK | BRIDGE)
    for device in ("eth0", "vmbr0"):
        machine.ip("address", "flush", "dev", device)
        machine.ip("link", "set", device, "down")
    machine.run("nft", "flush", "ruleset")
    _, changes = await plan(machine.plugin(), UPLINK | BRIDGE)
    assert [change.key.kind for change in changes] == ["address", "address", "route", "uplink"]
    await put(machine.plugin(), UPLINK | BRIDGE)
    hears_once(machine)


async def test_a_shield_that_somebody_takes_away_is_heard_of(machine: NetMachine) -> None:
    watching = machine.plugin().watch(Desired())

    async def heard() -> None:
        async for words in watching:
            if "nftables table op-dbus-eth0" in words:
                return

    hearing = asyncio.create_task(heard())
    async with asyncio.timeout(10):
        while not hearing.done():  # when it begins to listen, nobody says
            machine.run("nft", "add", "table", "inet", "op-dbus-eth0")
            machine.run("nft", "flush", "ruleset")
            await asyncio.wait({hearing}, timeout=0.1)
    assert isinstance(watching, AsyncGenerator)
    await watching.aclose()


@pytest.mark.parametrize("device", ["eth0", "vmbr0"])
async def test_an_uplink_that_is_taken_down_comes_up(machine: NetMachine, device: str) -> None:
    await put(machine.plugin(), UPLINK)
    machine.ip("link", "set", device, "down")
    _, (change,) = await plan(machine.plugin(), UPLINK)
    assert change.before["connected"] is False
    checkpoint = await put(machine.plugin(), UPLINK)
    await machine.plugin().rollback(checkpoint, said)
    assert "state DOWN" in machine.ip("-o", "link", "show", device)


async def test_an_uplink_brings_only_what_is_declared_to_an_exact_bridge(
    machine: NetMachine,
) -> None:
    before = dump(machine)
    exact = {"interfaces": {"vmbr0": {"addresses": ["192.0.2.2/24"], "exact": True}}}
    checkpoint = await put(machine.plugin(), UPLINK | exact)
    shown = json.loads(machine.ip("-j", "-4", "address", "show", "dev", "vmbr0"))
    assert [a["local"] for a in shown[0]["addr_info"]] == ["192.0.2.2"]
    await machine.plugin().rollback(checkpoint, said)
    assert dump(machine) == before


async def test_what_is_about_a_device_that_is_gone_is_given_up(
    machine: NetMachine, tmp_path: Path
) -> None:
    machine.ip("route", "add", "198.51.100.128/25", "dev", "eth1")
    engine = Engine([machine.plugin()], Journal(tmp_path / "journal"))
    net = {
        "interfaces": {"eth1": {"mtu": 1400, "up": True, "addresses": ["10.1.0.1/24"]}},
        "routes": [{"to": "198.51.100.128/25", "via": "10.1.0.9", "dev": "eth1"}],
    }
    await engine.apply(Source(json.dumps({"version": 1, "plugins": {"net": net}})))
    assert engine.journal.managed()
    machine.ip("link", "del", "eth1")
    await engine.apply(Source())
    assert engine.journal.managed() == {}
    await engine.close()


async def test_an_uplink_that_is_gone_leaves_its_bridge(
    machine: NetMachine, tmp_path: Path
) -> None:
    engine = Engine([machine.plugin()], Journal(tmp_path / "journal"))
    await engine.apply(Source(json.dumps({"version": 1, "plugins": {"net": UPLINK}})))
    machine.ip("link", "del", "eth0")
    alone: dict[str, Any] = {"bridges": {"vmbr0": {}}}
    await engine.apply(Source(json.dumps({"version": 1, "plugins": {"net": alone}})))
    assert machine.vsctl("list-ports", "vmbr0") == ""
    await engine.apply(Source())
    assert machine.vsctl("list-br") == ""
    await engine.close()


async def test_devices_on_one_whose_mtu_was_lowered_get_theirs_back(machine: NetMachine) -> None:
    for name in ("one", "two"):
        machine.ip("link", "add", "link", "eth1", "name", name, "type", "macvlan")
    machine.ip("link", "set", "two", "mtu", "1290")
    before = dump(machine)
    checkpoint = await put(machine.plugin(), {"interfaces": {"eth1": {"mtu": 1300}}})
    assert "mtu 1300" in machine.ip("-o", "link", "show", "one")
    await machine.plugin().rollback(checkpoint, said)
    assert dump(machine) == before


async def test_an_address_gets_another_prefix_length(machine: NetMachine) -> None:
    before = dump(machine)
    section = {"interfaces": {"eth0": {"addresses": ["2001:db8::22/48", "192.0.2.22/25"]}}}
    checkpoint = await put(machine.plugin(), section)
    assert "2001:db8::22/64" not in machine.ip("address", "show", "dev", "eth0")
    await machine.plugin().rollback(checkpoint, said)
    assert dump(machine) == before
