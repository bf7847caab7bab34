"""How long to leave a resource alone that keeps changing or cannot be put right (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.engine.model import ResourceKey

FIRST_S: Final = 1.0
MOST_S: Final = 300.0
CALM_S: Final = 60.0
FREE: Final = 3


@dataclass
class _Record:
    times: int
    last_s: float
    until_s: float


@dataclass
class Backoff:
    """One record a resource.

    The first FREE repairs within a minute are immediate; each one more, and every failed one,
    doubles the pause before the next, up to MOST_S. A resource that was left in peace for a minute
    beyond its pause starts anew.
    """

    _records: dict[ResourceKey, _Record] = field(default_factory=dict)

    def ready(self, key: ResourceKey, now_s: float) -> bool:
        """Whether the resource may be put right now."""
        record = self._records.get(key)
        return record is None or now_s >= record.until_s

    def next_s(self, now_s: float) -> float | None:
        """Seconds until the first pause that goes on is over; None when none does."""
        waits = [r.until_s - now_s for r in self._records.values() if r.until_s > now_s]
        return min(waits, default=None)

    def note(self, keys: Iterable[ResourceKey], now_s: float, *, failed: bool) -> None:
        """These were put right, or could not be."""
        for key in keys:
            record = self._records.get(key)
            if record is None or now_s > max(record.last_s, record.until_s) + CALM_S:
                record = self._records[key] = _Record(0, now_s, now_s)
            record.times += 1
            record.last_s = now_s
            over = record.times - (0 if failed else FREE)
            pause_s = min(FIRST_S * 2 ** min(over - 1, 30), MOST_S) if over > 0 else 0.0
            record.until_s = now_s + pause_s

    def contended(self, key: ResourceKey) -> bool:
        """Whether somebody keeps changing it."""
        record = self._records.get(key)
        return record is not None and record.times > FREE
