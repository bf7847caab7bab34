"""The storm's own judgement, fed with frames made by hand: a check that cannot fail is a defect."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import islice

import pytest

from privacy_router.config import parse_document
from privacy_router.lab import internet
from privacy_router.lab.settings import node_document

from .by_hand import ICMP, TCP, UDP, frame
from .faults import every_fault
from .figures import percentile, spread, table
from .judge import Bench, Place, Verdict, allowed_by, judge, rules_for, wire_name
from .load import KINDS, Record, query
from .outcome import Healing, Limits, Outcome
from .parts import PARTS, differences
from .storm import deck
from .variants import CHAINS, Variants
from .watch import Tally

TOKEN = "5ec2e7"
WITH_WARP = parse_document(node_document(), "with WARP").config
WITHOUT_WARP = parse_document(
    node_document({"plugins": {"privacy_router": {"warp": {"enabled": False}}}}), "without"
).config
UPLINK = Place.of(internet.cable("node", "isp"))
WEB_LINK = Place.of(internet.cable("web", "isp"))
BEYOND = Place.of(internet.cable("vps", "web"))
NODE, CLIENT = str(internet.address_of("node")), str(internet.address_of("client"))
NODE6 = str(internet.address_of("node", 6))
INSIDE, INSIDE6, XRAY = "10.101.0.2", "fd70:7276:6174:1::2", "10.102.0.3"
VPS, RESOLVER, ENDPOINT = map(str, (internet.VPS[0], internet.DNS[0], internet.WARP_ENDPOINT[0]))
STRANGER = "198.18.9.9"


def verdicts(
    captured: bytes, place: Place = UPLINK, *, warp: bool = True, from_node: bool = True
) -> set[Verdict]:
    rules = rules_for(WITH_WARP if warp else WITHOUT_WARP, TOKEN)
    return set(judge(captured, place, rules, from_node=from_node))


LOOKUP = bytes(12) + wire_name("vps.example.com") + b"\0\1\0\1"


def test_a_clients_packet_on_the_uplink_is_in_clear_untranslated_and_to_a_stranger() -> None:
    leak = frame(INSIDE, RESOLVER, UDP, 53, query(1, TOKEN))
    assert verdicts(leak) == {Verdict.CLEAR, Verdict.UNTRANSLATED, Verdict.STRANGER}
    leak6 = frame(INSIDE6, str(internet.DNS[1]), UDP, 53, b"?")
    assert verdicts(leak6) == {Verdict.CLEAR, Verdict.UNTRANSLATED, Verdict.STRANGER}


def test_the_same_packet_further_on_is_in_clear_and_beyond_the_vps_it_is_in_order() -> None:
    leak = frame(INSIDE, RESOLVER, UDP, 53, query(1, TOKEN))
    assert verdicts(leak, WEB_LINK, from_node=False) == {Verdict.CLEAR}
    assert verdicts(leak, BEYOND, from_node=False) == set()


def test_the_secret_word_is_found_behind_translated_addresses() -> None:
    assert verdicts(frame(NODE, ENDPOINT, UDP, 2408, TOKEN.encode())) == {Verdict.CLEAR}


def test_xrays_own_address_on_the_uplink_is_untranslated() -> None:
    assert verdicts(frame(XRAY, VPS, TCP, 443), warp=False) == {Verdict.UNTRANSLATED}
    assert Verdict.UNTRANSLATED in verdicts(frame(XRAY, VPS, TCP, 443))
    assert verdicts(frame(NODE, VPS, TCP, 443), warp=False) == set()


@pytest.mark.parametrize(
    ("destination", "protocol", "port", "warp", "allowed"),
    [
        (ENDPOINT, UDP, 2408, True, True),
        (ENDPOINT, UDP, 2409, True, False),
        (ENDPOINT, UDP, 2408, False, False),
        (ENDPOINT, TCP, 2408, True, False),
        (CLIENT, UDP, 33333, True, True),
        (CLIENT, TCP, 33333, True, False),
        (VPS, TCP, 443, False, True),
        (VPS, TCP, 443, True, False),
        (VPS, TCP, 80, False, False),
        (VPS, ICMP, 0, True, True),
        (STRANGER, UDP, 2408, True, False),
        (STRANGER, UDP, 6343, False, False),
        (STRANGER, ICMP, 0, True, False),
    ],
)
def test_each_state_allows_its_own_services(
    destination: str, protocol: int, port: int, warp: bool, allowed: bool
) -> None:
    found = verdicts(frame(NODE, destination, protocol, port), warp=warp)
    assert found == (set() if allowed else {Verdict.STRANGER})


def test_only_the_vps_name_is_asked_for_and_only_without_warp() -> None:
    lookup = frame(NODE, RESOLVER, UDP, 53, LOOKUP)
    assert verdicts(lookup, warp=False) == set()
    assert verdicts(lookup) == {Verdict.CLEAR, Verdict.STRANGER}
    other = frame(NODE, RESOLVER, UDP, 53, bytes(12) + wire_name("web.example.net"))
    assert verdicts(other, warp=False) == {Verdict.CLEAR, Verdict.STRANGER}
    elsewhere = frame(NODE, STRANGER, UDP, 53, LOOKUP)
    assert verdicts(elsewhere, warp=False) == {Verdict.CLEAR, Verdict.STRANGER}
    assert verdicts(lookup, WEB_LINK, warp=False, from_node=False) == set()


def test_what_comes_to_the_node_is_not_the_nodes_doing() -> None:
    assert verdicts(frame(STRANGER, NODE, UDP, 9), from_node=False) == set()


def test_a_refusal_to_a_known_host_is_in_order_and_a_connection_is_not() -> None:
    assert verdicts(frame(NODE, VPS, TCP, 443, flags=4)) == set()
    assert verdicts(frame(NODE, VPS, TCP, 443, flags=2)) == {Verdict.STRANGER}
    assert verdicts(frame(NODE, STRANGER, TCP, 443, flags=4)) == {Verdict.STRANGER}
    cloudflare = str(internet.address_of("cloudflare"))
    assert verdicts(frame(NODE, cloudflare, ICMP)) == set()
    assert verdicts(frame(NODE, cloudflare, UDP, 2408)) == {Verdict.STRANGER}


def test_what_cannot_be_read_goes_to_a_stranger_and_arp_does_not() -> None:
    assert verdicts(bytes(12) + b"\x08\x00\x45") == {Verdict.STRANGER}
    assert verdicts(bytes(12) + b"\x88\xcc" + bytes(40)) == {Verdict.STRANGER}
    assert verdicts(bytes(12) + b"\x08\x06" + bytes(28)) == set()


def test_neighbour_discovery_stays_on_the_link_and_multicast_data_does_not() -> None:
    assert verdicts(frame("fe80::1", "ff02::1", 58)) == set()
    assert Verdict.STRANGER in verdicts(frame(NODE6, "ff02::1", UDP, 6343))


def test_while_the_chain_changes_either_state_is_allowed_and_no_other() -> None:
    rules = rules_for(WITH_WARP, TOKEN)
    both = rules.allowing(rules.allowed | allowed_by(WITHOUT_WARP))
    for captured in (frame(NODE, VPS, TCP, 443), frame(NODE, ENDPOINT, UDP, 2408)):
        assert judge(captured, UPLINK, both, from_node=True) == set()
    assert judge(frame(NODE, RESOLVER, UDP, 53, LOOKUP), UPLINK, both, from_node=True) == set()
    assert judge(frame(NODE, STRANGER, UDP, 53), UPLINK, both, from_node=True)


def test_a_bench_forgets_what_was_in_order_when_the_rules_change() -> None:
    bench, rules = Bench(UPLINK), rules_for(WITHOUT_WARP, TOKEN)
    captured = frame(NODE, VPS, TCP, 443, b"x" * 20)
    assert bench.take(captured, rules, from_node=True) == set()
    assert bench.take(captured, rules, from_node=True) == set()
    changed = rules.allowing(allowed_by(WITH_WARP))
    assert bench.take(captured, changed, from_node=True) == {Verdict.STRANGER}


def test_a_bench_looks_at_every_dns_query_and_every_payload() -> None:
    bench, rules = Bench(UPLINK), rules_for(WITHOUT_WARP, TOKEN)
    assert not bench.take(frame(NODE, RESOLVER, UDP, 53, LOOKUP), rules, from_node=True)
    other = frame(NODE, RESOLVER, UDP, 53, bytes(12) + wire_name("other.example"))
    assert bench.take(other, rules, from_node=True) == {Verdict.CLEAR, Verdict.STRANGER}
    quiet = frame(NODE, VPS, TCP, 443, b"x" * 20)
    assert not bench.take(quiet, rules, from_node=True)
    loud = frame(NODE, VPS, TCP, 443, TOKEN.encode() * 4)
    assert bench.take(loud, rules, from_node=True) == {Verdict.CLEAR}


def outcome(*healings: Healing, judged: bool = True) -> Outcome:
    return Outcome(1, Limits(judged=judged), list(healings), payload_seen=1)


def test_an_outcome_fails_by_each_of_its_figures() -> None:
    good = Healing(("a",), ("flow",), 0.5)
    assert outcome(good).failures == []
    assert outcome(good, Healing(("b",), ("flow",), None)).failures == ["1 faults never healed"]
    slow = outcome(*[good] * 10, Healing(("b",), ("flow",), 11.0))
    assert slow.failures == [
        "heal p99 11.00 s, at most 3 s",
        "heal max 11.00 s, at most 10 s",
    ]
    assert outcome(Healing(("b",), ("flow",), 11.0), judged=False).failures == []
    broke = outcome(Healing(("a",), ("file",), 0.0, broke=("+ tunnels: x",)))
    assert broke.failures == ["1 faults changed what has to be kept"]
    ended = outcome(Healing(("a",), ("flow",), 0.0, controller_ended=True))
    assert ended.failures == ["the controller ended 1 times by itself"]
    assert Outcome(1, Limits(), [good]).failures == ["the captures saw no payload at all"]
    leaky = outcome(good)
    tally = Tally()
    tally.verdicts["a"] = Counter({Verdict.CLEAR: 2})
    leaky.add_tally(tally)
    assert leaky.failures == ["2 packets in clear"]


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert spread([]) == {"count": 0, "p50": 0.0, "p99": 0.0, "max": 0.0}
    assert table(("a", "b"), [("x", 1.0)]) == "a     b\nx  1.00"


def test_a_gap_is_told_when_it_ends() -> None:
    told: list[dict[str, object]] = []
    record = Record(KINDS[0], lambda **line: told.append(line), last_ok=10.0)
    for t_sent in (10.1, 10.2, 11.0, 10.9, 11.1):
        record.good(t_sent)
    assert told == [{"gap": "dns", "from": 10.2, "to": 11.0}]


def test_every_fault_has_a_name_of_its_own_and_looks_at_parts_that_there_are() -> None:
    faults = every_fault()
    assert len({fault.name for fault in faults}) == len(faults)
    for fault in faults:
        assert set(fault.parts) | set(fault.held) <= set(PARTS)
        assert fault.parts or fault.group == "outage"
        assert bool(fault.undo or fault.restart_vps) == bool(fault.hold_s)


def test_a_seed_gives_the_same_faults_again_and_all_of_them() -> None:
    faults = every_fault()
    one, other = (deck(faults, random.Random(5)) for _ in range(2))
    drawn = [next(one) for _ in faults]
    assert drawn == [next(other) for _ in faults]
    assert {fault for pair in drawn for fault in pair} == set(faults)
    assert any(len(pair) == 2 for pair in drawn)


def test_variants_are_valid_and_take_every_way_between_the_chains() -> None:

    base = json.loads(node_document())
    found = list(islice(Variants(base, random.Random(3)), 40))
    pairs = set()
    before = CHAINS[0]
    for variant in found:
        assert variant.config.chain_hops == variant.hops
        assert variant.changed
        pairs.add((before, variant.hops))
        before = variant.hops
    assert len(pairs) == len(CHAINS) ** 2


def test_differences_name_the_part_and_the_space() -> None:
    before = "## rules\n== pr-warp\n0: local\n1: main\n"
    after = "## rules\n== pr-warp\n0: local\n50: blackhole\n"
    assert differences(before, after) == [
        "- rules pr-warp: 1: main",
        "+ rules pr-warp: 50: blackhole",
    ]


def test_differences_do_not_tell_keys() -> None:
    key, other = "A" * 43 + "=", "B" * 43 + "="
    found = differences(f"## tunnels\n{key} off\n", f"## tunnels\n{other} off\n")
    assert found == ["- tunnels: AAAAAA… off", "+ tunnels: BBBBBB… off"]
