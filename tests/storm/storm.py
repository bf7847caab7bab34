"""Random faults under load: what leaves the node meanwhile, and how long it takes to heal.

    python -m tests.storm.storm --seed 1 --faults 100        or: make storm SEED=1 FAULTS=100

See docs/storm.md. Ends with 1 when something left the node that may not, when something was not
healed, or when healing took longer than it may.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import time
from typing import TYPE_CHECKING

from privacy_router.lab import stage

from . import node
from .faults import every_fault
from .load import KEPT
from .outcome import Healing, Limits, Outcome, show
from .parts import differences
from .session import Session
from .shell import ShellError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .faults import Fault

_ROW_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TURN_S = 0.04
_BEFORE_S = 0.3  # a gap may have begun with the last request that was answered before the fault
_TWO_AT_ONCE = 0.15
_EVIDENCE_LINES = 24


def deck(faults: Sequence[Fault], rng: random.Random) -> Iterator[tuple[Fault, ...]]:
    """All faults in a random order, again and again; now and then two at once."""
    while True:
        shuffled = list(faults)
        rng.shuffle(shuffled)
        while shuffled:
            drawn = [shuffled.pop()]
            if (
                shuffled
                and rng.random() < _TWO_AT_ONCE
                and not (drawn[0].undo or shuffled[-1].undo)
            ):
                drawn.append(shuffled.pop())
            yield tuple(drawn)


def make(session: Session, faults: tuple[Fault, ...], patience_s: float) -> Healing:
    """Make one fault, or two at once, and wait until the node is as it was and traffic flows."""
    session.ears.label = " + ".join(fault.name for fault in faults)
    lines, starts = node.log_lines(session.lab), session.supervisor.starts
    began = time.monotonic()
    said = [_complaint(session.shell(fault.host).run(fault.script)) for fault in faults]
    broke = _hold(session, faults)
    counted_from = time.monotonic() if any(f.hold_s for f in faults) else began
    said += [_undo(session, fault) for fault in faults if fault.undo or fault.restart_vps]
    left, late, back_at = _wait(session, faults, counted_from + patience_s)
    ended = max(back_at, session.load.last_end(began - _BEFORE_S, KEPT))
    expected = any(fault.group == "controller" for fault in faults)
    return Healing(
        names=tuple(fault.name for fault in faults),
        groups=tuple(fault.group for fault in faults),
        heal_s=None if left or late else round(max(0.0, ended - counted_from), 3),
        left=left[:_EVIDENCE_LINES],
        late=tuple(late),
        broke=broke,
        said=tuple(text for text in said if text),
        log_lines=max(0, node.log_lines(session.lab) - lines),
        controller_ended=session.supervisor.starts > starts and not expected,
        evidence=_evidence(session) if left or late else (),
    )


def _complaint(text: str) -> str:
    """What a fault's commands printed, without the names of the rows that they made."""
    lines = [line for line in text.splitlines() if not _ROW_NAME.fullmatch(line)]
    return "\n".join(lines).strip()


def _hold(session: Session, faults: tuple[Fault, ...]) -> tuple[str, ...]:
    """Wait as long as the outage lasts; what changed meanwhile that may not."""
    until = time.monotonic() + max(fault.hold_s for fault in faults)
    held = tuple(part for fault in faults for part in fault.held)
    broke: dict[str, None] = {}
    while time.monotonic() < until:
        if held:
            for part, text in session.altered(held).items():
                before = f"## {part}\n{session.baseline[part]}"
                broke |= dict.fromkeys(differences(before, f"## {part}\n{text}"))
        time.sleep(_TURN_S)
    return tuple(broke)[:_EVIDENCE_LINES]


def _undo(session: Session, fault: Fault) -> str:
    if fault.restart_vps:
        stage.start_vps(session.lab)
    return session.shell(fault.host).run(fault.undo).strip() if fault.undo else ""


