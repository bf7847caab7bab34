"""Change the chain of a running node again and again under load, and count what leaves it in clear.

    python -m tests.storm.changes --seed 1 --changes 200

Every change is a random one of hops, levels and addresses; see docs/storm.md. Ends with 1 when a
packet was seen that may not be there, or a change did not come into force.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from privacy_router.lab import stage
from privacy_router.lab.check import new_token

from . import node
from .figures import spread, table, verdict
from .judge import Verdict, allowed_by, rules_for
from .load import KEPT
from .variants import CHAINS, KNOBS, Variants, pair_of
from .watch import Ears, Load, WatchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.lab.stage import Lab

    from .variants import Hops, Knob, Variant

APPLY_PATIENCE_S = 15.0
TRAFFIC_PATIENCE_S = 6.0
OUTAGE_P99_S = 1.0
_WARM_S = 10.0
_GRACE_S = 0.3  # what was captured before the new state was settled has been judged by then


@dataclass(frozen=True)
class Change:
    """One change and what came of it. `late` are the kinds of traffic that did not work again,
    with the age of their last answer; `broken` the kept connections that ended."""

    number: int
    pair: str
    changed: tuple[str, ...]
    applied_s: float | None
    outages_s: dict[str, float]
    late: dict[str, float]
    broken: tuple[str, ...]
    left: str = ""
    log: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What a run found; `verdicts` counts frames by change and by what was wrong with them."""

    seed: int
    changes: list[Change] = field(default_factory=list)
    verdicts: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    frames_lost: int = 0
    payload_seen: int = 0

    def count(self, what: Verdict) -> int:
        """How many frames of that verdict."""
        return sum(counts.get(what.value, 0) for counts in self.verdicts.values())

    @property
    def failures(self) -> list[str]:
        """What must not be, in words."""
        found = [f"{n} packets {what}" for what in Verdict if (n := self.count(what))]
        stuck = sum(change.applied_s is None for change in self.changes)
        late = sum(bool(change.late) for change in self.changes)
        found += [f"{stuck} changes were not applied"] if stuck else []
        found += [f"after {late} changes not all traffic worked again"] if late else []
        found += [f"{self.frames_lost} frames were not captured"] if self.frames_lost else []
        return found if self.payload_seen else [*found, "the captures saw no payload at all"]

    @property
    def slow(self) -> list[str]:
        """Which traffic was interrupted for longer than it may."""
        return [
            f"{kind}: outage p99 {figures['p99']:.2f} s, at most {OUTAGE_P99_S:g} s"
            for kind, figures in self.outages().items()
            if kind not in KEPT and figures["p99"] > OUTAGE_P99_S
        ]

    def outages(self) -> dict[str, dict[str, float]]:
        """The spread of the outages by kind of traffic, in seconds."""
        kinds = sorted({kind for change in self.changes for kind in change.outages_s})
        return {
            kind: spread([change.outages_s.get(kind, 0.0) for change in self.changes])
            for kind in kinds
        }

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "seed": self.seed,
            "failures": self.failures,
            "slow": self.slow,
            **{what.name.lower(): self.count(what) for what in Verdict},
            "outages_s": self.outages(),
            "by_label": self.verdicts,
            "examples": self.examples,
            "changes": [asdict(change) for change in self.changes],
        }


