"""What `flows trace` shows of a packet's way: every table, the flow that decided, and the end."""

from __future__ import annotations

from privacy_router.cli import trace_view
from privacy_router.node.tracing import complete
from privacy_router.openflow import ApplyActions, Ct, GotoTable, Match, Output, SetNwTtl
from privacy_router.pipeline.allocation import Layer
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.tables import number_of
from privacy_router.pipeline.trace.walk import Walk, walk
from privacy_router.report.trace import document, verdict_words

NAMES = {1: "internal_100", 2: "warp0"}
STATE = number_of("state")
FLOWS = (
    Flow(
        "classify",
        100,
        Match(in_port=1, eth_src="aa:bb:cc:00:00:01"),
        (ApplyActions((Ct(zone=7, table_id=STATE),)),),
        Layer.BASE,
        "chain",
        "the gateway uses its own MAC",
    ),
    Flow("state", 9, Match(ct_state="+est+trk"), (), Layer.SECURITY, "key", "no answers here"),
    Flow("state", 8, Match(), (GotoTable(number_of("privacy")),), Layer.BASE, "pipeline", "onward"),
    Flow(
        "privacy",
        7,
        Match(eth_type=0x0800),
        (ApplyActions((SetNwTtl(64), Output(2))),),
        Layer.PRIVACY,
        "chain",
        "gateway → warp",
    ),
)


def way(packet: str, state: str = "new") -> Walk:
    whole = complete(packet, FLOWS, NAMES, [state])
    return walk(FLOWS, whole, ct_states=[state])


def test_the_way_of_a_packet_is_readable() -> None:
    lines = trace_view.lines(way("in_port=internal_100,udp,nw_ttl=9,nw_dst=198.18.0.1"), NAMES)
    assert (
        "\n".join(line.plain for line in lines)
        == """\
in_port=internal_100,udp,dl_src=aa:bb:cc:00:00:01,nw_dst=198.18.0.1,nw_ttl=9
├─ classify  in_port=internal_100,dl_src=aa:bb:cc:00:00:01  (priority 100)
│     ct(table=state,zone=7)
│     because chain: the gateway uses its own MAC
│     looked up in connection tracking zone 7
├─ tracked: new, zone 7
├─ state  everything else  (priority 8)
│     goto_table:privacy
│     because pipeline: onward
└─ privacy  ip  (priority 7)
      mod_nw_ttl:64,output:warp0
      because chain: gateway → warp
      nw_ttl: 9 → 64"""
    )


def test_a_script_gets_the_same() -> None:
    found = document(way("in_port=internal_100,udp"), NAMES, None)
    assert (found["verdict"], found["ports"], found["differences"]) == ("sent", ["warp0"], None)
    assert [passage["tracked"] for passage in found["passages"]] == [None, "new, zone 7"]
    tables = [step["table"] for passage in found["passages"] for step in passage["steps"]]
    assert tables == ["classify", "state", "privacy"]


def test_a_dropped_packet_says_where_and_why() -> None:
    refused = way("in_port=internal_100,tcp", "est")
    assert verdict_words(refused.verdict, NAMES) == ("dropped in table state: no answers here")
    missed = way("in_port=internal_100,arp")
    assert verdict_words(missed.verdict, NAMES) == ("dropped in table privacy: no flow matches")
    assert document(missed, NAMES, ["x"])["verdict"] == "dropped"


def test_a_packet_is_completed_by_its_port_and_its_connection() -> None:
    begins, belongs = (way("in_port=internal_100,tcp", state).packet for state in ("new", "est"))
    assert (begins["tcp_flags"], belongs["tcp_flags"]) == (0x002, 0x010)
    assert begins["eth_src"] == 0xAABBCC000001
    assert "eth_src" not in way("in_port=2,tcp").packet
