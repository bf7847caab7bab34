"""Whether the far end of a tunnel is silent, and when to look for it elsewhere (pure).

A WireGuard peer that is there answers each packet: a handshake at once, data within ten
seconds (KEEPALIVE_TIMEOUT; wireguard.com/protocol). Only keepalives stay without an answer. So more
than keepalives sent, and nothing received, is the sign; or no session where one is kept alive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from privacy_router.node.evidence import SESSION_S

FIRST_PATIENCE_S: Final = 15.0
"""Without a session: three handshakes, five seconds apart (REKEY_TIMEOUT)."""
PATIENCE_S: Final = 25.0
"""With one: WireGuard begins a new handshake after 15 s without an answer, and repeats it."""
NO_WAY_PATIENCE_S: Final = 4.0
"""Without a route: as long as a change of the host's network takes."""
_KEEPALIVE_BYTES: Final = 32
_GAP_S: Final = 20.0
_QUICK_TRIES: Final = 2
_LONGEST_TRY_S: Final = 60.0
_FIRST_PAUSE_S: Final = 30.0
_LONGEST_PAUSE_S: Final = 900.0


@dataclass(frozen=True)
class Heard:
    """A reading of the peer's counters at `at_s` (monotonic); `handshake` is when it shook hands
    last, by a clock that may be set, 0 for never. `has_way`: the host has a route to its address.
    `keepalive_s` 0: the tunnel may rest."""

    at_s: float
    rx_bytes: int
    tx_bytes: int
    handshake: float
    keepalive_s: int
    has_way: bool = True


class Silence:
    """Takes readings and says whether the peer is silent."""

    def __init__(self) -> None:
        self._mark: Heard | None = None  # when something was received last, or watching began
        self._last: Heard | None = None
        self._unanswered_s: float | None = None
        self._lost_way_s: float | None = None
        self._session_s: float | None = None  # when the last handshake was seen first

    def note(self, heard: Heard) -> bool:
        """Take a reading; whether something was received since the one before."""
        last, self._last = self._last, heard
        self._note_way(heard)
        self._note_session(heard, last)
        slept = last is not None and heard.at_s - last.at_s > _GAP_S
        if self._mark is None or last is None or slept or heard.tx_bytes < last.tx_bytes:
            self._begin(heard)
            return False
        if heard.rx_bytes != last.rx_bytes:
            self._begin(heard)
            return heard.rx_bytes > last.rx_bytes
        if self._unanswered_s is None and self._has_sent_more(self._mark, heard):
            self._unanswered_s = heard.at_s
        return False

    def _note_way(self, heard: Heard) -> None:
        if heard.has_way:
            self._lost_way_s = None
        elif self._lost_way_s is None:
            self._lost_way_s = heard.at_s

    def _note_session(self, heard: Heard, last: Heard | None) -> None:
        if not heard.handshake:
            self._session_s = None
        elif last is None or heard.handshake != last.handshake:
            self._session_s = heard.at_s

    def _begin(self, heard: Heard) -> None:
        self._mark, self._unanswered_s = heard, None

    def _has_sent_more(self, mark: Heard, heard: Heard) -> bool:
        """Whether more than keepalives went out: those, one more, and what was underway."""
        sent = heard.tx_bytes - mark.tx_bytes
        if not heard.keepalive_s:
            return sent > 0
        keepalives = (heard.at_s - mark.at_s) / heard.keepalive_s + 1
        return sent > keepalives * _KEEPALIVE_BYTES

    def is_over(self) -> bool:
        """Whether the patience with the peer is over, by the last reading."""
        last, mark = self._last, self._mark
        if last is None or mark is None:
            return False
        if self._lost_way_s is not None and last.at_s - self._lost_way_s >= NO_WAY_PATIENCE_S:
            return True
        began_s = self._session_s
        has_session = began_s is not None and last.at_s - began_s <= SESSION_S
        patience_s = PATIENCE_S if has_session else FIRST_PATIENCE_S
        unanswered = self._unanswered_s is not None and (
            last.at_s - self._unanswered_s >= patience_s
        )
        is_kept_alive = last.keepalive_s > 0 and last.at_s - mark.at_s >= patience_s
        return unanswered or (is_kept_alive and not has_session)


@dataclass
class Search:
    """When to try another address of a silent peer, and when to look its name up for that.

    Each address gets its time, a longer one as the search goes on. A look-up goes out in clear, so
    the pauses between two double, up to a quarter of an hour.
    """

    _tries: int = 0
    _tried_s: float | None = None
    _look_ups: int = 0
    _looked_up_s: float | None = None

    def is_due(self, now_s: float) -> bool:
        """Whether to try another address now."""
        doubled = max(self._tries - _QUICK_TRIES, 0)
        pause_s = min(FIRST_PATIENCE_S * 2 ** min(doubled, 8), _LONGEST_TRY_S)
        return self._tried_s is None or now_s - self._tried_s >= pause_s

    def may_look_up(self, now_s: float) -> bool:
        """Whether to look the name up for that."""
        pause_s = min(_FIRST_PAUSE_S * 2 ** min(self._look_ups, 16), _LONGEST_PAUSE_S)
        return self._looked_up_s is None or now_s - self._looked_up_s >= pause_s

    def note_try(self, now_s: float, *, looked_up: bool) -> None:
        """Another address is tried from now on."""
        self._tries, self._tried_s = self._tries + 1, now_s
        if looked_up:
            self._looked_up_s, self._look_ups = now_s, self._look_ups + 1