def run(
    lab: Lab,
    seed: int,
    changes: int,
    seconds: float,
    knobs: tuple[Knob, ...] = KNOBS,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Change the chain that often, or for so long; Ctrl-C ends it and keeps what was found."""
    outcome = Outcome(seed)
    token, ends_at = new_token(), time.monotonic() + seconds
    variants = Variants(node.document_of(lab), random.Random(seed), knobs)
    with Ears(lab, rules_for(lab.config, token)) as ears, Load(lab, token) as load:
        if late := load.wait(time.monotonic(), _WARM_S):
            raise WatchError(f"before the first change there is no {', '.join(late)}")
        before = CHAINS[0]
        try:
            for number, variant in zip(range(1, changes + 1), variants, strict=False):
                if time.monotonic() > ends_at:
                    break
                change = _make(lab, ears, load, number, before, variant)
                outcome.changes.append(change)
                before = variant.hops
                say(_line(change, ears))
        except KeyboardInterrupt:
            say("interrupted: this is what there is")
    _collect(outcome, ears)
    return outcome


def _make(lab: Lab, ears: Ears, load: Load, number: int, before: Hops, variant: Variant) -> Change:
    pair, new = pair_of(before, variant.hops), allowed_by(variant.config)
    settled = ears.rules
    ears.label = f"{number} {pair}"
    ears.rules = settled.allowing(settled.allowed | new)
    started = time.monotonic()
    node.hand_over(lab, variant.document)
    applied_at, left = node.wait_until_applied(lab, APPLY_PATIENCE_S)
    late = load.wait(applied_at or time.monotonic(), TRAFFIC_PATIENCE_S)
    ended = time.monotonic()
    if applied_at is not None:
        load.wait(applied_at + _GRACE_S, 2 * _GRACE_S)
        ears.rules = settled.allowing(new)
    trouble = bool(late) or applied_at is None
    return Change(
        number,
        pair,
        variant.changed,
        None if applied_at is None else round(applied_at - started, 2),
        {kind: round(s, 3) for kind, s in load.outages(started, ended).items()},
        {kind: round(ended - t, 1) for kind, t in late.items()},
        tuple(f"{b['broken']} {b['why']}" for b in load.broken if b["t"] >= started),
        left,
        tuple(node.log_tail(lab)) if trouble else (),
    )


def _collect(outcome: Outcome, ears: Ears) -> None:
    tally = ears.tally
    outcome.verdicts = {
        label: {str(what.value): n for what, n in counts.items()}
        for label, counts in tally.verdicts.items()
    }
    outcome.examples = [str(sight) for sight in tally.sights]
    outcome.frames_lost = ears.lost
    outcome.payload_seen = tally.payload["web-vps"]


def _line(change: Change, ears: Ears) -> str:
    longest = max(
        ((s, kind) for kind, s in change.outages_s.items() if kind not in KEPT), default=(0.0, "-")
    )
    counts = ears.tally.verdicts.get(f"{change.number} {change.pair}", Counter())
    found = ", ".join(f"{n} {what}" for what, n in counts.items())
    applied = "NOT APPLIED" if change.applied_s is None else f"applied in {change.applied_s:.1f} s"
    late = f", no {' '.join(change.late)}" if change.late else ""
    text = f"{change.number:4} {change.pair:14} {applied}, outage {longest[0]:.2f} s ({longest[1]})"
    return f"{text}{late}{'; ' + found.upper() if found else ''}; {', '.join(change.changed)}"


def show(outcome: Outcome) -> str:
    """The outcome for people."""
    pairs = sorted({change.pair for change in outcome.changes})
    rows = []
    for pair in pairs:
        of_pair = [change for change in outcome.changes if change.pair == pair]
        labels = {f"{change.number} {pair}" for change in of_pair}
        counts = [
            sum(outcome.verdicts.get(label, {}).get(what.value, 0) for label in labels)
            for what in Verdict
        ]
        late = sum(bool(change.late) for change in of_pair)
        rows.append((pair, len(of_pair), *counts, late))
    outages = [(kind, *figures.values()) for kind, figures in outcome.outages().items()]
    kept = sum(not any(KEPT[0] in b for b in change.broken) for change in outcome.changes)
    parts = [
        f"seed {outcome.seed}: {len(outcome.changes)} changes",
        table(("change", "times", *(what.value for what in Verdict), "not all works"), rows),
        table(("outage (s) of", "changes", "p50", "p99", "max"), outages),
        f"connections that were kept survived {kept} of {len(outcome.changes)} changes",
        *outcome.examples[:20],
        *(verdict(text, good=False) for text in (*outcome.failures, *outcome.slow)),
    ]
    if not outcome.failures:
        parts.append(verdict("nothing left the node that may not", good=True))
    return "\n\n".join(parts)


def main() -> int:
    """Read the arguments, build a lab, change, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm.changes", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3600.0, help="end after so long")
    parser.add_argument("--name", default=f"changes-{os.getpid()}", help="of the lab")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON, on stdout")
    parser.add_argument("--hops-only", action="store_true", help="change nothing but the hops")
    parser.add_argument("--lenient", action="store_true", help="report times, do not judge them")
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    # whoever ends it by a time limit finds the lab taken down as well
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    knobs = () if options.hops_only else KNOBS
    say(f"seed {options.seed}")
    try:
        lab = stage.up(options.name, say=say)
        outcome = run(lab, options.seed, options.changes, options.seconds, knobs, say)
    finally:
        stage.down(options.name)
    print(json.dumps(outcome.as_dict(), indent=1) if options.json else show(outcome))
    return 1 if outcome.failures or (outcome.slow and not options.lenient) else 0


if __name__ == "__main__":
    sys.exit(main())
