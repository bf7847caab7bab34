"""The plugin net on real devices, with a real Open vSwitch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Desired, enforced
from privacy_router.errors import PrivacyRouterError
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.ovsdb.host_bridges import HostBridges
from privacy_router.plugins.net.errors import KernelRefusedError
from tests.e2e.net_machine import UPLINK, dump, net_machine, plan, put, refused, said, seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.net_machine import NetMachine

pytestmark = pytest.mark.e2e

WHOLE = {
    "bridges": {
        "vmbr1": {
            "fail_mode": "secure",
            "ports": {"eth1": {"tag": 7}, "mgmt0": {"type": "internal", "tag": 14}},
        }
    },
    "interfaces": {
        "eth0": {"addresses": ["192.0.2.77/24", "2001:db8::77/64"], "ipv6_ra": False},
        "vmbr1": {"up": True, "addresses": ["10.9.0.1/24"]},
        "mgmt0": {"up": True, "mtu": 1400, "addresses": ["fd00:9::1/64"]},
    },
    "routes": [
        {"to": "default", "via": "192.0.2.9", "dev": "eth0"},
        {"to": "10.10.0.0/16", "via": "10.9.0.2", "table": 100, "metric": 5},
        {"to": "fd00:10::/32", "dev": "mgmt0"},
    ],
}


@pytest.fixture
def machine() -> Iterator[NetMachine]:
    with net_machine() as made:
        yield made


async def test_a_section_is_applied_and_taken_back_byte_for_byte(machine: NetMachine) -> None:
    before, kernel = await seen(machine), dump(machine)
    checkpoint = await put(machine.plugin(), WHOLE)
    assert (await plan(machine.plugin(), WHOLE))[1] == []
    assert machine.vsctl("get", "port", "mgmt0", "tag").strip() == "14"
    assert "mtu 1400" in machine.ip("link", "show", "mgmt0")
    assert "via 192.0.2.9" in machine.ip("route", "show", "default")
    assert machine.vsctl("get-fail-mode", "vmbr1").strip() == "secure"
    await machine.plugin().rollback(checkpoint, said)
    await machine.plugin().rollback(checkpoint, said)
    assert await seen(machine) == before
    assert dump(machine) == kernel


async def test_observe_only_reports_and_changes_nothing(machine: NetMachine) -> None:
    interface = {"mode": "observe-only", "mtu": 1400, "addresses": ["192.0.2.77/24"]}
    data = {"interfaces": {"eth0": interface, "eth9": {"mode": "observe-only", "up": True}}}
    _, changes = await plan(machine.plugin(), data)
    assert [str(change.key) for change in changes] == [
        "net address eth0 192.0.2.77/24",
        "net mtu eth0",
        "net up eth9",
    ]
    assert enforced(changes) == []


@pytest.mark.parametrize(
    ("destination", "router", "own"),
    [
        ("0.0.0.0/0", "172.31.1.1", "203.0.113.77/32"),
        ("::/0", "2001:db8:9::1", "2001:db8:5::77/128"),
        ("10.0.0.0/8", "172.31.1.1", "203.0.113.77/32"),
    ],
)
async def test_a_router_outside_of_the_own_network(
    machine: NetMachine, destination: str, router: str, own: str
) -> None:
    """As at many hosters: the route to the router comes first, wherever the document has it."""
    kernel = dump(machine)
    by = {"to": destination, "via": router, "dev": "eth1", "metric": 50}
    link = {"to": f"{router}/{128 if ':' in router else 32}", "dev": "eth1"}
    interface = {"interfaces": {"eth1": {"addresses": [own]}}}
    for routes in ([by, link], [link, by], [{**by, "onlink": True}]):
        data = {**interface, "routes": routes}
        checkpoint = await put(machine.plugin(), data)
        family = "-6" if ":" in router else "-4"
        shown = machine.ip(family, "route", "show", "dev", "eth1", "metric", "50")
        assert f"via {router}" in shown
        assert ("onlink" in shown) == (len(routes) == 1)
        assert (await plan(machine.plugin(), data))[1] == []
        await machine.plugin().rollback(checkpoint, said)
        assert dump(machine) == kernel
    refusal = await refused(machine, {**interface, "routes": [by]})
    assert f"its router {router} is not on the link of eth1" in refusal.message
    assert "onlink" in refusal.remedy


async def test_the_kernel_finds_no_way_to_a_router(machine: NetMachine) -> None:
    """Of what only the kernel knows: a link route that is in another table than it asks."""
    machine.ip("route", "add", "172.31.1.1/32", "dev", "eth1", "table", "77")
    data = {"routes": [{"to": "10.0.0.0/8", "via": "172.31.1.1", "dev": "eth1", "metric": 9}]}
    with pytest.raises(KernelRefusedError, match=r"router 172\.31\.1\.1 is not on") as caught:
        await put(machine.plugin(), data)
    assert "onlink" in caught.value.remedy


async def test_the_last_address_of_a_network_leaves_the_others(machine: NetMachine) -> None:
    """The kernel would take 192.0.2.22 and the routes along with the first address."""
    kernel = dump(machine)
    data = {
        "interfaces": {
            "eth0": {
                "addresses": ["192.0.2.22/24", "198.51.100.2/25"],
                "exact": True,
            }
        }
    }
    checkpoint = await put(machine.plugin(), data)
    shown = machine.ip("address", "show", "eth0")
    assert "192.0.2.22/24" in shown
    assert "192.0.2.2/24" not in shown
    assert "192.0.2.1" in machine.ip("route", "show", "default")
    await machine.plugin().rollback(checkpoint, said)
    assert dump(machine) == kernel


async def test_a_device_that_goes_down_has_everything_again(machine: NetMachine) -> None:
    kernel = dump(machine)
    data = {"interfaces": {"eth0": {"up": False, "mtu": 1300}}}
    checkpoint = await put(machine.plugin(), data)
    assert machine.ip("route", "show", "default") == ""
    await machine.plugin().rollback(checkpoint, said)
    assert dump(machine) == kernel


async def test_bridges_of_others_keep_what_is_theirs(machine: NetMachine) -> None:
    machine.vsctl("add-br", "theirs", "--", "set", "bridge", "theirs", "datapath_type=netdev")
    machine.vsctl(
        "add-port", "theirs", "their0", "--", "set", "interface", "their0", "type=internal"
    )
    before = await seen(machine)
    mine = {"mine0": {"type": "internal"}, "eth1": {}}
    checkpoint = await put(machine.plugin(), {"bridges": {"theirs": {"ports": mine}}})
    assert set(machine.vsctl("list-ports", "theirs").split()) == {"their0", "mine0", "eth1"}
    await machine.plugin().rollback(checkpoint, said)
    assert await seen(machine) == before
    for bridge in (
        {"fail_mode": "secure"},
        {"datapath": "system"},
        {"uplink": "eth0"},
        {"ports": {"their0": {"type": "internal", "tag": 5}}},
    ):
        refusal = await refused(machine, {"bridges": {"theirs": bridge}})
        assert "another program" in refusal.message
    mtu = {"interfaces": {"their0": {"mtu": 1400}}}
    assert "another program" in (await refused(machine, mtu)).message


async def test_the_privacy_routers_bridge_is_left_to_it(machine: NetMachine) -> None:
    machine.vsctl(
        *("add-br", "ovsbr0", "--", "set", "bridge", "ovsbr0", "datapath_type=netdev"),
        "external_ids:privacy-router=1",
    )
    sections: tuple[dict[str, Any], ...] = (
        {"bridges": {"ovsbr0": {"fail_mode": "standalone"}}},
        {"bridges": {"ovsbr0": {"ports": {"eth1": {}}}}},
        {"interfaces": {"ovsbr0": {"addresses": ["10.1.1.1/24"]}}},
    )
    for data in sections:
        assert "privacy router's" in (await refused(machine, data)).message


async def test_a_bridge_with_ports_of_others_is_not_taken_away(machine: NetMachine) -> None:
    checkpoint = await put(machine.plugin(), {"bridges": {"vmbr1": {}}})
    machine.vsctl(
        "add-port", "vmbr1", "their0", "--", "set", "interface", "their0", "type=internal"
    )
    plugin = machine.plugin()
    desired = plugin.restoring(checkpoint)
    changes = plugin.diff(desired, await plugin.query(list(desired.resources)))
    with pytest.raises(RefusedError, match="their0"):
        await plugin.check(desired, changes)
    with pytest.raises(PrivacyRouterError, match="their0"):
        await plugin.rollback(checkpoint, said)
    assert "their0" in machine.vsctl("list-ports", "vmbr1")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"interfaces": {"eth9": {"up": False}}}, "no network device eth9"),
        ({"routes": [{"to": "default", "dev": "eth9"}]}, "no network device eth9"),
        ({"routes": [{"to": "203.0.113.0/24", "dev": "eth0", "metric": 7}]}, "several ways"),
        ({"routes": [{"to": "10.0.0.0/8", "via": "192.0.2.9"}]}, "nowhere"),
        ({"bridges": {"eth1": {}}}, "is no bridge"),
        ({"bridges": {"vmbr1": {"ports": {"eth9": {}}}}}, "no network device"),
        ({"bridges": {"vmbr1": {"ports": {"eth0": {}}}}}, "has addresses"),
        ({"bridges": {"vmbr1": {"ports": {"eth1": {"type": "internal"}}}}}, "cannot make one"),
        ({"bridges": {"vmbr1": {"uplink": "eth9"}}}, "no network device"),
        ({"bridges": {"vmbr1": {"uplink": "lo"}}}, "no Ethernet device"),
    ],
)
async def test_what_cannot_be_is_refused(machine: NetMachine, data: Any, words: str) -> None:
    assert words in (await refused(machine, data)).message


async def test_another_name_of_a_device_is_told_by_its_first(machine: NetMachine) -> None:
    machine.ip("link", "property", "add", "dev", "eth0", "altname", "enp3s0")
    error = await refused(machine, {"interfaces": {"enp3s0": {"up": True}}})
    assert "no network device enp3s0" in error.message
    assert "another name of eth0: write eth0" in error.remedy


async def test_a_port_that_the_switch_cannot_make_fails_and_goes_back(
    machine: NetMachine,
) -> None:
    before = await seen(machine)
    plugin = machine.plugin()
    data = {"bridges": {"vmbr1": {"ports": {"eth9": {}, "mine0": {"type": "internal"}}}}}
    desired, changes = await plan(plugin, data)
    checkpoint = await plugin.checkpoint(changes)
    with pytest.raises(OvsdbError, match="eth9"):
        await plugin.apply(desired, changes, said)
    await plugin.rollback(checkpoint, said)
    assert await seen(machine) == before


async def test_bridges_need_an_open_vswitch_that_works(machine: NetMachine) -> None:
    machine.kill("ovs-vswitchd")
    with HostBridges(machine.socket) as database:
        found = database.read()
    assert "did not take over" in (await refused(machine, UPLINK)).message
    machine.kill("ovsdb-server")
    assert "does not answer" in (await refused(machine, UPLINK)).message
    await put(machine.plugin(), {"interfaces": {"eth1": {"mtu": 1400}}})
    assert found == {}


async def test_without_open_vswitch_the_uplink_is_connected_all_the_same(
    machine: NetMachine,
) -> None:
    """Both its daemons die after the move: the addresses go back, and the rest once they run."""
    before, kernel = await seen(machine), dump(machine)
    checkpoint = await put(machine.plugin(), UPLINK)
    machine.kill("ovs-vswitchd")
    machine.kill("ovsdb-server")
    with pytest.raises(OvsdbError):
        await machine.plugin().rollback(checkpoint, said)
    assert "192.0.2.2/24" in machine.ip("address", "show", "eth0")
    assert "dev eth0" in machine.ip("route", "show", "default")
    machine.start_ovsdb()
    machine.start_vswitchd()
    await machine.plugin().rollback(checkpoint, said)
    assert await seen(machine) == before
    assert dump(machine) == kernel


async def test_changes_by_others_are_heard_of(machine: NetMachine) -> None:
    watching = machine.plugin().watch(Desired())

    async def heard(words: str) -> None:
        async with asyncio.timeout(10):
            while words not in await anext(watching):
                pass

    first = asyncio.create_task(heard("an address"))
    async with asyncio.timeout(10):
        while not first.done():  # from the first `anext` on it listens
            await asyncio.to_thread(machine.ip, "address", "add", "10.7.7.7/32", "dev", "eth1")
            await asyncio.to_thread(machine.ip, "address", "del", "10.7.7.7/32", "dev", "eth1")
    await first
    for command, words in (
        (("link", "set", "eth1", "mtu", "1400"), "a network device"),
        (("route", "add", "10.8.0.0/16", "dev", "eth0"), "a route"),
    ):
        machine.ip(*command)
        await heard(words)
    machine.vsctl("add-br", "theirs", "--", "set", "bridge", "theirs", "datapath_type=netdev")
    await heard("bridge")
    machine.kill("ovsdb-server")
    await heard("went away")
    machine.start_ovsdb()
    await heard("answers")
    machine.vsctl("del-br", "theirs")
    await heard("bridge")
    assert isinstance(watching, AsyncGenerator)
    await watching.aclose()