def _wait(
    session: Session, faults: tuple[Fault, ...], deadline: float
) -> tuple[tuple[str, ...], tuple[str, ...], float]:
    """Until the node is as it was and traffic flows: what is different still, which traffic does
    not flow, and when all was as it was."""
    parts = tuple(dict.fromkeys(part for fault in faults for part in fault.parts))
    while True:
        left = _left(session, parts)
        back_at = time.monotonic()
        left = left or _left(session, None)
        if not left:
            late = session.late(back_at, max(0.5, min(1.5, deadline - back_at)))
            if not late or time.monotonic() > deadline:
                return (), tuple(late), back_at
        elif time.monotonic() > deadline:
            return left, (), back_at
        time.sleep(_TURN_S)


def _left(session: Session, parts: tuple[str, ...] | None) -> tuple[str, ...]:
    """What is different from the start, in words; of all parts where none are named."""
    try:
        controllers = session.supervise()
        altered = session.altered() if parts is None else session.altered(parts)
    except ShellError as error:
        return (f"the node cannot be read: {error}",)
    found = [] if controllers else ["no controller runs"]
    for part, text in altered.items():
        found += differences(f"## {part}\n{session.baseline[part]}", f"## {part}\n{text}")
    return tuple(found)


def _evidence(session: Session) -> tuple[str, ...]:
    lab = session.lab
    plan = node.plan(lab).splitlines()[:_EVIDENCE_LINES]
    return (*plan, "— log —", *node.log_tail(lab), *session.supervisor.said[-2:])


def storm(
    name: str,
    outcome: Outcome,
    drawn: Iterator[tuple[Fault, ...]],
    *,
    faults: int,
    seconds: float,
    patience_s: float,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Make that many faults, or as many as fit; a lab that does not heal is built anew."""
    ends_at = time.monotonic() + seconds
    while outcome.faults < faults and time.monotonic() < ends_at:
        with Session(name) as session:
            try:
                while outcome.faults < faults and time.monotonic() < ends_at:
                    healing = make(session, next(drawn), patience_s)
                    outcome.add(healing)
                    say(healing.line(outcome.faults, session.ears.tally))
                    if healing.heal_s is None:
                        say("     not healed: the lab is built anew")
                        break
            except ShellError as error:
                say(f"     {error}: the lab is built anew")
                outcome.lost += 1
            finally:
                outcome.close_session(session)
        outcome.frames_lost += session.ears.lost


def main() -> int:
    """Read the arguments, storm, tell."""
    options = _arguments()
    chosen = [
        fault
        for fault in every_fault()
        if not options.only or any(o in (fault.group, fault.name) for o in options.only)
    ]
    if options.list or not chosen:
        print("\n".join(f"{fault.group:11} {fault.name}" for fault in chosen or every_fault()))
        return 0 if options.list else 2
    outcome = Outcome(options.seed, Limits(options.p99, options.max, judged=not options.lenient))

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    # whoever ends it by a time limit finds the lab taken down as well
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    say(f"seed {options.seed}, {len(chosen)} faults to choose from")
    try:
        storm(
            options.name,
            outcome,
            deck(chosen, random.Random(options.seed)),
            faults=options.faults,
            seconds=options.seconds,
            patience_s=options.patience,
            say=say,
        )
    except KeyboardInterrupt:
        say("interrupted: this is what there is")
    print(json.dumps(outcome.as_dict(), indent=1) if options.json else show(outcome))
    return 1 if outcome.failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.storm.storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=7200.0, help="end after so long")
    parser.add_argument("--only", action="append", metavar="KIND", help="a group or a fault's name")
    parser.add_argument("--list", action="store_true", help="the faults, by group")
    parser.add_argument("--name", default=f"storm-{os.getpid()}", help="of the lab")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON, on stdout")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds until `never healed`")
    parser.add_argument("--p99", type=float, default=3.0, help="limit of the healing, seconds")
    parser.add_argument("--max", type=float, default=10.0, help="limit of the healing, seconds")
    parser.add_argument("--lenient", action="store_true", help="report times, do not judge them")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
