"""Whether somebody else keeps changing our flows: another controller on the same bridge (pure)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOW_S = 60.0
REPEATS = 3


class Contention:
    """Counts how often the same flow had to be put back.

    Once is an accident. The same flow `REPEATS` times within `WINDOW_S` is a program that wants
    something else; both would go on for ever, each sure of being right.
    """

    def __init__(self) -> None:
        self._repairs: deque[tuple[float, str]] = deque()

    def note(self, now_s: float, keys: Iterable[str]) -> list[str]:
        """Take down what was repaired; those that were repaired too often, each counted anew."""
        while self._repairs and self._repairs[0][0] < now_s - WINDOW_S:
            self._repairs.popleft()
        self._repairs.extend((now_s, key) for key in keys)
        counts: dict[str, int] = {}
        for _, key in self._repairs:
            counts[key] = counts.get(key, 0) + 1
        contested = sorted(key for key, count in counts.items() if count >= REPEATS)
        if contested:
            self._repairs = deque(item for item in self._repairs if item[1] not in contested)
        return contested
