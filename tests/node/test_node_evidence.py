"""What shows that a chain passes packets, and which hop is named when it does not: as tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.node.counted import Point, Sample, Tap, port_of, tunnel_of
from privacy_router.node.evidence import Answer, Evidence, Health, State

if TYPE_CHECKING:
    from collections.abc import Callable

ROLES = {hop.name: hop.role for hop in CATALOGUE.hops}
CLIENTS, GATEWAY = tunnel_of(ROLES["gateway"]), port_of(ROLES["gateway"])
TUNNEL, WARP = tunnel_of(ROLES["warp"]), port_of(ROLES["warp"])
XRAY, EXIT = port_of(ROLES["xray"]), port_of(ROLES["exit"])
WHOLE = ("gateway", "warp", "xray")
NO_XRAY = ("gateway", "warp")
NO_WARP = ("gateway", "xray")
TICK_S = 0.5
DATA, BARE = 400, 60

Rates = dict[Point, tuple[int, int, int, int]]
"""Packets and bytes that come in by a device, and that go out by it, in half a second."""


def both(packets_in: int, size_in: int, packets_out: int, size_out: int) -> tuple[int, ...]:
    return (packets_in, packets_in * size_in, packets_out, packets_out * size_out)


CLIENTS_SEND = (10, 10 * BARE, 0, 0)
GATEWAY_SENDS = (0, 0, 10, 10 * BARE)

GOOD: dict[tuple[str, ...], Rates] = {
    WHOLE: {
        CLIENTS: (10, 1000, 10, 4000),
        GATEWAY: (10, 4000, 10, 1000),
        WARP: (30, 9000, 30, 9000),
        TUNNEL: (10, 5000, 10, 2000),
        XRAY: (20, 6000, 20, 6000),
    },
    NO_XRAY: {
        CLIENTS: (10, 1000, 10, 4000),
        GATEWAY: (10, 4000, 10, 1000),
        WARP: (10, 1000, 10, 4000),
        TUNNEL: (10, 4000, 10, 1000),
    },
    NO_WARP: {
        CLIENTS: (10, 1000, 10, 4000),
        GATEWAY: (10, 4000, 10, 1000),
        XRAY: (20, 6000, 20, 6000),
        EXIT: (10, 2000, 10, 5000),
    },
}
SILENT: Rates = dict.fromkeys((CLIENTS, GATEWAY, TUNNEL, WARP, XRAY, EXIT), (0, 0, 0, 0))


class Drive:
    """Gives samples twice a second, and answers questions as the fault has them answered."""

    def __init__(self, hops: tuple[str, ...] = WHOLE) -> None:
        stations = (*hops, "exit") if hops == NO_WARP else hops
        roles = tuple(ROLES[name] for name in stations)
        self.evidence = Evidence(roles, keepalive=True, jitter=lambda: 0.5)
        self.now_s = 1000.0
        self.session_at_s: float | None = 990.0
        self.client_seen = 0.0
        self.taps = {point: Tap() for point in GOOD[hops]}
        self.answer: Callable[[float], Answer] = lambda at_s: Answer(at_s, proven=hops[1:])
        self.asked: list[float] = []
        self.sample()

    def sample(self) -> None:
        age_s = None if self.session_at_s is None else self.now_s - self.session_at_s
        self.evidence.note(Sample(self.now_s, dict(self.taps), age_s, self.client_seen))

    def go(self, rates: Rates, seconds: float) -> dict[str, Health]:
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            for point, (packets_in, size_in, packets_out, size_out) in rates.items():
                if point in self.taps:
                    tap = self.taps[point]
                    self.taps[point] = Tap(
                        tap.rx_packets + packets_in,
                        tap.rx_bytes + size_in,
                        tap.tx_packets + packets_out,
                        tap.tx_bytes + size_out,
                    )
            self.sample()
            if self.evidence.is_question_due(self.now_s):
                self.evidence.note_question(self.now_s)
                self.asked.append(self.now_s)
                self.evidence.note_answer(self.answer(self.now_s))
        return self.evidence.verdict(self.now_s)


def states(verdict: dict[str, Health]) -> dict[str, State]:
    return {hop: health.state for hop, health in verdict.items()}


@pytest.mark.parametrize("hops", [WHOLE, NO_XRAY, NO_WARP])
def test_answered_clients_prove_every_hop_without_a_question(hops: tuple[str, ...]) -> None:
    drive = Drive(hops)
    verdict = drive.go(GOOD[hops], 5)
    assert set(states(verdict).values()) == {State.UP}
    assert "clients' packets were answered 0 s ago" in verdict[hops[-1]].evidence
    assert drive.asked == []


@dataclass(frozen=True)
class Fault:
    hops: tuple[str, ...]
    rates: Rates
    hop: str
    reason: str
    answer: tuple[str, str] | None = None
    proven: tuple[str, ...] = ()


FAULTS = {
    "Cloudflare is gone": Fault(
        WHOLE,
        {
            CLIENTS: CLIENTS_SEND,
            GATEWAY: GATEWAY_SENDS,
            WARP: (14, 900, 10, 600),
            TUNNEL: (0, 0, 4, 240),
            XRAY: (10, 600, 4, 240),
        },
        "warp",
        "nothing comes back through WARP",
        answer=("warp", "nothing comes back through WARP"),
    ),
    "the VPS refuses, and XRay ends the clients' connections": Fault(
        WHOLE,
        {
            CLIENTS: (10, 600, 10, 600),
            GATEWAY: (10, 600, 10, 600),
            WARP: (30, 1800, 30, 1800),
            TUNNEL: (5, 5 * 40, 5, 300),
            XRAY: (15, 900, 15, 900),
        },
        "xray",
        "the VPS does not answer",
        answer=("xray", "the VPS does not answer"),
        proven=("warp",),
    ),
    "XRay is stopped": Fault(
        WHOLE,
        {
            CLIENTS: CLIENTS_SEND,
            GATEWAY: GATEWAY_SENDS,
            WARP: (10, 600, 10, 600),
            XRAY: (10, 600, 0, 0),
        },
        "xray",
        "XRay does not answer in its namespace",
        answer=("xray", "XRay does not answer in its namespace"),
    ),
    "what XRay sends is blocked by xfrm": Fault(
        WHOLE,
        {
            CLIENTS: CLIENTS_SEND,
            GATEWAY: GATEWAY_SENDS,
            WARP: (10, 600, 10, 600),
            XRAY: (10, 600, 0, 0),
        },
        "xray",
        "the VPS does not answer",
        answer=("xray", "the VPS does not answer"),
        proven=("warp",),
    ),
    "the WARP hop does not forward": Fault(
        WHOLE,
        {
            CLIENTS: CLIENTS_SEND,
            GATEWAY: GATEWAY_SENDS,
            WARP: (14, 900, 0, 0),
            XRAY: (0, 0, 4, 300),
        },
        "warp",
        "takes packets and hands none on",
        # the question of the WARP hop itself passes, which would point behind it
        answer=("xray", "the VPS does not answer"),
        proven=("warp",),
    ),
    "the same without XRay, where its own question passes": Fault(
        NO_XRAY,
        {
            CLIENTS: CLIENTS_SEND,
            GATEWAY: GATEWAY_SENDS,
            WARP: (10, 600, 0, 0),
        },
        "warp",
        "takes packets and hands none on",
        proven=("warp",),
    ),
    "the gateway does not forward": Fault(
        WHOLE, {CLIENTS: CLIENTS_SEND}, "gateway", "hands none on", proven=("warp", "xray")
    ),
    "the gateway keeps the answers": Fault(
        WHOLE,
        {**GOOD[WHOLE], CLIENTS: CLIENTS_SEND},
        "gateway",
        "hands none to the clients",
        proven=("warp", "xray"),
    ),
    "the flows are missing": Fault(
        WHOLE,
        {
            CLIENTS: CLIENTS_SEND,
            GATEWAY: GATEWAY_SENDS,
            XRAY: (0, 0, 4, 300),
        },
        "warp",
        "the bridge hands nothing on to it",
        answer=("xray", "the VPS does not answer"),
    ),
    "without WARP the VPS is silent": Fault(
        NO_WARP,
        {
            CLIENTS: CLIENTS_SEND,
            GATEWAY: GATEWAY_SENDS,
            XRAY: (10, 600, 4, 300),
            EXIT: (4, 300, 0, 0),
        },
        "xray",
        "the VPS does not answer",
        answer=("xray", "the VPS does not answer"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_its_hop_within_three_seconds_and_is_over_at_once(name: str) -> None:
    fault = FAULTS[name]
    drive = Drive(fault.hops)
    drive.go(GOOD[fault.hops], 10)
    hop, reason = fault.answer or (None, "")
    drive.answer = lambda at_s: Answer(at_s, hop, reason, fault.proven)
    verdict = drive.go(fault.rates, 3)
    bad = {hop for hop, health in verdict.items() if health.state in (State.DOWN, State.DEGRADED)}
    assert bad == {fault.hop}, verdict
    assert verdict[fault.hop].state == State.DOWN
    assert fault.reason in verdict[fault.hop].reason
    since_s = verdict[fault.hop].since_s
    assert drive.go(fault.rates, 8)[fault.hop].since_s == pytest.approx(since_s, abs=3)
    drive.answer = lambda at_s: Answer(at_s, proven=fault.hops[1:])
    assert set(states(drive.go(GOOD[fault.hops], 2)).values()) == {State.UP}


def test_a_silent_chain_is_not_green_by_claim_and_is_not_asked() -> None:
    drive = Drive()
    drive.go(GOOD[WHOLE], 5)
    assert states(drive.go(SILENT, 4))["xray"] == State.UP
    verdict = drive.go(SILENT, 8)
    assert set(states(verdict).values()) == {State.QUIET}
    assert verdict["xray"].reason == "nothing passes at the moment"
    assert "answered 12 s ago" in verdict["xray"].evidence
    drive.session_at_s = drive.now_s  # a handshake of WARP is none of the chain
    drive.go(SILENT, 600)
    assert drive.asked == []


def test_who_wants_to_know_has_it_asked_once() -> None:
    drive = Drive()
    drive.session_at_s = drive.now_s
    assert set(states(drive.go(SILENT, 10)).values()) == {State.QUIET}
    drive.evidence.stir(drive.now_s)
    verdict = drive.go(SILENT, 1)
    assert states(verdict) == {"gateway": State.QUIET, "warp": State.UP, "xray": State.UP}
    drive.go(SILENT, 100)
    assert len(drive.asked) == 1


def test_who_wants_to_know_all_the_time_has_it_asked_every_few_seconds() -> None:
    drive = Drive()
    for _ in range(200):
        drive.session_at_s = drive.now_s
        drive.evidence.stir(drive.now_s)
        drive.go(SILENT, TICK_S)
    assert 12 <= len(drive.asked) <= 20


def test_a_failure_is_asked_about_less_and_less_while_nothing_waits() -> None:
    drive = Drive()
    drive.answer = lambda at_s: Answer(at_s, "xray", "the VPS does not answer")
    drive.evidence.stir(drive.now_s)
    for _ in range(3600):
        drive.session_at_s = drive.now_s
        drive.go(SILENT, 1)
    gaps = [b - a for a, b in zip(drive.asked, drive.asked[1:], strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(300, abs=1)
    assert len(drive.asked) < 25


def test_clients_that_send_what_nobody_answers_are_no_outage() -> None:
    drive = Drive()
    one_way: Rates = {
        CLIENTS: CLIENTS_SEND,
        GATEWAY: GATEWAY_SENDS,
        WARP: (10, 600, 10, 600),
        XRAY: (10, 600, 0, 0),
    }
    for _ in range(120):
        drive.session_at_s = drive.now_s
        assert State.DOWN not in states(drive.go(one_way, 1)).values()
    assert len(drive.asked) < 8


def test_clients_wait_while_the_question_is_on_its_way() -> None:
    drive = Drive()
    drive.go(GOOD[WHOLE], 5)
    drive.evidence.note_question(drive.now_s + 60)
    gone = replace(FAULTS["Cloudflare is gone"]).rates
    verdict = drive.go(gone, 6)
    assert verdict["xray"].state == State.DEGRADED
    assert verdict["xray"].reason == "clients' packets get no answer"


def test_a_failure_that_was_asked_before_clients_were_answered_is_past() -> None:
    drive = Drive()
    asked_s = drive.now_s
    drive.go(GOOD[WHOLE], 2)
    drive.evidence.note_answer(Answer(asked_s, "xray", "the VPS does not answer"))
    assert states(drive.evidence.verdict(drive.now_s))["xray"] == State.UP


def test_a_chain_that_has_just_been_made() -> None:
    drive = Drive()
    drive.session_at_s = None
    verdict = drive.go(SILENT, 1)
    assert (verdict["warp"].state, verdict["warp"].reason) == (
        State.DOWN,
        "no handshake with Cloudflare",
    )
    drive.session_at_s = drive.now_s
    assert set(states(drive.go(SILENT, 1)).values()) == {State.QUIET}


def test_a_session_that_was_not_renewed_is_none() -> None:
    drive = Drive()
    drive.session_at_s = drive.now_s
    assert states(drive.go(SILENT, 179))["warp"] == State.QUIET
    verdict = drive.go(SILENT, 3)
    assert verdict["warp"].state == State.DOWN
    assert "no handshake" in verdict["warp"].reason


def test_a_client_that_comes_back_has_the_chain_asked() -> None:
    drive = Drive()
    drive.client_seen = 1_000.0
    drive.go(SILENT, 5)
    asked = len(drive.asked)
    drive.client_seen += 120
    drive.go(SILENT, 5)
    assert len(drive.asked) == asked, "one that is there shakes hands every two minutes"
    drive.client_seen += 3600
    drive.go(SILENT, 5)
    assert len(drive.asked) == asked + 1


def test_counters_that_begin_anew_and_a_machine_that_slept() -> None:
    drive = Drive()
    drive.go(GOOD[WHOLE], 3)
    drive.taps[WARP] = drive.taps[TUNNEL] = Tap()
    assert State.DOWN not in states(drive.go(GOOD[WHOLE], 1)).values()
    drive.now_s += 3600
    drive.session_at_s = drive.now_s
    assert set(states(drive.go(SILENT, 1)).values()) == {State.QUIET}


def test_rates_are_bytes_a_second_of_the_hops_port() -> None:
    drive = Drive()
    drive.go(GOOD[WHOLE], 3.0)
    rates = {hop: (h.rx_rate, h.tx_rate) for hop, h in drive.evidence.verdict(drive.now_s).items()}
    assert rates == {
        "gateway": (8000.0, 2000.0),
        "warp": (18000.0, 18000.0),
        "xray": (12000.0, 12000.0),
    }
    drive.go(SILENT, 3.0)
    assert {h.rx_rate for h in drive.evidence.verdict(drive.now_s).values()} == {0.0}
