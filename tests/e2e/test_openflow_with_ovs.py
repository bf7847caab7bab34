"""Our OpenFlow against a real Open vSwitch: what we install is what it has, all or nothing.

The switch is private: its own database, run directory and network namespace, dummy ports.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from privacy_router.openflow import (
    ApplyActions,
    Band,
    Bucket,
    ClearActions,
    Clone,
    Conjunction,
    ConnectionLostError,
    Ct,
    DecNwTtl,
    FlowMod,
    FlowModCommand,
    FlowModFlag,
    FlowRemoved,
    GotoTable,
    Group,
    GroupMod,
    GroupType,
    Learn,
    Learned,
    Load,
    Match,
    MatchItem,
    Meter,
    MeterMod,
    Move,
    Nat,
    Note,
    Output,
    PopVlan,
    PortNumber,
    PushVlan,
    RequestTimeoutError,
    Resubmit,
    SetFieldMasked,
    SetNwTtl,
    SetQueue,
    SwitchError,
    TableId,
    WriteActions,
    WriteMetadata,
    delete_group,
    delete_meter,
    format_flow,
    format_match,
    load,
    set_field,
    to_controller,
)
from privacy_router.openflow.channel import Channel, connect_unix
from privacy_router.openflow.constants import FlowEventKind, FlowRemovedReason, MonitorFlag
from privacy_router.openflow.fields import FIELDS
from privacy_router.openflow.listening import serve_unix
from privacy_router.openflow.monitor import CancelMonitor, FlowEvent, OwnChange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from privacy_router.openflow.exchange import MonitorWord
    from privacy_router.openflow.subscription import Subscription

pytestmark = pytest.mark.e2e

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
DELETE_ALL = FlowMod(command=FlowModCommand.DELETE, table_id=TableId.ALL)
IPV4, IPV6 = {"eth_type": 0x0800}, {"eth_type": 0x86DD}
TCP, UDP, ICMPV6 = {**IPV4, "ip_proto": 6}, {**IPV4, "ip_proto": 17}, {**IPV6, "ip_proto": 58}
ADDRESS = ipaddress.ip_address("10.0.0.1")


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class Ovs:
    """One private Open vSwitch with bridge br0 and ports p1 and p2."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mgmt = directory / "br0.mgmt"
        self._env = {
            **os.environ,
            **{f"OVS_{kind}DIR": str(directory) for kind in ("RUN", "DB", "LOG", "SYSCONF")},
        }
        self._database = directory / "db.sock"
        self._pids: list[int] = []

    def start(self) -> None:
        self.run("ovsdb-tool", "create", str(self.directory / "conf.db"), str(SCHEMA))
        self._daemon(
            "ovsdb-server", str(self.directory / "conf.db"), f"--remote=punix:{self._database}"
        )
        self.vsctl("--no-wait", "init")
        self._daemon(
            *("ovs-vswitchd", f"unix:{self._database}", "--enable-dummy=override"),
            "--disable-system",
        )
        self.vsctl(
            *("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy"),
            "fail_mode=secure",
            *("--", "add-port", "br0", "p1", "--", "set", "interface", "p1", "type=dummy"),
            *("ofport_request=1", "--", "add-port", "br0", "p2"),
            *("--", "set", "interface", "p2", "type=dummy", "ofport_request=2"),
        )

    def stop(self) -> None:
        for pid in reversed(self._pids):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(_is_running(pid) for pid in self._pids):
            assert time.monotonic() < deadline

    def kill_vswitchd(self) -> None:
        os.kill(self._pids.pop(), signal.SIGKILL)

    def vsctl(self, *arguments: str) -> str:
        return self.run("ovs-vsctl", "--timeout=10", f"--db=unix:{self._database}", *arguments)

    def ofctl(self, command: str, *arguments: str) -> str:
        return self.run("ovs-ofctl", "-O", "OpenFlow13", command, f"unix:{self.mgmt}", *arguments)

    def dump(self) -> list[str]:
        lines = self.ofctl("dump-flows", "--no-stats").splitlines()
        return sorted(line.strip() for line in lines if "actions=" in line)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self._env, check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout

    def _daemon(self, name: str, *arguments: str) -> None:
        pid_file = self.directory / f"{name}.pid"
        self.run(
            *("unshare", "--net", name, *arguments, f"--pidfile={pid_file}", "--detach"),
            *(f"--unixctl={self.directory / name}.ctl", "-vconsole:off"),
            f"--log-file={self.directory / name}.log",
        )
        self._pids.append(int(pid_file.read_text()))


