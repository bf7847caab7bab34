"""Captures on every link of a lab, one thread for all; and the client's load, read as it runs."""

from __future__ import annotations

import json
import select
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from privacy_router.host.namespaces import run_in
from privacy_router.lab import capture, internet
from privacy_router.lab.frames import FrameError, decode_frame_untrusted

from .judge import Bench, Place

if TYPE_CHECKING:
    from privacy_router.lab.internet import Cable
    from privacy_router.lab.stage import Lab

    from .judge import Rules, Verdict

_EXAMPLES_A_LABEL = 4
_EXAMPLES = 400
_BATCH = 128
_TURN_S = 0.05
_LOAD = Path(__file__).with_name("load.py")


class WatchError(Exception):
    """The harness cannot see what it is there to see."""


@dataclass(frozen=True)
class Sight:
    """A frame against which something is to be said."""

    t: float
    label: str
    link: str
    what: str
    verdicts: frozenset[Verdict]

    def __str__(self) -> str:
        return f"{self.label}: {self.link}: {self.what} {', '.join(sorted(self.verdicts))}"


class _Ear:
    """An end of a link that is listened at."""

    def __init__(self, cable: Cable, lab: Lab) -> None:
        self.bench = Bench(Place.of(cable))
        device = cable.device(cable.first)
        self.socket = run_in(lab[cable.first].network, lambda: capture._open(device))
        self.socket.setblocking(False)
        self._mac = bytes(self.socket.getsockname()[4])

    def from_far_end(self, frame: bytes) -> bool:
        return frame[6:12] != self._mac

    def lost(self) -> int:
        """Frames that the kernel had no room for since the last question; packet(7)."""
        statistics = self.socket.getsockopt(capture._SOL_PACKET, capture._PACKET_STATISTICS, 8)
        return int(struct.unpack("II", statistics)[1])


@dataclass
class Tally:
    """What was counted: frames by link, verdicts by label, and some of them in words."""

    frames: Counter[str] = field(default_factory=Counter)
    payload: Counter[str] = field(default_factory=Counter)
    verdicts: dict[str, Counter[Verdict]] = field(default_factory=dict)
    sights: list[Sight] = field(default_factory=list)

    def total(self, verdict: Verdict) -> int:
        """How many frames of that verdict."""
        return sum(counts[verdict] for counts in self.verdicts.values())

    def note(self, sight: Sight) -> None:
        """Count a frame against which something is to be said."""
        counts = self.verdicts.setdefault(sight.label, Counter())
        fresh = max((counts[v] for v in sight.verdicts), default=0) < _EXAMPLES_A_LABEL
        counts.update(sight.verdicts)
        if fresh and len(self.sights) < _EXAMPLES:
            self.sights.append(sight)


class Ears:
    """Listens on every link. `rules` and `label` may be set at any time, from any thread."""

    def __init__(self, lab: Lab, rules: Rules) -> None:
        self.rules = rules
        self.label = "start"
        self.tally = Tally()
        self.lost = 0
        self._failure: BaseException | None = None
        self._ending = threading.Event()
        self._ears = [_Ear(cable, lab) for cable in internet.CABLES]
        self._thread = threading.Thread(target=self._listen, name="ears", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for ear in self._ears:
            self.lost += ear.lost()
            ear.socket.close()
        if self._failure is not None:
            raise WatchError(f"the captures broke: {self._failure}") from self._failure

    def _listen(self) -> None:
        try:
            poller = select.poll()
            by_number = {ear.socket.fileno(): ear for ear in self._ears}
            for number in by_number:
                poller.register(number, select.POLLIN)
            while not self._ending.is_set():
                for number, _ in poller.poll(_TURN_S * 1000):
                    self._drain(by_number[number])
        except Exception as error:  # handed to the thread that stops the captures
            self._failure = error

    def _drain(self, ear: _Ear) -> None:
        for _ in range(_BATCH):
            try:
                frame = ear.socket.recv(capture._FRAME_LIMIT_BYTES)
            except BlockingIOError:
                return
            self._take(ear, frame)

    def _take(self, ear: _Ear, frame: bytes) -> None:
        place, rules = ear.bench.place, self.rules
        self.tally.frames[place.name] += 1
        self.tally.payload[place.name] += rules.token in frame
        found = ear.bench.take(frame, rules, from_node=place.uplink and ear.from_far_end(frame))
        if found:
            sight = Sight(time.monotonic(), self.label, place.name, in_words(frame), found)
            self.tally.note(sight)


def in_words(frame: bytes) -> str:
    """A frame in a few words."""
    with suppress(FrameError):
        packet = decode_frame_untrusted(frame)
        if packet is not None:
            return str(packet)
    return f"a frame {frame[:48].hex()}"


@dataclass(frozen=True)
class Gap:
    """A time in which no request of that kind was answered."""

    kind: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long."""
        return self.end - self.start


class Load:
    """The client's load, while it runs."""

    def __init__(self, lab: Lab, token: str) -> None:
        self.gaps: list[Gap] = []
        self.broken: list[dict[str, Any]] = []
        self._ok: dict[str, float] = {}
        self._changed = threading.Condition()
        self._process = lab["client"].popen(
            (sys.executable, "-P", str(_LOAD), token), stdout=subprocess.PIPE
        )
        self._thread = threading.Thread(target=self._read, name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        for text in self._process.stdout or ():
            with suppress(ValueError):
                self._note(json.loads(text))

    def _note(self, line: dict[str, Any]) -> None:
        with self._changed:
            if "ok" in line:
                self._ok = line["ok"]
            elif "gap" in line:
                self.gaps.append(Gap(line["gap"], line["from"], line["to"]))
            elif "broken" in line:
                self.broken.append(line)
            self._changed.notify_all()

    def kinds(self) -> list[str]:
        """The kinds of traffic that there are."""
        return sorted(self._ok)

    def wait(
        self, since: float, within_s: float, without: tuple[str, ...] = ()
    ) -> dict[str, float]:
        """Wait until each kind but those had a request answered that was sent after `since`.

        Returns those that had none within that time, with when the last was sent. Raises
        WatchError when the load itself has ended.
        """
        deadline = time.monotonic() + within_s
        with self._changed:
            while True:
                late = {k: t for k, t in self._ok.items() if t <= since and k not in without}
                if self._ok and not late:
                    return {}
                if self._process.poll() is not None:
                    raise WatchError("the client's load has ended")
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0:
                    return late
                self._changed.wait(min(remaining_s, 0.5))

    def last_end(self, start: float, without: tuple[str, ...] = ()) -> float:
        """When the last gap ended that began after `start`, of all kinds but those; `start` if
        there was none."""
        with self._changed:
            ends = [g.end for g in self.gaps if g.start >= start and g.kind not in without]
        return max(ends, default=start)

    def outages(self, start: float, end: float) -> dict[str, float]:
        """The longest time without an answer of each kind, of the gaps that begin in that time,
        in seconds; a gap that is open still counts up to now."""
        now = time.monotonic()
        with self._changed:
            still = [Gap(kind, t, now) for kind, t in self._ok.items() if now - t > 1.0]
            found: dict[str, float] = dict.fromkeys(self._ok, 0.0)
            for gap in (*self.gaps, *still):
                if start - 0.5 <= gap.start < end:
                    found[gap.kind] = max(found[gap.kind], gap.seconds)
        return found
