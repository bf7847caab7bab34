"""The journal: what a run is about to change and how to undo it, on disk before it begins.

A transaction that was committed survives a loss of power
(https://www.sqlite.org/pragma.html#pragma_synchronous), one that was not leaves no trace; a row
that is not as it was written is refused (`journal_file`). There is at most one open run. A run that
is found open at a start was cut short, and is undone from the checkpoints that were written here
before its first change.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from privacy_router.engine import considered
from privacy_router.engine.considered import Ledger, Rejection
from privacy_router.engine.document import Source
from privacy_router.engine.journal_file import JournalFile
from privacy_router.engine.model import ResourceKey, Value, canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from sqlite3 import Connection

KEPT: Final = 20
"""How many automatic checkpoints are kept."""
REMEMBERED: Final = 100
"""How many runs are remembered."""
_KEPT_MARK: Final = "kept"
_REJECTED: Final = "rejected"
_FILE_MARK: Final = "considered"


class Phase(StrEnum):
    """How far a run is; the first two are open."""

    APPLYING = "applying"
    AWAITING = "awaiting"
    COMMITTED = "committed"
    UNDONE = "undone"


@dataclass(frozen=True)
class RunRecord:
    """A run before its first change: how to undo it, in the order of the plugins, what it changes
    (for people), and which resources it takes over or gives back.

    `mark` is the document's. `before` is the document that it replaces, and `observed` the machine
    as it was found (rows of plugin, kind, name, value); they become the checkpoint "before-run-N".
    """

    source: Source
    before: Source
    observed: Value
    undo: Sequence[tuple[str, Value]]
    changes: Value
    takes: Mapping[ResourceKey, Value]
    releases: Sequence[ResourceKey]
    mark: str


@dataclass(frozen=True)
class OpenRun:
    """A run that has neither been committed nor undone.

    `deadline_s` is on the clock that CLOCK_BOOTTIME is, of the boot whose id is `boot`.
    """

    number: int
    phase: Phase
    source: Source
    undo: Sequence[tuple[str, Value]]
    boot: str
    deadline_s: float | None


@dataclass(frozen=True)
class PastRun:
    """A run as people look at it later."""

    number: int
    started_at_s: float
    phase: Phase
    reason: str
    changes: Value


@dataclass(frozen=True)
class Checkpoint:
    """What was declared and what was there at some moment; `observed` is rows [plugin, kind, name,
    value]."""

    name: str
    made_at_s: float
    automatic: bool
    source: Source
    observed: Value


class Journal:
    """The journal in one file. Its methods block on the disk, and may be called in any thread.

    Each raises StorageError when the disk is full or broken, or the file is not as it was written.
    """

    def __init__(self, path: Path, *, pages_max: int | None = None) -> None:
        self._file = JournalFile(path, pages_max=pages_max)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # --- runs ------------------------------------------------------------------------------------

    def begin(self, record: RunRecord) -> int:
        """Write a run down before its first change; its number. From here on its document counts as
        rejected, until it is committed: also when the machine goes down in the middle."""
        source = record.source
        takes = [[k.plugin, k.kind, k.name, value] for k, value in record.takes.items()]
        releases = [[k.plugin, k.kind, k.name] for k in record.releases]
        with self._file.transaction() as db:
            cursor = db.execute(
                "INSERT INTO run (started_at, phase, text, base, name, changes, takes, releases)"
                " VALUES (?, 'applying', ?, ?, ?, ?, ?, ?)",
                (
                    time.time(),
                    source.text,
                    source.base,
                    source.name,
                    *map(canonical_json, (record.changes, takes, releases)),
                ),
            )
            number = cursor.lastrowid or 0
            rows = [
                (number, position, plugin, canonical_json(data))
                for position, (plugin, data) in enumerate(record.undo)
            ]
            db.executemany(
                "INSERT INTO undo (run, position, plugin, data) VALUES (?, ?, ?, ?)", rows
            )
            self._reject(db, Rejection(record.mark, time.time(), "", number))
            name = _before(number)
            _save(db, Checkpoint(name, time.time(), True, record.before, record.observed))
        return number

    def await_confirmation(self, number: int, boot: str, deadline_s: float) -> None:
        """All is applied, and is undone unless confirmed by then."""
        with self._file.transaction() as db:
            db.execute(
                "UPDATE run SET phase = 'awaiting', boot = ?, deadline_s = ? WHERE id = ?",
                (boot, deadline_s, number),
            )

    def commit(self, number: int) -> None:
        """The run stands: its document is the current one."""
        with self._file.transaction() as db:
            (run,) = self._file.rows("run", "WHERE id = ?", (number,))
            _end(db, number, Phase.COMMITTED, "")
            db.executemany(
                "INSERT OR IGNORE INTO managed (plugin, kind, name, original) VALUES (?, ?, ?, ?)",
                [(*key, canonical_json(value)) for *key, value in self._file.value(run["takes"])],
            )
            _release(db, self._file.value(run["releases"]))
            _set_source(db, _source(run))
            begun = considered.of_run(self._rejections(), number)
            self._accept(db, "" if begun is None else begun.mark)  # none: an earlier version's run
            _prune(db, KEPT)

    def undone(self, number: int, reason: str, is_judged: bool = True) -> None:
        """Everything is as it was before the run. Its document stays rejected, unless the run was
        given up for another reason than the document (`is_judged`)."""
        with self._file.transaction() as db:
            _end(db, number, Phase.UNDONE, reason)
            self._end_rejection(db, number, reason if is_judged else None)
            db.execute("DELETE FROM checkpoint WHERE name = ?", (_before(number),))

    def open_run(self) -> OpenRun | None:
        """The run that was begun and neither committed nor undone."""
        with self._file.reading():
            found = self._file.rows("run", "WHERE phase IN ('applying', 'awaiting')")
            if not found:
                return None
            (run,) = found
            undo = self._file.rows("undo", "WHERE run = ? ORDER BY position", (run["id"],))
        steps = [(step["plugin"], self._file.value(step["data"])) for step in undo]
        phase, deadline_s = Phase(run["phase"]), run["deadline_s"]
        return OpenRun(run["id"], phase, _source(run), steps, run["boot"], deadline_s)

    def runs(self, most: int = 20) -> list[PastRun]:
        """The newest runs, newest first."""
        with self._file.reading():
            found = self._file.rows("run", "ORDER BY id DESC LIMIT ?", (most,))
        return [
            PastRun(
                run["id"],
                run["started_at"],
                Phase(run["phase"]),
                run["reason"],
                self._file.value(run["changes"]),
            )
            for run in found
        ]

    # --- what is declared, and what was there before ---------------------------------------------

    def source(self) -> Source | None:
        """The current document; None before the first run."""
        with self._file.reading():
            found = self._fact("document")
        return None if found is None else _source(self._file.value(found))

    def source_in_force(self) -> Source | None:
        """The same, or the one that waits to be confirmed."""
        waiting = self.open_run()
        if waiting is not None and waiting.phase is Phase.AWAITING:
            return waiting.source
        return self.source()

    def adopt(self, source: Source, mark: str, releases: Sequence[ResourceKey] = ()) -> None:
        """Another current document, which asks for no change; and what it gives back."""
        with self._file.transaction() as db:
            _set_source(db, source)
            self._accept(db, mark)
            _release(db, [[key.plugin, key.kind, key.name] for key in releases])

    def managed(self) -> dict[ResourceKey, Value]:
        """The resources that runs have taken over, with what was there before the first one."""
        with self._file.reading():
            rows = self._file.rows("managed")
        return {
            ResourceKey(row["plugin"], row["kind"], row["name"]): self._file.value(row["original"])
            for row in rows
        }

    def _fact(self, name: str) -> str | None:
        rows = self._file.rows("fact", "WHERE name = ?", (name,))
        return str(rows[0]["value"]) if rows else None

    # --- which documents were considered ---------------------------------------------------------

    def ledger(self) -> Ledger:
        """What became of the documents that were considered."""
        with self._file.reading():
            kept, file = self._fact(_KEPT_MARK), self._fact(_FILE_MARK)
            return Ledger(kept, self._rejections(), file)

    def refuse(self, mark: str, reason: str) -> None:
        """That document was refused before anything was touched; of the one that is kept, nothing
        is noted."""
        with self._file.transaction() as db:
            if mark != self._fact(_KEPT_MARK):
                self._reject(db, Rejection(mark, time.time(), reason))

    def accept(self, mark: str) -> None:
        """That document is kept; writes only what is new."""
        ledger = self.ledger()
        if ledger.kept != mark or ledger.rejection(mark) is not None:
            with self._file.transaction() as db:
                self._accept(db, mark)

    def note_file(self, mark: str) -> None:
        """The daemon's file was considered with that content; writes only what is new."""
        if self.ledger().file != mark:
            with self._file.transaction() as db:
                _set_fact(db, _FILE_MARK, mark)

    def _rejections(self) -> list[Rejection]:
        found = self._fact(_REJECTED)
        return [] if found is None else [Rejection(*row) for row in self._file.value(found)]

    def _reject(self, db: Connection, rejection: Rejection) -> None:
        _set_rejections(db, considered.with_rejection(self._rejections(), rejection))

    def _accept(self, db: Connection, mark: str) -> None:
        _set_fact(db, _KEPT_MARK, mark)
        _set_rejections(db, considered.without(self._rejections(), mark))

    def _end_rejection(self, db: Connection, number: int, reason: str | None) -> None:
        known = self._rejections()
        found = considered.of_run(known, number)
        if found is None:
            return
        rest = considered.without(known, found.mark)
        if reason is not None and found.mark != self._fact(_KEPT_MARK):
            rest.append(considered.ended(found, time.time(), reason))
        _set_rejections(db, rest)

    # --- checkpoints -----------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, in place of one of the same name."""
        with self._file.transaction() as db:
            _save(db, checkpoint)

    def checkpoints(self) -> list[Checkpoint]:
        """All of them, newest first."""
        with self._file.reading():
            rows = self._file.rows("checkpoint", "ORDER BY made_at DESC, name DESC")
        return [
            Checkpoint(
                row["name"],
                row["made_at"],
                bool(row["automatic"]),
                Source(row["text"], row["base"]),
                self._file.value(row["observed"]),
            )
            for row in rows
        ]

    def drop_checkpoint(self, name: str) -> None:
        """Forget one."""
        with self._file.transaction() as db:
            db.execute("DELETE FROM checkpoint WHERE name = ?", (name,))

    def prune(self, keep: int) -> int:
        """Forget all automatic checkpoints but the newest; how many went."""
        with self._file.transaction() as db:
            return _prune(db, keep)

    @property
    def writes(self) -> int:
        """How many rows were ever written through this connection."""
        return self._file.db.total_changes


