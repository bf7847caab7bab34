"""What a storm found, and whether that is good enough (pure)."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .figures import spread, table, verdict
from .judge import Verdict
from .shell import ShellError

if TYPE_CHECKING:
    from .session import Session
    from .watch import Tally

_PAYLOAD_LINK = "web-vps"


@dataclass(frozen=True)
class Limits:
    """How long healing may take, in seconds, and whether that is judged."""

    p99_s: float = 3.0
    max_s: float = 10.0
    judged: bool = True


@dataclass(frozen=True)
class Healing:
    """A fault, or two at once, and what came of it.

    `heal_s` is None where it never healed; then `left` is what is different still, `late` the
    traffic that does not flow, and `evidence` what the node says. `broke` is what changed though it
    had to be kept, `said` what the fault's own commands complained of.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    heal_s: float | None
    left: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    broke: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    log_lines: int = 0
    controller_ended: bool = False
    evidence: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The fault, or both."""
        return " + ".join(self.names)

    def line(self, number: int, tally: Tally) -> str:
        """For whoever watches."""
        healed = "NEVER HEALED" if self.heal_s is None else f"{self.heal_s:6.2f} s"
        counts = tally.verdicts.get(self.name, Counter())
        notes = [f"{n} {what}".upper() for what, n in counts.items()]
        notes += ["CONTROLLER ENDED"] if self.controller_ended else []
        notes += [f"broke: {self.broke[0]}"] if self.broke else []
        notes += [f"no {' '.join(self.late)}"] if self.late else []
        notes += [f"left: {self.left[0]}"] if self.left else []
        return f"{number:4} {healed} {self.name}{'; ' if notes else ''}{'; '.join(notes)}"


@dataclass
class Outcome:
    """Everything that was found, over all labs of one storm."""

    seed: int
    limits: Limits = field(default_factory=Limits)
    healings: list[Healing] = field(default_factory=list)
    verdicts: dict[str, Counter[Verdict]] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    payload_seen: int = 0
    frames_lost: int = 0
    lost: int = 0
    sizes: list[dict[str, dict[str, tuple[int, int]]]] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """How many faults were made."""
        return sum(len(healing.names) for healing in self.healings)

    def add(self, healing: Healing) -> None:
        """Note what came of a fault."""
        self.healings.append(healing)

    def close_session(self, session: Session) -> None:
        """Take over what a lab's captures have counted, before it ends."""
        self.add_tally(session.ears.tally)
        try:
            after = session.sizes()
        except ShellError:  # Ctrl-C ends the shells of a lab, too
            after = {}
        self.sizes.append({"before": session.sizes_before, "after": after})

    def add_tally(self, tally: Tally) -> None:
        """Take over what captures have counted."""
        for label, counts in tally.verdicts.items():
            self.verdicts.setdefault(label, Counter()).update(counts)
        self.examples += [str(sight) for sight in tally.sights]
        self.payload_seen += tally.payload[_PAYLOAD_LINK]

    def count(self, what: Verdict) -> int:
        """How many frames of that verdict."""
        return sum(counts[what] for counts in self.verdicts.values())

    @property
    def never(self) -> list[Healing]:
        """What did not heal."""
        return [healing for healing in self.healings if healing.heal_s is None]

    def times_of(self, group: str | None = None) -> list[float]:
        """How long healing took, in seconds, of a group or of all."""
        return [
            healing.heal_s
            for healing in self.healings
            if healing.heal_s is not None and (group is None or group in healing.groups)
        ]

    @property
    def failures(self) -> list[str]:
        """What is not good enough, in words."""
        found = [f"{n} packets {what}" for what in Verdict if (n := self.count(what))]
        broke = sum(bool(healing.broke) for healing in self.healings)
        ended = sum(healing.controller_ended for healing in self.healings)
        found += [f"{len(self.never)} faults never healed"] if self.never else []
        found += [f"{broke} faults changed what has to be kept"] if broke else []
        found += [f"the controller ended {ended} times by itself"] if ended else []
        found += [f"{self.lost} times the node could not be read"] if self.lost else []
        found += [f"{self.frames_lost} frames were not captured"] if self.frames_lost else []
        found += [] if self.payload_seen else ["the captures saw no payload at all"]
        return found + self._slow()

    def _slow(self) -> list[str]:
        all_times, limits = spread(self.times_of()), self.limits
        if not limits.judged:
            return []
        found = []
        if all_times["p99"] > limits.p99_s:
            found.append(f"heal p99 {all_times['p99']:.2f} s, at most {limits.p99_s:g} s")
        if all_times["max"] > limits.max_s:
            found.append(f"heal max {all_times['max']:.2f} s, at most {limits.max_s:g} s")
        return found

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        groups = sorted({group for healing in self.healings for group in healing.groups})
        return {
            "seed": self.seed,
            "faults": self.faults,
            "failures": self.failures,
            **{what.name.lower(): self.count(what) for what in Verdict},
            "heal_s": spread(self.times_of()),
            "heal_s_by_group": {group: spread(self.times_of(group)) for group in groups},
            "never": [healing.name for healing in self.never],
            "verdicts": {name: dict(counts) for name, counts in self.verdicts.items()},
            "examples": self.examples,
            "sizes": self.sizes,
            "log_lines": sum(healing.log_lines for healing in self.healings),
            "healings": [asdict(healing) for healing in self.healings],
        }