@pytest.fixture(scope="module")
def ovs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ovs]:
    switch = Ovs(tmp_path_factory.mktemp("ovs"))
    try:
        switch.start()
        yield switch
    finally:
        switch.stop()


@pytest.fixture
async def channel(ovs: Ovs) -> AsyncIterator[Channel]:
    async with await connect_unix(ovs.mgmt) as channel:
        await channel.apply([DELETE_ALL, delete_group(), delete_meter()])
        yield channel


async def test_the_switch_introduces_itself(channel: Channel) -> None:
    assert (await channel.features()).tables == 254
    ports = {port.name: port.number for port in await channel.dump_ports()}
    assert ports == {"br0": PortNumber.LOCAL, "p1": 1, "p2": 2}
    assert {stats.port for stats in await channel.port_stats()} == set(ports.values())


# What is matched on, and how ovs-ofctl puts it.
MATCHES = [
    ({}, ""),
    ({"in_port": 1}, "in_port=1"),
    ({"in_port": "LOCAL"}, "in_port=LOCAL"),
    (
        {
            "in_port": 1,
            "eth_src": "aa:bb:cc:00:00:01",
            "eth_dst": "01:00:00:00:00:00/01:00:00:00:00:00",
        },
        "in_port=1,dl_src=aa:bb:cc:00:00:01,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
    ),
    ({"eth_type": 0x88CC}, "dl_type=0x88cc"),
    ({"vlan_vid": 0}, "vlan_tci=0x0000/0x1fff"),
    ({"vlan_vid": (0x1000, 0x1000)}, "vlan_tci=0x1000/0x1000"),
    ({"vlan_vid": 0x1005, "vlan_pcp": 3}, "dl_vlan=5,dl_vlan_pcp=3"),
    (
        {**IPV4, "ipv4_src": "10.0.0.0/8", "ipv4_dst": "10.0.0.1"},
        "ip,nw_src=10.0.0.0/8,nw_dst=10.0.0.1",
    ),
    ({**IPV4, "ipv4_dst": ("10.0.0.1", "255.0.0.255")}, "ip,nw_dst=10.0.0.1/255.0.0.255"),
    *(
        ({**IPV4, "ip_frag": f}, f"ip,nw_frag={f}")
        for f in ("no", "yes", "first", "later", "not_later")
    ),
    ({**IPV6, "ip_frag": "yes"}, "ipv6,nw_frag=yes"),
    ({**IPV4, "nw_ttl": 0}, "ip,nw_ttl=0"),
    ({**IPV6, "nw_ttl": 1}, "ipv6,nw_ttl=1"),
    ({**IPV4, "ip_dscp": 5, "ip_ecn": 2}, "ip,nw_tos=20,nw_ecn=2"),
    ({**IPV4, "ip_proto": 47}, "ip,nw_proto=47"),
    ({**TCP, "tcp_src": (0x1000, 0xF000), "tcp_dst": 80}, "tcp,tp_src=0x1000/0xf000,tp_dst=80"),
    ({**TCP, "tcp_flags": 0}, "tcp,tcp_flags=0"),
    ({**TCP, "tcp_flags": "fin|psh|urg"}, "tcp,tcp_flags=fin|psh|urg"),
    ({**TCP, "tcp_flags": "+syn-ack"}, "tcp,tcp_flags=+syn-ack"),
    ({**IPV6, "ip_proto": 6, "tcp_flags": "+syn+fin"}, "tcp6,tcp_flags=+fin+syn"),
    (
        {
            **IPV6,
            "ip_proto": 6,
            "tcp_dst": 443,
            "ipv6_dst": "2001:db8::/32",
            "ipv6_src": "2001:db8::1",
        },
        "tcp6,ipv6_src=2001:db8::1,ipv6_dst=2001:db8::/32,tp_dst=443",
    ),
    ({**UDP, "udp_src": 67, "udp_dst": 68}, "udp,tp_src=67,tp_dst=68"),
    ({**IPV4, "ip_proto": 132, "sctp_dst": 5}, "sctp,tp_dst=5"),
    ({**IPV4, "ip_proto": 1, "icmpv4_type": 8, "icmpv4_code": 0}, "icmp,icmp_type=8,icmp_code=0"),
    ({**ICMPV6, "icmpv6_type": 134}, "icmp6,icmp_type=134"),
    (
        {**ICMPV6, "icmpv6_type": 135, "icmpv6_code": 0, "ipv6_nd_target": "fe80::1"},
        "icmp6,icmp_type=135,icmp_code=0,nd_target=fe80::1",
    ),
    (
        {**ICMPV6, "icmpv6_type": 136, "icmpv6_code": 0, "ipv6_nd_tll": "aa:bb:cc:dd:ee:ff"},
        "icmp6,icmp_type=136,icmp_code=0,nd_tll=aa:bb:cc:dd:ee:ff",
    ),
    ({**IPV6, "ipv6_flabel": 5}, "ipv6,ipv6_label=0x00005"),
    (
        {"eth_type": 0x806, "arp_op": 1, "arp_spa": "10.0.0.1", "arp_tpa": "10.0.0.0/8"},
        "arp,arp_spa=10.0.0.1,arp_tpa=10.0.0.0/8,arp_op=1",
    ),
    ({"eth_type": 0x806, "arp_sha": 1, "arp_tha": 0}, None),
    ({"eth_type": 0x8847, "mpls_label": 5, "mpls_tc": 1, "mpls_bos": 1}, None),
    ({"tun_id": (5, 0xF)}, "tun_id=0x5/0xf"),
    ({"tun_src": "10.0.0.1"}, "tun_src=10.0.0.1"),
    ({f"reg{n}": n for n in range(16)}, None),
    ({"reg3": (1, 1)}, "reg3=0x1/0x1"),
    ({"xreg1": 5}, "reg2=0,reg3=0x5"),
    ({"xxreg1": (1 << 100, 1 << 100)}, "reg4=0x10/0x10"),
    ({"pkt_mark": (5, 0xF)}, "pkt_mark=0x5/0xf"),
    ({"ct_state": "+trk-new-inv"}, "ct_state=-new-inv+trk"),
    ({"ct_state": 0x22}, "ct_state=est|trk"),
    ({"ct_zone": 5, "ct_mark": (1, 3), "ct_label": 1 << 127}, None),
    ({"metadata": (0x10, 0xF0)}, "metadata=0x10/0xf0"),
    ({"conj_id": 7}, "conj_id=7"),
]