def _before(number: int) -> str:
    return f"before-run-{number}"


def _source(row: Mapping[str, Any]) -> Source:
    return Source(row["text"], row["base"], row["name"])


# --- writing, inside a transaction ---------------------------------------------------------------


def _end(db: Connection, number: int, phase: Phase, reason: str) -> None:
    db.execute(
        "UPDATE run SET phase = ?, ended_at = ?, reason = ? WHERE id = ?",
        (phase.value, time.time(), reason, number),
    )
    db.execute("DELETE FROM undo WHERE run = ?", (number,))
    db.execute("DELETE FROM run WHERE id <= ?", (number - REMEMBERED,))


def _release(db: Connection, keys: Sequence[Sequence[str]]) -> None:
    db.executemany("DELETE FROM managed WHERE plugin = ? AND kind = ? AND name = ?", keys)


def _set_source(db: Connection, source: Source) -> None:
    value = {"text": source.text, "base": source.base, "name": source.name}
    _set_fact(db, "document", canonical_json(value))


def _set_fact(db: Connection, name: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO fact (name, value) VALUES (?, ?)", (name, value))


def _set_rejections(db: Connection, known: Sequence[Rejection]) -> None:
    _set_fact(db, _REJECTED, canonical_json(considered.as_rows(known)))


def _save(db: Connection, one: Checkpoint) -> None:
    source, observed = one.source, canonical_json(one.observed)
    db.execute(
        "INSERT OR REPLACE INTO checkpoint (name, made_at, automatic, text, base, observed)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (one.name, one.made_at_s, one.automatic, source.text, source.base, observed),
    )


def _prune(db: Connection, keep: int) -> int:
    return db.execute(
        "DELETE FROM checkpoint WHERE automatic AND name NOT IN (SELECT name FROM checkpoint"
        " WHERE automatic ORDER BY made_at DESC, name DESC LIMIT ?)",
        (keep,),
    ).rowcount
