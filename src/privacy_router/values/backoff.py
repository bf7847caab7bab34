"""How long to leave alone what keeps changing or cannot be put right.

The engine keeps one for the resources of each plugin, and the node one for the flows of its bridge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

FIRST_S: Final = 1.0
MOST_S: Final = 300.0
CALM_S: Final = 60.0
FREE: Final = 3

K = TypeVar("K", bound="Hashable")


@dataclass
class _Record:
    times: int
    last_s: float
    until_s: float

    def is_over(self, now_s: float) -> bool:
        return now_s > max(self.last_s, self.until_s) + CALM_S


class Backoff(Generic[K]):
    """One record a key.

    The first FREE repairs within a minute are immediate; each one more, and every failed one,
    doubles the pause before the next, up to `most_s`. What was left in peace for a minute beyond
    its pause starts anew. Times are seconds of one clock that does not go back.
    """

    def __init__(self, most_s: float = MOST_S) -> None:
        self._most_s = most_s
        self._records: dict[K, _Record] = {}

    def ready(self, key: K, now_s: float) -> bool:
        """Whether that may be put right now."""
        record = self._records.get(key)
        return record is None or now_s >= record.until_s

    def next_s(self, now_s: float) -> float | None:
        """Seconds until the first pause that goes on is over; None when none does."""
        waits = [r.until_s - now_s for r in self._records.values() if r.until_s > now_s]
        return min(waits, default=None)

    def note(self, keys: Iterable[K], now_s: float, *, failed: bool) -> None:
        """These were put right, or could not be."""
        self._records = {k: r for k, r in self._records.items() if not r.is_over(now_s)}
        for key in keys:
            record = self._records.setdefault(key, _Record(0, now_s, now_s))
            record.times += 1
            record.last_s = now_s
            over = record.times - (0 if failed else FREE)
            pause_s = min(FIRST_S * 2 ** min(over - 1, 30), self._most_s) if over > 0 else 0.0
            record.until_s = now_s + pause_s

    def contended(self, key: K) -> bool:
        """Whether another program keeps changing it, or it cannot be put right."""
        record = self._records.get(key)
        return record is not None and record.times > FREE
