"""What keeps changing is put right ever more slowly, and each thing by itself."""

from __future__ import annotations

from privacy_router.values import backoff
from privacy_router.values.backoff import Backoff

KEY = "a"


def test_the_first_repairs_are_immediate_then_ever_slower() -> None:
    record = Backoff[str]()
    pauses = []
    now_s = 0.0
    for _ in range(14):
        record.note([KEY], now_s, failed=False)
        pause_s = record.next_s(now_s) or 0.0
        assert record.ready(KEY, now_s + pause_s)
        assert pause_s == 0 or not record.ready(KEY, now_s + pause_s - 0.01)
        pauses.append(pause_s)
        now_s += pause_s
    assert pauses[: backoff.FREE] == [0.0] * backoff.FREE
    assert pauses[backoff.FREE :] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert record.contended(KEY)


def test_a_failed_repair_pauses_at_once() -> None:
    record = Backoff[str]()
    record.note([KEY], 10.0, failed=True)
    assert not record.ready(KEY, 10.5)
    assert record.ready(KEY, 11.0)


def test_peace_is_a_new_start() -> None:
    record = Backoff[str]()
    for _ in range(5):
        record.note([KEY], 0.0, failed=True)
    record.note([KEY], 16.0 + backoff.CALM_S + 1, failed=False)
    assert record.ready(KEY, 16.0 + backoff.CALM_S + 1)
    assert not record.contended(KEY)


def test_another_resource_does_not_wait_with_it() -> None:
    record = Backoff[str]()
    record.note([KEY], 0.0, failed=True)
    assert record.ready("b", 0.0)


def test_the_longest_pause_may_be_shorter() -> None:
    record = Backoff[str](most_s=2.0)
    for _ in range(9):
        record.note([KEY], 0.0, failed=False)
    assert record.next_s(0.0) == 2.0


def test_what_has_found_peace_is_forgotten() -> None:
    record = Backoff[str]()
    record.note(map(str, range(1000)), 0.0, failed=False)
    record.note([KEY], backoff.CALM_S + 1, failed=False)
    assert record._records.keys() == {KEY}
