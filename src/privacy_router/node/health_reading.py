"""What a command finds out about the hops: what the controller tells, counters, a question."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from privacy_router.errors import FAILURES
from privacy_router.node.evidence import State
from privacy_router.node.health import Sampler, Told, as_row, evidence_of, read_told
from privacy_router.node.question import ask

if TYPE_CHECKING:
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.node.evidence import Answer
    from privacy_router.node.machine import NodeHost

NOT_UP: Final = Told(False, (), {})
_LOOK_S: Final = 1.5
_BAD: Final = (State.DOWN, State.DEGRADED)


def read_health(
    config: PrivacyRouterConfig, machine: NodeHost, pid: int | None, *, may_ask: bool
) -> Told:
    """What the controller `pid` found; where there is none, or it hangs, what the counters say in a
    moment. With `may_ask` the chain is asked, if nothing proves that it works, nor the contrary."""
    told = read_told(machine.paths.health, pid)
    if told is None:
        return _look(config, machine, pid, may_ask=may_ask)
    if may_ask and not told.proven and not (told.is_counted and _is_bad(told)):
        return _with_answer(told, _asked(config, machine, None))
    return told


def _is_bad(told: Told) -> bool:
    return any(row["state"] in _BAD for row in told.hops.values())


def fault_in(told: Told) -> tuple[str, str] | None:
    """The hop that does not pass packets, and why; None where none is known to fail."""
    down = (hop for hop, row in told.hops.items() if row["state"] == State.DOWN)
    hop = next(down, None)
    return None if hop is None else (hop, told.hops[hop]["reason"])


def _look(
    config: PrivacyRouterConfig, machine: NodeHost, pid: int | None, *, may_ask: bool
) -> Told:
    """Read the counters twice. Nothing is known of what was before."""
    silent = ["its controller does not answer"] if pid is not None else []
    evidence, sampler = evidence_of(config, machine.hops), Sampler(config, machine)
    try:
        evidence.note(sampler.read())
        time.sleep(_LOOK_S)
        evidence.note(sampler.read())
        if may_ask and not evidence.is_proven(time.monotonic()):
            evidence.note_answer(_asked(config, machine, sampler))
    except FAILURES as error:
        silent.append(f"the counters could not be read: {error}")
    now_s = time.monotonic()
    rows = {hop: as_row(health, now_s) for hop, health in evidence.verdict(now_s).items()}
    return Told(evidence.is_proven(now_s), tuple(silent), rows)


def _asked(config: PrivacyRouterConfig, machine: NodeHost, sampler: Sampler | None) -> Answer:
    note = (lambda: None) if sampler is None else sampler.note_packet
    return asyncio.run(ask(config, note, machine.hops))


def _with_answer(told: Told, answer: Answer) -> Told:
    """The controller found nothing out of late, and this is newer."""
    rows = {hop: dict(row) for hop, row in told.hops.items()}
    for hop in rows.keys() & set(answer.proven):
        proof = "a question through it was answered just now"
        rows[hop] |= {"state": str(State.UP), "reason": "", "since": time.time(), "evidence": proof}
    if answer.hop in rows:
        rows[answer.hop] |= {"state": str(State.DOWN), "reason": answer.reason}
    return Told(answer.hop is None, told.troubles, rows, told.is_counted)
