"""The offline walk against a real Open vSwitch: the same way for every packet, or a difference.

The switch has the whole pipeline of the example configuration, and a dummy port for each of its.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from privacy_router.config import load_document
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.host import unixctl
from privacy_router.host.unixctl import UnixctlRefusedError
from privacy_router.node.tracing import complete, differences
from privacy_router.openflow import Band, FlowMod, MeterFlag, MeterMod, delete_meter, format_match
from privacy_router.openflow.channel import connect_unix
from privacy_router.pipeline.compile import Pipeline
from privacy_router.pipeline.mesh import expected_ports
from privacy_router.pipeline.tables import number_of
from privacy_router.pipeline.trace.walk import Sent, Walk, walk
from tests.e2e.openflow.private_ovs import DELETE_ALL, Ovs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.pipeline.flow import Flow, Program

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[3] / "examples/seed.json"
CONFIG = load_document(EXAMPLE).config
CHAIN = CATALOGUE.segment(CONFIG)
MESH = expected_ports(CONFIG)
PORT_NAMES = {
    **{station.ofport: station.port for station in CHAIN.stations},
    **{port.ofport: port.name for port in MESH.values()},
}
PROGRAM = Pipeline(CONFIG, CHAIN).compile(MESH)


class Switch(Ovs):
    """With a dummy port for every port of the pipeline."""

    def add_ports(self) -> None:
        self.vsctl("del-port", "p1", "--", "del-port", "p2")
        for number, name in PORT_NAMES.items():
            interface = ("type=dummy", f"ofport_request={number}")
            self.vsctl("add-port", "br0", name, "--", "set", "interface", name, *interface)


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switch]:
    running = Switch(tmp_path_factory.mktemp("ovs"))
    try:
        running.start()
        running.add_ports()
        yield running
    finally:
        running.stop()


@pytest.fixture
async def installed(switch: Switch) -> Switch:
    """The switch with the pipeline, as compiled."""
    async with await connect_unix(switch.mgmt) as channel:
        await channel.apply([DELETE_ALL, delete_meter(), *meters(PROGRAM)])
        await channel.apply_bundle([installation(flow) for flow in PROGRAM.flows])
    return switch


def meters(program: Program) -> list[MeterMod]:
    flags = MeterFlag.PKTPS | MeterFlag.BURST
    return [
        MeterMod(0, one.meter_id, flags, (Band(one.packets_per_s, one.packets_per_s),))
        for one in program.rates
    ]


def installation(flow: Flow) -> FlowMod:
    table = number_of(flow.table)
    return FlowMod(flow.match, flow.instructions, table, flow.priority, flow.cookie)


def walked(packet: str, states: list[str]) -> Walk:
    whole = complete(packet, PROGRAM.flows, PORT_NAMES, states)
    return walk(PROGRAM.flows, whole, ct_states=states)


def compared(switch: Switch, packet: str, *states: str) -> list[str]:
    assumed = list(states) or ["new"]
    way = walked(packet, assumed)
    return differences(way, switch.directory, "br0", PORT_NAMES, assumed)


STATES = ("new", "est", "est,rpl", "rel", "inv")
CLIENT = "in_port=internal_100,tcp,nw_src=10.101.0.2,nw_dst=198.18.0.1,tp_dst=443"
KINDS = (
    "tcp,nw_src=10.101.0.2,nw_dst=198.18.0.1,tp_dst=443",
    "tcp,nw_src=198.18.0.1,nw_dst=10.101.0.2,tp_src=443,tcp_flags=syn|ack",
    "tcp,nw_src=198.18.0.1,nw_dst=198.18.0.2,tcp_flags=syn|fin",
    "tcp,nw_src=198.18.0.1,nw_dst=198.18.0.2,tcp_flags=0",
    "tcp6,ipv6_src=2001:db8::1,ipv6_dst=2001:db8::2,tp_dst=8080",
    "udp,nw_src=10.101.0.2,nw_dst=1.1.1.1,tp_src=40000,tp_dst=53",
    "udp,nw_src=198.18.0.1,nw_dst=10.101.0.2,nw_ttl=1",
    "udp,nw_src=198.18.0.1,nw_dst=10.101.0.2,tp_src=67,tp_dst=68",
    "udp,nw_src=198.18.0.1,nw_dst=198.18.0.2,nw_frag=first",
    "udp,nw_src=198.18.0.1,nw_dst=198.18.0.2,nw_frag=later",
    "icmp,nw_src=10.101.0.2,nw_dst=1.1.1.1,icmp_type=8,icmp_code=0",
    "icmp6,ipv6_src=fe80::1,icmp_type=135,nd_target=fd00::1,nd_sll=aa:bb:cc:00:00:01",
    "icmp6,ipv6_src=2001:db8::1,ipv6_dst=2001:db8::2,icmp_type=134",
    "ip,nw_src=127.0.0.1,nw_dst=198.18.0.1",
    "ip,dl_src=ff:ff:ff:ff:ff:ff,nw_src=198.18.0.1,nw_dst=198.18.0.2",
    "arp,arp_op=1,arp_tpa=10.0.0.1",
    "dl_type=0x88cc",
)


@pytest.mark.parametrize("port", PORT_NAMES.values())
async def test_the_switch_takes_every_packet_the_way_that_is_compiled(
    installed: Switch, port: str
) -> None:
    found = {
        (kind, state): differing
        for kind in KINDS
        for state in STATES
        if (differing := compared(installed, f"in_port={port},{kind}", state))
    }
    assert found == {}


async def test_packets_of_the_mesh_find_each_other(installed: Switch) -> None:
    one, other, *_ = (port for port in MESH.values() if port.container_id is not None)
    own = f"arp_spa={one.v4},arp_sha={one.mac}"
    request = f"in_port={one.name},arp,arp_op=1,arp_tpa={other.v4},{own}"
    assert walked(request, ["new"]).verdict == Sent((one.ofport,))
    assert compared(installed, request) == []
    solicitation = (
        f"in_port={one.name},icmp6,icmp_type=135,nd_target={other.v6},nd_sll={one.mac},"
        f"ipv6_src={one.v6},ipv6_dst=ff02::1:ff00:1"
    )
    assert walked(solicitation, ["new"]).verdict == Sent((other.ofport,))
    assert compared(installed, solicitation) == []


async def test_a_packet_that_is_sent_out_is_sent_out_alike(installed: Switch) -> None:
    assert isinstance(walked(CLIENT, ["new"]).verdict, Sent)
    assert compared(installed, CLIENT) == []


def last_flow(way: Walk) -> Flow:
    flow = way.steps[-1].flow
    assert flow is not None
    return flow


async def test_a_flow_that_was_deleted_is_named(installed: Switch) -> None:
    flow = last_flow(walked(CLIENT, ["new"]))
    installed.ofctl("del-flows", f"table={number_of(flow.table)},cookie={flow.cookie}/-1")
    found = compared(installed, CLIENT)
    assert len(found) == 2
    assert found[0].startswith(f"table {flow.table}: the compiled pipeline sends it out by ")
    assert "the switch drops it by «everything» of priority 0" in found[0]
    assert found[1].endswith("the switch drops the packet")


async def test_a_flow_that_does_something_else_is_named(installed: Switch) -> None:
    flow = last_flow(walked(CLIENT, ["new"]))
    match = format_match(flow.match)
    installed.ofctl("mod-flows", f"table={number_of(flow.table)},{match},actions=IN_PORT")
    named = format_match(flow.match, PORT_NAMES.get)
    found = compared(installed, CLIENT)
    assert len(found) == 2
    assert found[0].startswith(f"table {flow.table}: «{named}» of priority {flow.priority} does ")
    assert found[0].endswith("as compiled, IN_PORT on the switch")
    assert "the switch sends the packet out of internal_100" in found[1]


async def test_a_rewrite_that_differs_is_named(installed: Switch) -> None:
    table = number_of("ttl")
    actions = f"mod_nw_ttl:63,goto_table:{table + 1}"
    installed.ofctl("mod-flows", f"table={table},ip,actions={actions}")
    assert compared(installed, CLIENT) == [
        "after table privacy: nw_ttl is 64 as compiled, 63 on the switch"
    ]


async def test_a_flow_of_somebody_elses_in_between_is_named(installed: Switch) -> None:
    table = number_of("security")
    installed.ofctl("add-flow", f"cookie=7,table={table},priority=999,tcp,actions=output:2")
    found = compared(installed, CLIENT)
    assert found[0] == (
        "table security: the compiled pipeline goes on by «everything» of priority 0, the switch"
        " sends it out by «tcp» of priority 999"
    )


async def test_a_bridge_that_the_switch_has_not_is_said_in_its_words(switch: Switch) -> None:
    path = unixctl.switch_socket(switch.directory)
    with pytest.raises(UnixctlRefusedError, match="unknown bridge"):
        unixctl.call(path, "ofproto/trace", "br77", "in_port=1")