@pytest.mark.parametrize(
    ("fields", "words"), MATCHES, ids=lambda v: v if isinstance(v, str) else None
)
async def test_a_match_reads_back_as_it_was_meant(
    ovs: Ovs, channel: Channel, fields: dict, words: str | None
) -> None:
    match = Match(**fields)
    await channel.apply_bundle([FlowMod(match, priority=7)])
    (observed,) = await channel.dump_flows()
    assert observed.match == match
    assert observed.match.wire == match.wire  # our order is the switch's
    if words is not None:
        expected = f"priority=7,{words}" if words else "priority=7"
        assert ovs.dump() == [f"{expected} actions=drop"]
        if "ipv6_label" not in words:
            assert format_match(observed.match) == words


LEARN = Learn(
    1,
    (
        Learned(48, "eth_src", "eth_dst"),
        Learned(16, 0x800, "eth_type"),
        Learned(16, "reg0", "reg1", 16, 8, loads=True),
        Learned(17, 1 << 16, "reg2", loads=True),
        Learned(16, "reg0", None, 16),
    ),
    priority=7,
    cookie=9,
    idle_timeout_s=30,
    flags=FlowModFlag.SEND_FLOW_REM,
)
INSTRUCTIONS = [
    *(
        (ApplyActions((action,)),)
        for action in (
            *(Output(2), Output(1, 128), Output(PortNumber.IN_PORT), Output(PortNumber.LOCAL)),
            *(to_controller(), to_controller(128), SetQueue(3), Group(5)),
            *(SetNwTtl(64), DecNwTtl(), PushVlan(), Note(b"hello"), Note(b"")),
            *(set_field("nw_ttl", 64), set_field("eth_dst", "aa:bb:cc:dd:ee:ff")),
            *(set_field("ipv4_dst", "10.0.0.1"), set_field("tcp_dst", 80), set_field("reg0", 5)),
            *(set_field("xreg0", 5), set_field("xxreg0", 5), set_field("metadata", 5)),
            *(set_field("tun_id", 5), set_field("pkt_mark", 5), set_field("ip_dscp", 5)),
            *(load("reg0", 5), Load("reg0", 5, 16, 8), load("eth_src", 5), load("tcp_dst", 5)),
            *(
                Load("metadata", 1, 8),
                SetFieldMasked("reg0", 0x50, 0xF0),
                Move("eth_src", "eth_dst", 48),
            ),
            *(Move("reg0", "reg1", 16, 16), Move("ipv4_src", "ipv4_dst", 32)),
            *(Resubmit(3), Resubmit(3, 2), Ct(), Ct(zone=5, table_id=3), Ct(1, alg=21)),
            Ct(1, 5, 3, (set_field("ct_mark", 3), load("ct_mark", 1))),
            Ct(1, 5, 3, (Nat(1, ADDRESS, ADDRESS + 3, 1000, 2000),)),
            Ct(1, 15, 3, (Nat(),), zone_field="reg0"),
            Clone((DecNwTtl(), Output(1))),
            LEARN,
        )
    ),
    (ApplyActions((PushVlan(), set_field("vlan_vid", 0x1005), PopVlan(), Output(1), Output(2))),),
    (ApplyActions((SetNwTtl(64), Output(2))), GotoTable(4)),
    (GotoTable(3), ApplyActions((DecNwTtl(),))),  # out of order, as sent
    (WriteMetadata(5, 15), GotoTable(1)),
    (ClearActions(), WriteActions((Output(1), SetNwTtl(3)))),
    (ApplyActions((Conjunction(7, 0, 2), Conjunction(9, 2, 3))),),
    (ApplyActions(()), GotoTable(2)),  # reads back without the empty list
    (Meter(9), ApplyActions((Output(2),))),
    (),
]


