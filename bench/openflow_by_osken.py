"""Print the microseconds that os-ken takes for one flow-mod.

A program of its own, so that neither side's objects burden the other. The flow is the one of
bench/openflow.py: made from plain numbers, then encoded.
"""

from __future__ import annotations

import time

from os_ken.ofproto import ofproto_v1_3 as protocol
from os_ken.ofproto import ofproto_v1_3_parser as parser

COUNT = 2_000


class Datapath:
    """All that os-ken's messages ask of a connection."""

    ofproto = protocol
    ofproto_parser = parser


def flow(number: int) -> bytes:
    """One flow-mod on the wire."""
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    match = parser.OFPMatch(in_port=1, eth_type=0x800, ip_proto=6, ipv4_dst=address, tcp_dst=443)
    actions = [parser.OFPActionOutput(1, 0)]
    instructions = [parser.OFPInstructionActions(protocol.OFPIT_APPLY_ACTIONS, actions)]
    message = parser.OFPFlowMod(
        Datapath(), cookie=5, priority=100, match=match, instructions=instructions
    )
    message.set_xid(number)
    message.serialize()
    return bytes(message.buf)


def main() -> None:
    """Measure once."""
    started = time.perf_counter()
    for number in range(COUNT):
        flow(number)
    print((time.perf_counter() - started) / COUNT * 1e6)


if __name__ == "__main__":
    main()