def show(outcome: Outcome) -> str:
    """The outcome for people."""
    groups = sorted({group for healing in outcome.healings for group in healing.groups})
    rows = []
    for group in groups:
        of_group = [healing for healing in outcome.healings if group in healing.groups]
        labels = {healing.name for healing in of_group}
        of_labels = [outcome.verdicts.get(label, Counter()) for label in labels]
        counts = [sum(found[verdict] for found in of_labels) for verdict in Verdict]
        never = sum(healing.heal_s is None for healing in of_group)
        figures = spread(outcome.times_of(group))
        rows.append((group, len(of_group), *list(figures.values())[1:], never, *counts))
    heads = ("kind", "faults", "heal p50", "p99", "max", "never", *(w.value for w in Verdict))
    total = spread(outcome.times_of())
    lines = sum(healing.log_lines for healing in outcome.healings)
    parts = [
        (
            f"seed {outcome.seed}: {outcome.faults} faults, heal p50 {total['p50']:.2f} s, "
            f"p99 {total['p99']:.2f} s, max {total['max']:.2f} s, "
            f"{lines / max(1, outcome.faults):.1f} log lines a fault"
        ),
        table(heads, rows),
        *_sizes(outcome),
        *(_report(healing) for healing in outcome.never),
        *(
            f"kept, and changed: {h.name}: {'; '.join(h.broke[:3])}"
            for h in outcome.healings
            if h.broke
        ),
        *outcome.examples[:20],
        *(verdict(text, good=False) for text in outcome.failures),
    ]
    if not outcome.failures:
        parts.append(verdict("nothing leaked, everything healed", good=True))
    return "\n\n".join(parts)


def _sizes(outcome: Outcome) -> list[str]:
    if not outcome.sizes:
        return []
    longest = outcome.sizes[-1]
    rows = [
        (
            name,
            kib,
            longest["after"].get(name, (0, 0))[0],
            fds,
            longest["after"].get(name, (0, 0))[1],
        )
        for name, (kib, fds) in longest["before"].items()
    ]
    heads = ("process (last lab)", "KiB before", "after", "descriptors before", "after")
    return [table(heads, rows)]


def _report(healing: Healing) -> str:
    lines = [f"never healed: {healing.name}"]
    lines += [f"    no {' '.join(healing.late)}"] if healing.late else []
    lines += [f"    {line}" for line in (*healing.left[:8], *healing.evidence[:16])]
    return "\n".join(lines)
