"""The plugin openflow under the engine: one run with the plugin net, keeping watch, giving back."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.journal import Journal
from privacy_router.engine.reconcile import Reconciler
from privacy_router.errors import ConflictError, PrivacyRouterError
from tests.e2e.net_machine import net_machine
from tests.e2e.openflow_bridge import (
    BRIDGE,
    FORWARD,
    add_port,
    connect_neighbour,
    everything,
    flows,
    make_bridge,
    ofctl,
    pings,
    plugin,
    remove_bridge,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from privacy_router.engine.model import Change
    from privacy_router.engine.transaction import RunProgress
    from tests.e2e.net_machine import NetMachine

pytestmark = pytest.mark.e2e
_PATIENCE_S = 30.0
GROUPS = {"7": {"type": "all", "buckets": [{"actions": ["output:p1"]}]}}
METERS = {"5": {"packets_per_s": 100}}
GUARDED = {"match_fields": {"in_port": "p1"}, "actions": ["meter:5", "group:7"]}
NO_TELNET = {
    "name": "no-telnet",
    "selector": "port:internal_*",
    "template": {"priority": 300, "match_fields": {"tcp_dst": 23}, "actions": ["drop"]},
}
KEPT: dict[str, Any] = {
    "flows": [*FORWARD, GUARDED],
    "groups": GROUPS,
    "meters": METERS,
    "policies": [NO_TELNET],
}


@pytest.fixture(scope="module")
def whole_machine() -> Iterator[NetMachine]:
    with net_machine() as made:
        connect_neighbour(made)
        yield made


@pytest.fixture
def machine(whole_machine: NetMachine) -> Iterator[NetMachine]:
    make_bridge(whole_machine)
    yield whole_machine
    remove_bridge(whole_machine)


def document(bridge: str = BRIDGE, *, net: Any = None, **parts: Any) -> Source:
    plugins: dict[str, Any] = {} if net is None else {"net": net}
    if parts:
        plugins["openflow"] = {"bridges": {bridge: parts}}
    return Source(json.dumps({"version": 1, "plugins": plugins}))


class Listener:
    """Notes what is told of drift."""

    def __init__(self) -> None:
        self.repaired: list[str] = []

    def drifted(self, plugin: str, changes: Sequence[Change], repaired: bool) -> None:
        self.repaired += [str(one.key) for one in changes if plugin == "openflow" and repaired]

    def progress(self, progress: RunProgress) -> None:
        del progress

    def settled(self) -> None:
        pass


def engine_for(machine: NetMachine, directory: Path) -> Engine:
    return Engine([machine.plugin(), plugin(machine)], Journal(directory / "journal"))


@asynccontextmanager
async def keeping(engine: Engine) -> AsyncIterator[tuple[Listener, Reconciler]]:
    listener = Listener()
    reconciler = Reconciler(engine, listener)
    task = asyncio.create_task(reconciler.run())
    reconciler.refresh()
    try:
        yield listener, reconciler
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object], within_s: float = _PATIENCE_S) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not await asyncio.to_thread(condition):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.1)


async def test_a_bridge_and_its_flows_come_and_go_in_one_run(
    machine: NetMachine, tmp_path: Path
) -> None:
    """Of a bridge that the plugin net makes in the same run."""
    engine = engine_for(machine, tmp_path)
    ports = {"mine0": {"type": "internal"}}
    net = {"bridges": {"vmbr1": {"datapath": "netdev", "fail_mode": "secure", "ports": ports}}}
    flow = {"match_fields": {"in_port": "mine0"}, "actions": ["normal"]}
    done = await engine.apply(document("vmbr1", net=net, flows=[flow]))
    assert done.number
    assert "in_port" in ofctl(machine, "dump-flows", bridge="vmbr1")
    again = await engine.apply(document("vmbr1", net=net, flows=[flow]))
    assert (again.number, list(again.changes)) == (0, [])
    await engine.apply(document("vmbr1", net=net))
    assert "in_port" not in ofctl(machine, "dump-flows", bridge="vmbr1")
    await engine.apply(document("vmbr1", net=net, flows=[flow]))
    await engine.apply(Source())
    assert "vmbr1" not in machine.vsctl("list-br")
    await engine.close()


async def test_what_is_declared_no_longer_is_given_back(
    machine: NetMachine, tmp_path: Path
) -> None:
    ofctl(machine, "add-flow", "priority=7,arp,cookie=0xabc,actions=FLOOD")
    before = everything(machine)
    engine = engine_for(machine, tmp_path)
    await engine.apply(document(**KEPT))
    assert pings(machine)
    await engine.apply(document(flows=FORWARD))
    assert len(flows(machine)) == len(before[0]) + len(FORWARD)
    await engine.apply(document(policies=[NO_TELNET]))
    await engine.apply(Source())
    assert everything(machine) == before
    await engine.close()


async def test_a_refused_document_changes_nothing_anywhere(
    machine: NetMachine, tmp_path: Path
) -> None:
    engine = engine_for(machine, tmp_path)
    await engine.apply(document(**KEPT))
    before = everything(machine)
    ofctl(machine, "add-flow", "cookie=0xabc,priority=9,udp,actions=NORMAL")
    mine = {"priority": 9, "match_fields": {"nw_proto": "udp"}, "actions": ["drop"]}
    net = {"bridges": {BRIDGE: {"ports": {"mine0": {"type": "internal"}}}}}
    with pytest.raises(PrivacyRouterError, match=r"flows\[2\]: another program has a flow"):
        await engine.apply(document(net=net, flows=[*FORWARD, mine]))
    assert "mine0" not in machine.vsctl("list-ports", BRIDGE)
    assert set(everything(machine)[0]) > set(before[0])
    with pytest.raises(PrivacyRouterError, match="there is no bridge vmbr9"):
        await engine.apply(document("vmbr9", net=net, flows=[mine]))
    assert "mine0" not in machine.vsctl("list-ports", BRIDGE)
    assert set(everything(machine)[0]) > set(before[0])
    await engine.close()


async def test_flows_that_are_not_confirmed_go_back(machine: NetMachine, tmp_path: Path) -> None:
    engine = engine_for(machine, tmp_path)
    await engine.apply(document(**KEPT))
    before = everything(machine)
    await engine.apply(document(flows=FORWARD[:1]), confirm_within_s=0.5)
    assert everything(machine) != before
    await until(lambda: everything(machine) == before)
    with pytest.raises(ConflictError):
        await engine.confirm()
    await engine.close()


async def test_drift_of_every_kind_is_heard_of(machine: NetMachine, tmp_path: Path) -> None:
    """By the switch's own word, and groups and meters by asking: long before the look of every
    minute."""
    engine = engine_for(machine, tmp_path)
    await engine.apply(document(**KEPT))
    before = everything(machine)
    async with keeping(engine) as (listener, _):
        for damage, told in (
            (("del-flows", "in_port=1"), "openflow flow vmbr0/000 00100 in_port=eth1"),
            (("mod-flows", "actions=drop"), "openflow flow vmbr0/000 00100 in_port=vmbr0"),
            (("mod-group", "group_id=7,type=all,bucket=drop"), "openflow group vmbr0/7"),
            (("mod-meter", "meter=5,kbps,band=type=drop,rate=1"), "openflow meter vmbr0/5"),
            (("del-meters",), "openflow meter vmbr0/5"),
        ):
            listener.repaired.clear()
            ofctl(machine, *damage)
            await until(lambda: everything(machine) == before)
            await until(lambda told=told: told in listener.repaired)  # type: ignore[misc]
    await engine.close()


async def test_ports_and_bridges_that_come_are_taken_up(
    machine: NetMachine, tmp_path: Path
) -> None:
    engine = engine_for(machine, tmp_path)
    await engine.apply(document(**KEPT))
    before = everything(machine)
    async with keeping(engine) as (_, reconciler):
        add_port(machine, "internal_200")
        await until(lambda: len(flows(machine, "tcp,tp_dst=23")) == 1)
        machine.vsctl("del-port", "internal_200")
        await until(lambda: flows(machine, "tcp,tp_dst=23") == [])
        remove_bridge(machine)
        loop = reconciler.loops["openflow"]
        await until(lambda: "there is no bridge vmbr0" in loop.trouble)
        make_bridge(machine)
        await until(lambda: everything(machine) == before)
        await until(lambda: not loop.trouble)
        assert pings(machine)
    await engine.close()


async def test_a_switch_that_starts_anew_gets_all_again(
    machine: NetMachine, tmp_path: Path
) -> None:
    engine = engine_for(machine, tmp_path)
    await engine.apply(document(**KEPT))
    before = everything(machine)
    async with keeping(engine):
        machine.kill("ovs-vswitchd")
        machine.start_vswitchd()
        await until(lambda: everything(machine) == before)
        machine.kill("ovsdb-server")
        machine.start_ovsdb()
        ofctl(machine, "del-flows")
        await until(lambda: everything(machine) == before)
    await engine.close()


async def test_a_place_that_another_program_takes_is_told_and_taken_up_when_free(
    machine: NetMachine, tmp_path: Path
) -> None:
    engine = engine_for(machine, tmp_path)
    await engine.apply(document(**KEPT))
    before = everything(machine)
    async with keeping(engine) as (_, reconciler):
        ofctl(machine, "add-flow", "cookie=0xabc,in_port=1,priority=100,actions=NORMAL")
        loop = reconciler.loops["openflow"]
        await until(lambda: "cookie=0xabc" in loop.trouble)
        ofctl(machine, "del-flows", "in_port=2")  # other drift does not wait with it
        await until(lambda: [one for one in flows(machine) if "group:7" in one])
        assert [one for one in flows(machine) if "cookie=0xabc" in one]
        ofctl(machine, "del-flows", "--strict", "in_port=1,priority=100")
        await until(lambda: everything(machine) == before)
    await engine.close()


async def test_after_a_restart_it_goes_on(machine: NetMachine, tmp_path: Path) -> None:
    engine = engine_for(machine, tmp_path)
    await engine.apply(document(**KEPT))
    before = everything(machine)
    await engine.close()
    ofctl(machine, "del-flows")
    again = engine_for(machine, tmp_path)
    await again.recover()
    async with keeping(again):
        await until(lambda: everything(machine) == before)
    await again.apply(Source())
    assert everything(machine) == [[], [], []]
    await again.close()
