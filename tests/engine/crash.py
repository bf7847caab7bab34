"""Kill a run at any line, tear the end of its journal, and see what the next start makes of it.

    python -m tests.engine.crash FOLDER TRIALS SEED

Each trial forks: the child applies a document and is killed (SIGKILL) when it has executed a random
number of lines of the engine, the journal or the plugins; every tenth goes on to its end. The
parent then may tear the tail off the write-ahead log, anywhere behind the last transaction that was
committed, as a loss of power can; starts an engine on what is left; and looks whether the machine
is as before or as declared, and whether the journal says the same. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import random
import shutil
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from privacy_router.engine import engine as engine_module
from privacy_router.engine.document import Source
from privacy_router.engine.journal import Journal
from privacy_router.host.threads import MACHINE
from tests.engine.file_plugin import machine, make_engine, make_plugins

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

ENGINE = str(Path(engine_module.__file__).parent)
TRACED = (ENGINE, str(Path(__file__).with_name("file_plugin.py")))
WHOLE_EVERY = 10
BEFORE = {"one": {"a": {"text": "0"}}, "two": {"b": {"text": "0"}}, "three": {"c": {"text": "0"}}}
AFTER = {
    "one": {"a": {"text": "1"}, "n": {"text": "new"}},
    "two": {"b": None, "m": {"text": "new"}},
    "three": {"c": {"text": "1"}, "k": {"text": "new"}},
}


class Fuse:
    """Ends this process after so many lines, of all threads together: the count is one step of the
    interpreter, since a thread that is interrupted between reading and writing a number would undo
    what others counted meanwhile (on a busy machine hundreds of lines)."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._count = itertools.count(1)
        self.burnt = 0

    def set_off(self) -> None:
        threading.settrace(self._call)
        sys.settrace(self._call)

    def _call(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        return self._line if frame.f_code.co_filename.startswith(TRACED) else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
        if event == "line":
            self.burnt = next(self._count)
            if self.burnt == self._lines:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._line


class TellingJournal(Journal):
    """Tells how long the log was after each transaction that was committed."""

    pipe = -1

    def _tell(self) -> None:
        if self.pipe >= 0:
            size = wal_size(self._file._path.parents[1])
            os.write(self.pipe, size.to_bytes(8, "big"))

    def begin(self, *arguments: Any) -> Any:
        number = super().begin(*arguments)
        self._tell()
        return number

    def commit(self, *arguments: Any) -> None:
        super().commit(*arguments)
        self._tell()

    def undone(self, *arguments: Any) -> None:
        super().undone(*arguments)
        self._tell()

    def await_confirmation(self, *arguments: Any) -> None:
        super().await_confirmation(*arguments)
        self._tell()


@dataclass(frozen=True)
class Trial:
    lines: int
    fails: bool
    waits: bool
    torn: bool


CALM = Trial(-1, fails=False, waits=False, torn=False)


def any_trial(lines: int, rng: random.Random) -> Trial:
    fails, waits, torn = (rng.random() < share for share in (0.3, 0.3, 0.5))
    return Trial(rng.randint(1, lines + lines // 4), fails, waits, torn)


async def apply(root: Path, document: Any, trial: Trial) -> None:
    plugins = make_plugins(root)
    if trial.fails:
        plugins[-1].fault = "raise"
    engine = make_engine(root, plugins)
    engine.journal.close()
    engine.journal = TellingJournal(root / "state" / "journal.db")
    engine.source = engine.journal.source() or Source()
    try:
        await engine.apply(Source(json.dumps(document)), 60.0 if trial.waits else 0.0)
    except Exception as error:
        if not trial.fails:
            print(repr(error), file=sys.stderr)
            os._exit(3)


def child(root: Path, trial: Trial, pipe: int) -> None:
    TellingJournal.pipe = pipe
    fuse = Fuse(trial.lines)
    fuse.set_off()
    asyncio.run(apply(root, AFTER, trial))
    sys.settrace(None)
    os._exit(0)


def wal_size(root: Path) -> int:
    wal = root / "state" / "journal.db-wal"
    return wal.stat().st_size if wal.exists() else 0


def tear(root: Path, committed: int, rng: random.Random) -> None:
    """What was written behind the last committed transaction may be there or not."""
    wal, size = root / "state" / "journal.db-wal", wal_size(root)
    if committed < size:
        os.truncate(wal, rng.randint(committed, size))


async def recover(root: Path) -> tuple[dict[str, str], str]:
    engine = make_engine(root)
    await engine.recover()
    if engine.confirmation.number is not None:
        await engine.roll_back()
    open_run = engine.journal.open_run()
    assert open_run is None, open_run
    source = engine.journal.source()
    await engine.close()
    assert source is not None
    return machine(root), source.text


def prepare(root: Path) -> tuple[dict[str, str], dict[str, str], int]:
    """Put a machine with a first run behind it there: how it is, how it will be, in how many lines
    it becomes so."""
    asyncio.run(apply(root, BEFORE, CALM))
    before = machine(root)
    probe = root.with_name("probe")
    shutil.copytree(root, probe)
    fuse = Fuse(-1)
    MACHINE._begin()  # threads are counted from their start
    fuse.set_off()
    asyncio.run(apply(probe, AFTER, CALM))
    sys.settrace(None)
    threading.settrace(None)
    after = machine(probe)
    shutil.rmtree(probe)
    return before, after, fuse.burnt


def attempt(root: Path, trial: Trial, rng: random.Random) -> str:
    committed = wal_size(root)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(root, trial, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        sizes = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"{trial} failed by itself")
    if trial.torn and os.WIFSIGNALED(status):
        tear(root, int.from_bytes(sizes[-8:], "big") if sizes else committed, rng)
    return "killed" if os.WIFSIGNALED(status) else "finished"


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder, trials, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)  # noqa: S311 - which line it is, is no secret
    model = folder / "model"
    before, after, lines = prepare(model)
    documents = {json.dumps(BEFORE): "before", json.dumps(AFTER): "after"}
    seen: Counter[str] = Counter()
    for number in range(trials):
        root = folder / f"trial-{number}"
        shutil.copytree(model, root)
        trial = CALM if number % WHOLE_EVERY == 0 else any_trial(lines, rng)
        seen[attempt(root, trial, rng)] += 1
        state, text = asyncio.run(recover(root))
        is_before, is_after = state == before, state == after
        if not is_before and not is_after:
            raise SystemExit(f"{trial} of {lines} lines left the machine between: {state}")
        found = "before" if is_before else "after"
        if documents[text] != found:
            raise SystemExit(f"{trial}: machine {found}, journal {documents[text]}")
        seen[found] += 1
        shutil.rmtree(root)
    print(json.dumps({"trials": trials, "lines": lines, **seen}))


if __name__ == "__main__":
    main()