@pytest.mark.parametrize("instructions", INSTRUCTIONS, ids=str)
async def test_what_a_flow_does_reads_back_as_it_was_meant(
    channel: Channel, instructions: tuple
) -> None:
    await channel.apply([MeterMod(0, 9, bands=(Band(100, 10),))])
    group = GroupMod(0, 5, GroupType.ALL, (Bucket((Output(1),)),))
    flow = FlowMod(
        Match(**TCP), instructions, 0, 100, 0x5052 << 48, flags=FlowModFlag.SEND_FLOW_REM
    )
    await channel.apply_bundle([group, flow])
    (observed,) = await channel.dump_flows()
    assert observed.key() == flow.key()
    assert observed.content() == flow.content()


async def test_flows_are_worded_as_ovs_ofctl_words_them(ovs: Ovs, channel: Channel) -> None:
    flows = [
        FlowMod(Match(in_port=1, **IPV4), (ApplyActions((SetNwTtl(64), Output(2))),), 0, 100),
        FlowMod(Match(**IPV4, ipv4_dst="10.0.0.0/24"), (GotoTable(3),), 0, 101, 0x5052),
        FlowMod(Match(), (), 3, 0, idle_timeout_s=5, hard_timeout_s=6, flags=1),
        FlowMod(Match(**TCP), (ApplyActions((set_field("ipv4_dst", "10.0.0.1"), Group(1))),), 4),
        FlowMod(Match(**UDP), (Meter(1), GotoTable(9)), 4),
        FlowMod(Match(**TCP), (ApplyActions((Ct(1, 5, 6, (Nat(1, ADDRESS),)),)),), 5),
    ]
    await channel.apply([MeterMod(0, 1, bands=(Band(100),))])
    await channel.apply_bundle([GroupMod(0, 1), *flows])
    assert sorted(map(words_of, map(format_flow, flows))) == sorted(map(words_of, ovs.dump()))


