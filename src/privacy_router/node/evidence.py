"""What shows that the chain passes packets, and which hop does not (pure).

Two things are proof. Packets of clients that were answered: the answer came from outside *and*
reached the gateway. And a question of our own, through the chain, that was answered. Nothing else
is: a hop whose last proof is older than 5 s is `quiet`, even if its configuration is right.

Counters alone do not condemn the VPS: clients also send what no peer answers. When their packets go
in and nothing comes back, a question decides, and its failure names the hop. Only a hop that takes
packets and hands on none at all is named by its counters.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Final

from privacy_router.chain.stations import Task
from privacy_router.node.counted import Counted, Tap, has_session, tunnel_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.chain.stations import Role
    from privacy_router.node.counted import Sample

FRESH_S: Final = 5.0
"""How long a proof lasts."""
SESSION_S: Final = 180.0
"""WireGuard rejects a session after that (REJECT_AFTER_TIME); with keepalives it is renewed by
then, so that an older handshake means that the peer is not there."""
UNANSWERED_S: Final = 1.0
_WINDOW_S: Final = 1.4
_HISTORY_S: Final = 4.0
_GAP_S: Final = 3.0
_SEVERAL: Final = 2
_PAUSE_AFTER_ANSWER_S: Final = 5.0
_PAUSE_STIRRED_S: Final = 4.0  # with its jitter less than a proof lasts
_PAUSE_AFTER_FAILURE_S: Final = 1.0
_PAUSE_WAITED_FOR_S: Final = 3.0
_PAUSE_UNANSWERED_S: Final = 60.0
_SHORTEST_PAUSE_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 300.0


class State(StrEnum):
    """What a hop does. `quiet`: nothing says that it passes packets now, nor that it does not."""

    UP = "up"
    QUIET = "quiet"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True)
class Answer:
    """What came of a question through the chain: `hop` is the one that failed, if any did."""

    at_s: float
    hop: str | None = None
    reason: str = ""
    proven: tuple[str, ...] = ()


@dataclass(frozen=True)
class Health:
    """A hop's state, why, since when (monotonic), and what was seen; bytes a second that its bridge
    port took in and gave out of late."""

    state: State
    reason: str
    since_s: float
    evidence: str
    rx_rate: float = 0.0
    tx_rate: float = 0.0


@dataclass
class _Waiting:
    """Packets of clients since the last one that was answered: readings that counted some."""

    since_s: float
    last_s: float
    readings: int = 1


@dataclass
class Evidence:
    """Takes samples and answers of one chain, says how each hop is and when to ask.

    `roles` are those of the chain, in order; `keepalive` is whether WARP's session is kept alive;
    `jitter` gives a number from 0 to 1.
    """

    roles: tuple[Role, ...]
    keepalive: bool
    jitter: Callable[[], float]
    _samples: deque[Sample] = field(default_factory=deque)
    _proofs: dict[str, tuple[float, str]] = field(default_factory=dict)
    _told: dict[str, tuple[State, float]] = field(default_factory=dict)
    _waiting: _Waiting | None = None
    _answer: Answer | None = None
    _asked_s: float | None = None
    _stirred_s: float | None = None
    _pause_s: float = 0.0

    @cached_property
    def hops(self) -> tuple[str, ...]:
        """The hops that have a state: those of the chain but the host itself."""
        return tuple(role.name for role in self.roles if not role.in_host)

    # --- what is seen ----------------------------------------------------------------------------

    def note(self, sample: Sample) -> None:
        """Take a reading, each newer than the one before."""
        before = self._samples[-1] if self._samples else None
        if before is not None and sample.at_s - before.at_s > _GAP_S:
            self._samples.clear()  # the machine slept: what was counted in between has no time
            self._waiting = before = None
        self._samples.append(sample)
        while sample.at_s - self._samples[0].at_s > _HISTORY_S:
            self._samples.popleft()
        if before is not None:
            self._weigh(before, sample)

    def _weigh(self, before: Sample, now: Sample) -> None:
        if now.client_seen - before.client_seen > SESSION_S:
            self.stir(now.at_s)  # a client came back: it waits for the chain
        if self._between(before, now).clients.rx_packets:
            self._note_waiting(now.at_s)
        elif self._waiting is not None and now.at_s - self._waiting.last_s > _GAP_S:
            self._waiting = None
        counted = self._counted(UNANSWERED_S / 2)
        if counted is not None and counted.returned:
            self._waiting = None
            for role in self.roles:
                if role.task is not Task.ENTRANCE or counted.clients.tx_packets:
                    self._prove(role.name, now.at_s, "clients' packets were answered")

    def _note_waiting(self, now_s: float) -> None:
        if self._waiting is None:
            self._waiting = _Waiting(now_s, now_s)
        else:
            self._waiting.last_s = now_s
            self._waiting.readings += 1

    def note_answer(self, answer: Answer) -> None:
        """Take what came of a question."""
        if answer.hop is not None and self._proven_s > answer.at_s:
            return  # clients' packets were answered meanwhile: it failed of what is past
        goes_on = self._answer is not None and self._has_failed == (answer.hop is not None)
        first_s = _PAUSE_AFTER_ANSWER_S if answer.hop is None else _PAUSE_AFTER_FAILURE_S
        pause_s = max(self._pause_s * 2, first_s) if goes_on else first_s
        self._pause_s = min(pause_s, _LONGEST_PAUSE_S)
        self._answer = answer
        for hop in answer.proven:
            self._prove(hop, answer.at_s, "a question of the node through it was answered")

    def _prove(self, hop: str, at_s: float, words: str) -> None:
        if hop not in self._proofs or self._proofs[hop][0] <= at_s:
            self._proofs[hop] = (at_s, words)
        if hop == self.hops[-1] and self._answer is not None and self._answer.at_s < at_s:
            self._answer = None  # what it said is past
            self._pause_s = 0.0

    def _counted(self, seconds: float) -> Counted | None:
        """What was counted in the last so many seconds, or somewhat more."""
        last = self._samples[-1] if self._samples else None
        for sample in reversed(self._samples):
            if last is not None and last.at_s - sample.at_s >= seconds:
                return self._between(sample, last)
        return None

    def _between(self, first: Sample, last: Sample) -> Counted:
        return Counted(first, last, self.roles)

    def is_busy(self, before: Sample, now: Sample) -> bool:
        """Whether clients sent, or were sent something, between these readings."""
        return self._between(before, now).clients != Tap()

    # --- when to ask -----------------------------------------------------------------------------

    def stir(self, now_s: float) -> None:
        """Something waits for the chain: the node was changed, a caller wants to know."""
        self._stirred_s = now_s

    def is_waited_for(self, now_s: float) -> bool:
        """Whether clients send and get no answer."""
        waiting = self._waiting
        return (
            waiting is not None
            and waiting.readings >= _SEVERAL
            and now_s - waiting.since_s >= UNANSWERED_S
        )

    def is_question_due(self, now_s: float) -> bool:
        """Whether to ask now: something waits for the chain, nothing proves it, and the pause since
        the last question is over."""
        waited_for = self.is_waited_for(now_s)
        if not self._samples or (self.is_proven(now_s) and not waited_for):
            return False
        if not (waited_for or self._is_stirred or self._has_failed):
            return False
        return self._asked_s is None or now_s - self._asked_s >= self._pause(waited_for)

    def _pause(self, waited_for: bool) -> float:
        if self._has_failed:
            most_s = _PAUSE_WAITED_FOR_S if waited_for or self._is_stirred else _LONGEST_PAUSE_S
        else:
            most_s = _PAUSE_STIRRED_S if self._is_stirred else _PAUSE_UNANSWERED_S
        return max(min(self._pause_s, most_s), _SHORTEST_PAUSE_S) * (0.8 + 0.4 * self.jitter())

    def note_question(self, now_s: float) -> None:
        """A question is asked now."""
        self._asked_s = now_s
        self._stirred_s = None

    def is_proven(self, now_s: float) -> bool:
        """Whether the whole chain has a proof that is fresh."""
        return self._is_fresh(self.hops[-1], now_s)

    @property
    def _proven_s(self) -> float:
        proof = self._proofs.get(self.hops[-1])
        return float("-inf") if proof is None else proof[0]

    @property
    def _is_stirred(self) -> bool:
        return self._stirred_s is not None and self._proven_s <= self._stirred_s

    @property
    def _has_failed(self) -> bool:
        return self._answer is not None and self._answer.hop is not None

    # --- what it says ----------------------------------------------------------------------------

    def verdict(self, now_s: float) -> dict[str, Health]:
        """How each hop is."""
        fault = self._fault()
        return {
            role.name: self._health(role, fault, now_s) for role in self.roles if not role.in_host
        }

    def _health(self, role: Role, fault: tuple[str, str] | None, now_s: float) -> Health:
        hop = role.name
        state, reason = self._state(hop, fault, now_s)
        known = self._told.get(hop)
        if known is None or known[0] != state:
            known = self._told[hop] = (state, now_s)
        counted = self._counted(_WINDOW_S)
        rates = (0.0, 0.0) if counted is None else counted.rates(role)
        return Health(state, reason, known[1], self._seen(role, now_s), *rates)

    def _state(self, hop: str, fault: tuple[str, str] | None, now_s: float) -> tuple[State, str]:
        if fault is not None and fault[0] == hop:
            return State.DOWN, fault[1]
        if self._is_fresh(hop, now_s):
            return State.UP, ""
        if fault is not None:
            return State.QUIET, f"nothing passes: see {fault[0]}"
        if hop == self.hops[-1] and self.is_waited_for(now_s) and self._answer is None:
            return State.DEGRADED, "clients' packets get no answer"
        proof = self._proofs.get(hop)
        if proof is None:
            return State.QUIET, "nothing has passed yet"
        return State.QUIET, "nothing passes at the moment"

    def _is_fresh(self, hop: str, now_s: float) -> bool:
        proof = self._proofs.get(hop)
        return proof is not None and now_s - proof[0] <= FRESH_S

    def _fault(self) -> tuple[str, str] | None:
        """The hop that does not pass packets and why; the first on the way where several are."""
        if not self._samples:
            return None
        counted = self._counted(_WINDOW_S)
        found = counted and counted.stuck()
        return found or self._session_fault() or self._answer_fault()

    def is_counted(self, now_s: float) -> bool:
        """Whether a fault is of what is counted now, and not only of a question that failed."""
        counted = self._counted(_WINDOW_S)
        stuck = counted is not None and counted.stuck() is not None
        return stuck or self.is_waited_for(now_s) or self._session_fault() is not None

    def _session_fault(self) -> tuple[str, str] | None:
        role = next((one for one in self.roles if has_session(one)), None)
        if role is None:
            return None
        age_s = self._samples[-1].session_age_s
        if age_s is None:
            return (role.name, "no handshake with Cloudflare")
        counted = self._counted(_WINDOW_S)
        in_use = counted is not None and counted.tap(tunnel_of(role)).tx_packets > 0
        if age_s > SESSION_S and (self.keepalive or in_use):
            return (role.name, "no handshake with Cloudflare for three minutes")
        return None

    def _answer_fault(self) -> tuple[str, str] | None:
        answer = self._answer
        if answer is None or answer.hop is None:
            return None
        return (answer.hop, answer.reason)

    def _seen(self, role: Role, now_s: float) -> str:
        hop, parts = role.name, []
        counted = self._counted(_WINDOW_S)
        if counted is not None:
            way_in, way_out = counted.through(role)
            parts.append(f"{way_in} packet(s) in, {way_out} out in {counted.seconds:.1f} s")
        if has_session(role) and self._samples and self._samples[-1].session_age_s is not None:
            parts.append(f"handshake {self._samples[-1].session_age_s:.0f} s ago")
        if hop in self._proofs:
            at_s, words = self._proofs[hop]
            parts.append(f"{words} {max(now_s - at_s, 0):.0f} s ago")
        return ", ".join(parts)
