"""When a peer counts as silent, and how often another address is tried and a name looked up."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from privacy_router.node.silence import (
    FIRST_PATIENCE_S,
    NO_WAY_PATIENCE_S,
    PATIENCE_S,
    Heard,
    Search,
    Silence,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PERIOD_S = 2.0
INITIATION, KEEPALIVE = 148, 32


def silent_after(at: Callable[[float], Heard], most_s: float = 400.0) -> float | None:
    """After how many seconds the patience with a peer like that is over."""
    silence, now_s = Silence(), 0.0
    while now_s <= most_s:
        silence.note(at(now_s))
        if silence.is_over():
            return now_s
        now_s += PERIOD_S
    return None


def test_an_endpoint_that_never_answers_gets_three_handshakes() -> None:
    found = silent_after(lambda t: Heard(t, 0, int(t // 5 + 1) * INITIATION, 0.0, 25))
    assert found is not None
    assert FIRST_PATIENCE_S <= found <= FIRST_PATIENCE_S + 2 * PERIOD_S


def test_what_the_kernel_does_not_even_send_is_silence_too() -> None:
    """A socket that the host's firewall or its lack of a route refuses counts nothing."""
    found = silent_after(lambda t: Heard(t, 0, 0, 0.0, 25))
    assert found is not None
    assert found <= FIRST_PATIENCE_S + PERIOD_S


def test_a_tunnel_that_may_rest_and_does_is_not_silent() -> None:
    assert silent_after(lambda t: Heard(t, 0, 0, 0.0, 0)) is None
    assert silent_after(lambda t: Heard(t, 900, 900, 1.0, 0)) is None


@pytest.mark.parametrize("keepalive_s", [1, 7, 25])
def test_keepalives_without_an_answer_are_no_silence(keepalive_s: int) -> None:
    def at(now_s: float) -> Heard:
        rekeys = int(now_s // 120)
        sent = (int(now_s / keepalive_s) + 1) * KEEPALIVE + rekeys * INITIATION
        return Heard(now_s, 92 * (rekeys + 1), sent, rekeys + 1.0, keepalive_s)

    assert silent_after(at) is None


def test_data_without_an_answer_is_silence_after_wireguards_own_patience() -> None:
    def at(now_s: float) -> Heard:
        sent = 0 if now_s < 60 else int((now_s - 60) / 5 + 1) * INITIATION
        return Heard(now_s, 92, sent, 1.0, 25)

    found = silent_after(at)
    assert found is not None
    assert 60 + PATIENCE_S <= found <= 60 + PATIENCE_S + 2 * PERIOD_S


def test_data_that_is_answered_by_keepalives_only_is_none() -> None:
    def at(now_s: float) -> Heard:
        return Heard(now_s, int(now_s / 10) * KEEPALIVE, int(now_s) * 500, 1.0 + now_s // 120, 25)

    assert silent_after(at) is None


def test_no_route_is_known_soon() -> None:
    found = silent_after(lambda t: Heard(t, 92, 0, 1.0, 25, has_way=False))
    assert found == NO_WAY_PATIENCE_S


def test_a_session_that_is_not_renewed_is_none_after_three_minutes() -> None:
    """Its packets are not even sent: a firewall refuses them, say."""
    found = silent_after(lambda t: Heard(t, 92, 0, 1.0, 25))
    assert found is not None
    assert 180 < found <= 180 + 2 * PERIOD_S
    assert silent_after(lambda t: Heard(t, 92, 0, 1.0, 0)) is None


def test_a_clock_that_is_set_changes_nothing() -> None:
    """A machine without a clock of its own comes up years ago, and is told the time later."""

    def at(now_s: float) -> Heard:
        rekeys = int(now_s // 120)
        sent = (int(now_s / 25) + 1) * KEEPALIVE + rekeys * INITIATION
        set_by_s = 1.8e9 if rekeys > 2 else 0.0
        return Heard(now_s, 92 * (rekeys + 1), sent, set_by_s + rekeys * 120 + 1, 25)

    assert silent_after(at, 900) is None


def test_a_machine_that_slept_begins_anew() -> None:
    silence = Silence()
    silence.note(Heard(0.0, 92, 1000, 1.0, 25))
    silence.note(Heard(2.0, 92, 9000, 1.0, 25))
    silence.note(Heard(3600.0, 92, 9100, 1.0, 25))
    assert not silence.is_over()


def test_something_received_is_told() -> None:
    silence = Silence()
    assert not silence.note(Heard(0.0, 92, 0, 1.0, 25))
    assert silence.note(Heard(2.0, 184, 0, 1.0, 25))
    assert not silence.note(Heard(4.0, 184, 0, 1.0, 25))
    assert not silence.note(Heard(6.0, 0, 0, 0.0, 25))  # the device was made anew


def asked_and_tried(hours: float) -> tuple[list[float], list[float]]:
    """When a search that finds nothing looks a name up, and when it tries an address."""
    search, asked, tried, now_s = Search(), [], [], 0.0
    while now_s < hours * 3600:
        if search.is_due(now_s):
            asks = search.may_look_up(now_s)
            search.note_try(now_s, looked_up=asks)
            tried.append(now_s)
            asked += [now_s] * asks
        now_s += PERIOD_S
    return asked, tried


def test_a_name_is_looked_up_at_once_then_ever_more_rarely() -> None:
    asked, tried = asked_and_tried(6)
    pauses = [later - now for now, later in pairwise(asked)]
    assert asked[0] == 0
    assert pauses[0] <= 2 * 60
    assert pauses == sorted(pauses)
    assert 900 <= pauses[-1] <= 960
    assert len(asked) < 32
    assert max(b - a for a, b in pairwise(tried)) <= 62
    assert tried[1] - tried[0] <= FIRST_PATIENCE_S + PERIOD_S