def words_of(line: str) -> list[str]:
    """The parts of a flow; ovs-ofctl leaves out what is zero or the default."""
    parts = line.replace("priority=32768,", "").split()
    return [p for p in (p.strip(",") for p in parts) if p not in ("cookie=0x0", "table=0")]


async def test_flows_are_found_by_cookie_and_table(channel: Channel) -> None:
    ours, others = 0x5052 << 48, 7
    flows = [
        FlowMod(Match(in_port=n), (), n % 2, cookie=(ours | n) if n < 4 else others)
        for n in range(6)
    ]
    await channel.apply_bundle(flows)
    found = await channel.dump_flows(cookie=ours, cookie_mask=0xFFFF << 48)
    assert sorted(flow.cookie & 0xFF for flow in found) == [0, 1, 2, 3]
    assert {flow.table_id for flow in await channel.dump_flows(1)} == {1}
    assert len(await channel.dump_flows(match=Match(in_port=3))) == 1


async def test_flows_that_others_made_are_understood(ovs: Ovs, channel: Channel) -> None:
    words = (
        "learn(table=1,hard_timeout=10,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
        "load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15])"
    )
    ovs.ofctl("add-flow", f"in_port=1,actions={words}")
    ovs.ofctl("add-flow", "in_port=2,actions=conjunction(7,1/2),conjunction(9,2/3)")
    ovs.ofctl("add-flow", "in_port=3,actions=clone(output:1)")
    flows = {flow.match.value("in_port"): flow for flow in await channel.dump_flows()}
    kinds = {
        port: [type(action) for part in flow.instructions for action in part.actions]
        for port, flow in flows.items()
    }
    assert kinds == {1: [Learn], 2: [Conjunction] * 2, 3: [Clone]}
    again = [FlowMod(flow.match, flow.instructions) for flow in flows.values()]
    assert not await channel.compare_flows(again)


# --- all or nothing -----------------------------------------------------------------------------


def forged_without_prerequisite() -> Match:
    return Match.of_items([MatchItem(FIELDS["tcp_dst"], 80, None)])


LONELY = Conjunction(7, 0, 1)  # there must be two at least

