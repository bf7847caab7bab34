"""Random packets through random tables: our walk and Open vSwitch agree at every step.

Masks, priorities, rewrites, registers, connection tracking and TTLs, in combinations that nobody
would write. Each seed is one program in all tables of the pipeline.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.node.tracing import differences
from privacy_router.openflow import (
    ApplyActions,
    Ct,
    DecNwTtl,
    FlowMod,
    GotoTable,
    Load,
    Match,
    Move,
    Output,
    PortNumber,
    SetFieldMasked,
    SetNwTtl,
    load,
    set_field,
)
from privacy_router.openflow.nicira import NO_TABLE
from privacy_router.pipeline.allocation import Layer
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.tables import TABLES, number_of
from privacy_router.pipeline.trace.packet import parse_packet
from privacy_router.pipeline.trace.walk import walk

if TYPE_CHECKING:
    from privacy_router.openflow import Action, Instruction
    from privacy_router.openflow.channel import Channel
    from tests.e2e.openflow.private_ovs import Ovs

pytestmark = pytest.mark.e2e

FLOWS_OF_A_TABLE = 9
PACKETS = 60
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
KINDS = {
    "": {},
    "ip": {"eth_type": IPV4},
    "ipv6": {"eth_type": IPV6},
    "arp": {"eth_type": ARP},
    "icmp": {"eth_type": IPV4, "ip_proto": 1, "icmpv4_type": 8},
    "icmp6": {"eth_type": IPV6, "ip_proto": 58, "icmpv6_type": 135},
    "tcp": {"eth_type": IPV4, "ip_proto": 6},
    "tcp6": {"eth_type": IPV6, "ip_proto": 6},
    "udp": {"eth_type": IPV4, "ip_proto": 17},
}
STATES = (["new"], ["est"], ["est,rpl"], ["rel"], ["inv"], ["new", "est"])


class Chance:
    """Programs and packets by the throw of a die that falls alike for every run."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - nothing is kept secret here
        self.choice = self._random.choice
        self.below = self._random.randrange

    def happens(self, likelihood: float = 0.3) -> bool:
        return self._random.random() < likelihood

    def masked(self, value: int, bits: int) -> tuple[int, int]:
        full = (1 << bits) - 1
        mask = full if self.happens() else self._random.getrandbits(bits)
        return value & mask, mask

    # --- flows ----------------------------------------------------------------------------------

    def program(self) -> list[Flow]:
        flows = []
        for number, table in enumerate(TABLES):
            for priority in self._random.sample(range(1, 60), FLOWS_OF_A_TABLE):
                fields = self.fields()
                does = self.instructions(fields, number)
                flows.append(Flow(table.name, priority, Match(**fields), does, Layer.BASE, "", ""))
            if number + 1 < len(TABLES):  # most packets should get far
                onward = (GotoTable(number + 1),)
                flows.append(Flow(table.name, 0, Match(), onward, Layer.BASE, "", ""))
        return flows

    def fields(self) -> dict[str, Any]:
        fields = dict(KINDS[self.choice(list(KINDS))])
        choices = {
            "in_port": self.choice([1, 2]),
            "eth_src": self.masked(self.below(4), 48),
            "reg0": self.masked(self.below(4), 32),
            "ct_state": self.choice(["+trk", "-trk", "+trk+new", "+trk+est", "+trk-new"]),
            **self._of_kind(fields.get("eth_type"), fields.get("ip_proto")),
        }
        return {**fields, **{name: value for name, value in choices.items() if self.happens()}}

    def _of_kind(self, ethertype: int | None, protocol: int | None) -> dict[str, Any]:
        of_ethertype: dict[int | None, dict[str, Any]] = {
            IPV4: {
                "ipv4_src": self.masked(0x0A000000 | self.below(8), 32),
                "ipv4_dst": self.masked(0x0A000000 | self.below(8), 32),
                "nw_ttl": self.below(3),
            },
            IPV6: {"ipv6_dst": self.masked(self.below(8), 128), "ip_dscp": self.below(2)},
            ARP: {"arp_op": 1, "arp_tpa": self.masked(0x0A000000 | self.below(8), 32)},
        }
        of_protocol: dict[int | None, dict[str, Any]] = {
            6: {
                "tcp_dst": self.masked(self.below(8), 16),
                "tcp_flags": self.masked(self.below(64), 9),
            },
            None: {"ip_frag": self.choice(["no", "yes", "first", "later", "not_later"])},
            17: {"udp_src": self.masked(self.below(8), 16)},
            58: {"ipv6_nd_target": self.masked(self.below(3), 128)},
        }
        ip = of_protocol.get(protocol, {}) if ethertype in (IPV4, IPV6) else {}
        return {**of_ethertype.get(ethertype, {}), **ip}

    def instructions(self, fields: dict[str, Any], table: int) -> tuple[Instruction, ...]:
        possible = self.actions(fields, table)
        actions = tuple(self.choice(possible) for _ in range(self.below(4)))
        onward = range(table + 1, min(len(TABLES), table + 3))
        goes_on = len(onward) > 0 and self.happens(0.9)
        last = (GotoTable(self.choice(onward)),) if goes_on else ()
        return (ApplyActions(actions), *last)

    def actions(self, fields: dict[str, Any], table: int) -> list[Action]:
        ports = (1, 2, PortNumber.IN_PORT, PortNumber.LOCAL)
        actions: list[Action] = [
            load("reg0", self.below(4)),
            Load("reg1", self.below(4), 4, 8),
            Move("reg0", "reg2", 8, 0, 8),
            Move("eth_src", "eth_dst", 16, 8, 0),
            Output(self.choice(ports)),
        ]
        resumed = self.choice([NO_TABLE, table + 1]) if table + 1 < len(TABLES) else NO_TABLE
        if fields.get("eth_type") in (IPV4, IPV6):
            tracking = Ct(self.choice([0, 1]), self.below(3), resumed)
            actions += [SetNwTtl(self.below(5)), DecNwTtl(), *[tracking] * 3]
        if fields.get("eth_type") == IPV4:
            actions += [set_field("ipv4_dst", 0x0A000000 | self.below(8))]
            actions += [SetFieldMasked("ipv4_src", 0x100, 0xFF00)]
        if fields.get("eth_type") == ARP:
            actions += [set_field("arp_op", 2), Move("arp_sha", "arp_tha", 48)]
        return actions

    # --- packets --------------------------------------------------------------------------------

    def packet(self) -> str:
        kind = self.choice([kind for kind in KINDS if kind])
        words = [f"in_port={self.choice([1, 2])}", kind, f"dl_src=00:00:00:00:00:0{self.below(4)}"]
        if kind in ("ip", "icmp", "tcp", "udp"):
            words += [f"nw_src=10.0.0.{self.below(8)}", f"nw_dst=10.0.0.{self.below(8)}"]
        if kind in ("ipv6", "icmp6", "tcp6"):
            words += [f"ipv6_dst=::{self.below(8)}"]
        if kind != "arp":
            words += [f"nw_ttl={self.below(9)}", f"nw_tos={self.choice([0, 4])}"]
        return ",".join([*words, *self._rest(kind)])

    def _rest(self, kind: str) -> list[str]:
        return {
            "arp": ["arp_op=1", f"arp_tpa=10.0.0.{self.below(8)}", "arp_sha=00:00:00:00:00:07"],
            "ip": [f"nw_frag={self.choice(['no', 'first', 'later'])}"],
            "icmp": [f"icmp_type={self.choice([0, 8])}"],
            "icmp6": ["icmp_type=135", f"nd_target=::{self.below(3)}"],
            "tcp": [f"tp_dst={self.below(8)}", f"tcp_flags={self.below(64)}"],
            "tcp6": [f"tp_dst={self.below(8)}", f"tcp_flags={self.below(64)}"],
            "udp": [f"tp_src={self.below(8)}"],
        }.get(kind, [])


def installation(flow: Flow) -> FlowMod:
    table = number_of(flow.table)
    return FlowMod(flow.match, flow.instructions, table, flow.priority, flow.cookie)


@pytest.mark.parametrize("seed", range(20))
async def test_the_walk_goes_the_way_of_the_switch(ovs: Ovs, channel: Channel, seed: int) -> None:
    chance = Chance(seed)
    flows = chance.program()
    await channel.apply_bundle([installation(flow) for flow in flows])
    for _ in range(PACKETS):
        text, states = chance.packet(), chance.choice(STATES)
        way = walk(flows, parse_packet(text), ct_states=states)
        assert differences(way, ovs.directory, "br0", {}, states) == [], (text, states)