BAD = {
    "BAD_ACTION.BAD_CONJUNCTION": FlowMod(Match(), (ApplyActions((LONELY,)),)),
    "BAD_MATCH.BAD_PREREQ": FlowMod(forged_without_prerequisite()),
    "BAD_ACTION.BAD_OUT_GROUP": FlowMod(Match(), (ApplyActions((Group(77),)),)),
    "METER_MOD_FAILED.INVALID_METER": FlowMod(Match(), (Meter(77),)),
    "BAD_INSTRUCTION.BAD_TABLE_ID": FlowMod(Match(), (GotoTable(1),), table_id=2),
    "FLOW_MOD_FAILED.OVERLAP": FlowMod(Match(), (), 0, 5, flags=FlowModFlag.CHECK_OVERLAP),
    "BUNDLE_FAILED.MSG_UNSUP": MeterMod(0, 1),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("place", [0, 500, 1000])
async def test_one_bad_message_changes_nothing(
    ovs: Ovs, channel: Channel, name: str, place: int
) -> None:
    before = [FlowMod(Match(in_port=n), (GotoTable(1),), 0, 5) for n in range(3)]
    await channel.apply_bundle(before)
    old = ovs.dump()
    bundle: list = [FlowMod(Match(in_port=n), (), 3) for n in range(1000)]
    bundle.insert(place, BAD[name])
    with pytest.raises(SwitchError) as caught:
        await channel.apply_bundle([*bundle, DELETE_ALL])
    assert caught.value.name == name
    assert caught.value.message == BAD[name]
    assert ovs.dump() == old
    await channel.apply_bundle([DELETE_ALL])
    assert await channel.dump_flows() == []


async def test_a_bundle_replaces_everything_at_once(channel: Channel) -> None:
    flows = [
        FlowMod(Match(**TCP, ipv4_dst=0x0A000000 + n, in_port=1), (GotoTable(1),))
        for n in range(5000)
    ]
    await channel.apply_bundle(flows)
    await channel.apply_bundle([DELETE_ALL, *flows[1000:]])
    observed = {flow.key(): flow.content() for flow in await channel.dump_flows()}
    assert observed == {flow.key(): flow.content() for flow in flows[1000:]}


# --- meters, groups, events, the end ------------------------------------------------------------


async def test_meters_and_groups_read_back(channel: Channel) -> None:
    meter = MeterMod(0, 3, bands=(Band(100, 10),))
    await channel.apply([meter])
    (observed,) = await channel.dump_meters()
    assert (observed.meter_id, observed.flags, observed.bands) == (3, meter.flags, meter.bands)
    group = GroupMod(
        0,
        4,
        GroupType.FAST_FAILOVER,
        (Bucket((Output(1),), watch_port=1), Bucket((Output(2),), watch_port=2)),
    )
    await channel.apply_bundle([group])
    (found,) = await channel.dump_groups()
    assert (found.group_id, found.group_type, found.buckets) == (4, group.group_type, group.buckets)
    with pytest.raises(SwitchError, match=r"METER_MOD_FAILED\.METER_EXISTS"):
        await channel.apply([meter])


async def test_events_come_once_they_are_asked_for(ovs: Ovs, channel: Channel) -> None:
    await channel.enable_events()
    flow = FlowMod(Match(in_port=1), (), cookie=5, flags=FlowModFlag.SEND_FLOW_REM)
    await channel.apply_bundle([flow])
    with channel.subscribe() as events:
        ovs.ofctl("del-flows")
        removed = await events.get(timeout_s=5)
        assert isinstance(removed, FlowRemoved)
        assert (removed.cookie, removed.match) == (5, flow.match)


# --- comparing and monitoring -------------------------------------------------------------------


@pytest.mark.parametrize("instructions", INSTRUCTIONS, ids=str)
async def test_what_was_installed_is_no_difference(channel: Channel, instructions: tuple) -> None:
    await channel.apply([MeterMod(0, 9, bands=(Band(100, 10),))])
    group = GroupMod(0, 5, GroupType.ALL, (Bucket((Output(1),)),))
    flow = FlowMod(Match(**TCP), instructions, 0, 100, 0x5052 << 48, idle_timeout_s=600)
    await channel.apply_bundle([group, flow])
    found = await channel.compare_flows([flow])
    assert (found.messages(), found.unchanged) == ([], 1)


async def test_the_difference_makes_the_switch_as_desired(ovs: Ovs, channel: Channel) -> None:
    before = [FlowMod(Match(in_port=n), (GotoTable(1),), 0, 5, 7) for n in range(3000)]
    others = FlowMod(Match(in_port=1), (), 9, cookie=0xABC)
    await channel.apply_bundle([*before, others])
    changed = [FlowMod(Match(in_port=n), (GotoTable(2),), 0, 5, 7) for n in range(10)]
    desired = [*changed, *before[20:], FlowMod(Match(in_port=7000), (), 3, cookie=7)]
    found = await channel.compare_flows(desired, cookie=7, cookie_mask=0xFFF)
    counts = (len(found.added), len(found.changed), len(found.removed), found.unchanged)
    assert counts == (1, 10, 10, 2980)
    await channel.apply_bundle(found.messages())
    assert not await channel.compare_flows([*desired, others])


async def next_flow_event(events: Subscription[MonitorWord]) -> FlowEvent:
    event = await events.get(timeout_s=5)
    assert isinstance(event, FlowEvent)
    return event


async def test_a_monitor_hears_of_what_others_do_at_once(ovs: Ovs, channel: Channel) -> None:
    flow = FlowMod(Match(in_port=1), (GotoTable(2),), 1, 7, 5)
    await channel.apply_bundle([flow])
    with await channel.monitor_flows() as events:
        there = await next_flow_event(events)
        assert (there.kind, there.key()) == (FlowEventKind.ADDED, flow.key())
        assert (there.instructions, there.cookie) == (flow.instructions, 5)
        ovs.ofctl("add-flow", "cookie=6,priority=9,in_port=2,actions=output:1")
        added = await next_flow_event(events)
        assert (added.kind, added.cookie, added.priority) == (FlowEventKind.ADDED, 6, 9)
        ovs.ofctl("mod-flows", "in_port=2,actions=drop")
        modified = await next_flow_event(events)
        assert (modified.kind, modified.instructions) == (FlowEventKind.MODIFIED, ())
        ovs.ofctl("del-flows", "table=1")
        before = time.monotonic()
        deleted = await next_flow_event(events)
        assert time.monotonic() - before < 0.1
        assert (deleted.kind, deleted.key()) == (FlowEventKind.DELETED, flow.key())
        assert deleted.reason == FlowRemovedReason.DELETE
        await channel.apply_bundle([flow])
        own = await next_flow_event(events)
        assert (own.kind, own.key()) == (FlowEventKind.ADDED, flow.key())


async def test_a_monitor_that_knows_our_own_changes_by_number(channel: Channel) -> None:
    flags = MonitorFlag.ADD | MonitorFlag.DELETE
    with await channel.monitor_flows(Match(in_port=1), flags=flags) as events:
        xid = channel.send(FlowMod(Match(in_port=1)))
        assert await events.get(timeout_s=5) == OwnChange(xid)
    await channel.apply([FlowMod(Match(in_port=1), priority=3)])
    with pytest.raises(RequestTimeoutError):
        await events.get(timeout_s=0.05)


async def test_what_a_monitor_cannot_do_is_an_error(channel: Channel) -> None:
    with pytest.raises(SwitchError, match=r"FLOW_MONITOR_FAILED\.UNKNOWN_MONITOR"):
        await channel.request(CancelMonitor(77))


# --- switches that connect to us ----------------------------------------------------------------


async def test_a_switch_connects_to_us(ovs: Ovs) -> None:
    path = ovs.directory / "controller.sock"
    async with await serve_unix(path) as listening, asyncio.timeout(20):
        ovs.vsctl("set-controller", "br0", f"unix:{path}")
        try:
            async with await listening.accept() as channel:
                assert (await channel.features()).tables == 254
                await channel.apply_bundle([DELETE_ALL])
                assert await channel.dump_flows() == []
        finally:
            ovs.vsctl("del-controller", "br0")


async def test_a_switch_that_is_killed_ends_the_channel(tmp_path: Path) -> None:
    switch = Ovs(tmp_path)
    try:
        switch.start()
        async with await connect_unix(switch.mgmt) as channel:
            switch.kill_vswitchd()
            assert isinstance(await channel.wait_closed(), ConnectionLostError)
            with pytest.raises(ConnectionLostError):
                await channel.dump_flows()
    finally:
        switch.stop()
