"""The journal: what a run is about to change and how to undo it, on disk before it begins.

SQLite with a write-ahead log and full synchronisation: a transaction that was committed survives a
loss of power (https://www.sqlite.org/pragma.html#pragma_synchronous), one that was not leaves no
trace. There is at most one open run. A run that is found open at a start was cut short, and is
undone from the checkpoints that were written here before its first change.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from privacy_router.engine.document import Source
from privacy_router.engine.model import ResourceKey, Value, canonical_json
from privacy_router.errors import StorageError
from privacy_router.host.files import make_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

KEPT: Final = 20
"""How many automatic checkpoints are kept."""
REMEMBERED: Final = 100
"""How many runs are remembered."""
_LOG_PAGES: Final = 64  # the write-ahead log is folded in early: small disks have journals too
_FORMAT: Final = 1
_SCHEMA: Final = """
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT, started_at REAL NOT NULL, ended_at REAL,
    phase TEXT NOT NULL, text TEXT NOT NULL, base TEXT NOT NULL, name TEXT NOT NULL,
    boot TEXT NOT NULL DEFAULT '', deadline_s REAL, reason TEXT NOT NULL DEFAULT '',
    changes TEXT NOT NULL, takes TEXT NOT NULL, releases TEXT NOT NULL);
CREATE UNIQUE INDEX one_open_run ON run ((1)) WHERE phase IN ('applying', 'awaiting');
CREATE TABLE undo (
    run INTEGER NOT NULL REFERENCES run (id), position INTEGER NOT NULL, plugin TEXT NOT NULL,
    data TEXT NOT NULL, PRIMARY KEY (run, position)) WITHOUT ROWID;
CREATE TABLE managed (
    plugin TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, original TEXT NOT NULL,
    PRIMARY KEY (plugin, kind, name)) WITHOUT ROWID;
CREATE TABLE checkpoint (
    name TEXT PRIMARY KEY, made_at REAL NOT NULL, automatic INTEGER NOT NULL,
    text TEXT NOT NULL, base TEXT NOT NULL, observed TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


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

    `before` is the document that it replaces, and `observed` the machine as it was found (rows of
    plugin, kind, name, value); they become the checkpoint "before-run-N".
    """

    source: Source
    before: Source
    observed: Value
    undo: Sequence[tuple[str, Value]]
    changes: Value
    takes: Mapping[ResourceKey, Value]
    releases: Sequence[ResourceKey]


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

    Each raises StorageError when the disk is full or broken; then the file says what it said.
    """

    def __init__(self, path: Path, *, pages_max: int | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        make_directory(path.parent)
        new = not path.exists()
        try:
            self._open(pages_max)
        except StorageError:
            if new:
                self._discard()
            raise

    def _open(self, pages_max: int | None) -> None:
        with self._telling():
            self._path.touch(mode=0o600, exist_ok=True)
            self._path.chmod(0o600)
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            self._db.execute(f"PRAGMA journal_size_limit = {_LOG_PAGES * 4096}")
            if pages_max is not None:
                self._db.execute(f"PRAGMA max_page_count = {pages_max:d}")
            self._require_format()

    def _discard(self) -> None:
        """Take away what there was no room to finish."""
        self._db.close()
        for suffix in ("", "-wal", "-shm", "-journal"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _require_format(self) -> None:
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_FORMAT}; COMMIT;")
        elif found != _FORMAT:
            raise StorageError(
                f"{self._path} is of format {found}, and this version knows {_FORMAT}",
                remedy="install the version that wrote it, or move the file away: what was there"
                " before the first apply is then forgotten",
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    # --- runs ------------------------------------------------------------------------------------

    def begin(self, record: RunRecord) -> int:
        """Write a run down before its first change; its number."""
        source = record.source
        takes = [[k.plugin, k.kind, k.name, value] for k, value in record.takes.items()]
        releases = [[k.plugin, k.kind, k.name] for k in record.releases]
        with self._transaction():
            cursor = self._db.execute(
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
            self._db.executemany("INSERT INTO undo VALUES (?, ?, ?, ?)", rows)
            name = _before(number)
            self._save(Checkpoint(name, time.time(), True, record.before, record.observed))
        return number

    def await_confirmation(self, number: int, boot: str, deadline_s: float) -> None:
        """All is applied, and is undone unless confirmed by then."""
        with self._transaction():
            self._db.execute(
                "UPDATE run SET phase = 'awaiting', boot = ?, deadline_s = ? WHERE id = ?",
                (boot, deadline_s, number),
            )

    def commit(self, number: int) -> None:
        """The run stands: its document is the current one."""
        with self._transaction():
            text, base, name, takes, releases = self._db.execute(
                "SELECT text, base, name, takes, releases FROM run WHERE id = ?", (number,)
            ).fetchone()
            self._end(number, Phase.COMMITTED, "")
            self._db.executemany(
                "INSERT OR IGNORE INTO managed VALUES (?, ?, ?, ?)",
                [(*key, canonical_json(value)) for *key, value in json.loads(takes)],
            )
            self._release(json.loads(releases))
            self._set_source(Source(text, base, name))
            self._prune(KEPT)

    def undone(self, number: int, reason: str) -> None:
        """Everything is as it was before the run."""
        with self._transaction():
            self._end(number, Phase.UNDONE, reason)
            self._db.execute("DELETE FROM checkpoint WHERE name = ?", (_before(number),))

    def _end(self, number: int, phase: Phase, reason: str) -> None:
        self._db.execute(
            "UPDATE run SET phase = ?, ended_at = ?, reason = ? WHERE id = ?",
            (phase.value, time.time(), reason, number),
        )
        self._db.execute("DELETE FROM undo WHERE run = ?", (number,))
        self._db.execute("DELETE FROM run WHERE id <= ?", (number - REMEMBERED,))

    def open_run(self) -> OpenRun | None:
        """The run that was begun and neither committed nor undone."""
        with self._reading():
            row = self._db.execute(
                "SELECT id, phase, text, base, name, boot, deadline_s FROM run"
                " WHERE phase IN ('applying', 'awaiting')"
            ).fetchone()
            if row is None:
                return None
            number, phase, text, base, name, boot, deadline_s = row
            undo = self._db.execute(
                "SELECT plugin, data FROM undo WHERE run = ? ORDER BY position", (number,)
            ).fetchall()
        steps = [(plugin, json.loads(data)) for plugin, data in undo]
        return OpenRun(number, Phase(phase), Source(text, base, name), steps, boot, deadline_s)

    def runs(self, most: int = 20) -> list[PastRun]:
        """The newest runs, newest first."""
        with self._reading():
            rows = self._db.execute(
                "SELECT id, started_at, phase, reason, changes FROM run ORDER BY id DESC LIMIT ?",
                (most,),
            ).fetchall()
        return [
            PastRun(number, at_s, Phase(phase), reason, json.loads(changes))
            for number, at_s, phase, reason, changes in rows
        ]

    # --- what is declared, and what was there before ---------------------------------------------

    def source(self) -> Source | None:
        """The current document; None before the first run."""
        found = self.fact("document")
        return None if found is None else Source(**json.loads(found))

    def adopt(self, source: Source, releases: Sequence[ResourceKey] = ()) -> None:
        """Another current document, which asks for no change; and what it gives back."""
        with self._transaction():
            self._set_source(source)
            self._release([[key.plugin, key.kind, key.name] for key in releases])

    def _release(self, keys: Sequence[Sequence[str]]) -> None:
        self._db.executemany("DELETE FROM managed WHERE plugin = ? AND kind = ? AND name = ?", keys)

    def _set_source(self, source: Source) -> None:
        value = canonical_json({"text": source.text, "base": source.base, "name": source.name})
        self._db.execute("INSERT OR REPLACE INTO fact VALUES ('document', ?)", (value,))

    def managed(self) -> dict[ResourceKey, Value]:
        """The resources that runs have taken over, with what was there before the first one."""
        with self._reading():
            rows = self._db.execute("SELECT plugin, kind, name, original FROM managed").fetchall()
        return {ResourceKey(*key): json.loads(original) for *key, original in rows}

    def fact(self, name: str) -> str | None:
        """A remembered fact."""
        with self._reading():
            row = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def remember(self, name: str, value: str) -> None:
        """Remember a fact; writes only what is new."""
        if self.fact(name) != value:
            with self._transaction():
                self._db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    # --- checkpoints -----------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, in place of one of the same name."""
        with self._transaction():
            self._save(checkpoint)

    def _save(self, one: Checkpoint) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?, ?, ?)",
            (
                one.name,
                one.made_at_s,
                one.automatic,
                one.source.text,
                one.source.base,
                canonical_json(one.observed),
            ),
        )

    def checkpoints(self) -> list[Checkpoint]:
        """All of them, newest first."""
        with self._reading():
            rows = self._db.execute(
                "SELECT name, made_at, automatic, text, base, observed FROM checkpoint"
                " ORDER BY made_at DESC, name DESC"
            ).fetchall()
        return [
            Checkpoint(name, at_s, bool(auto), Source(text, base), json.loads(observed))
            for name, at_s, auto, text, base, observed in rows
        ]

    def drop_checkpoint(self, name: str) -> None:
        """Forget one."""
        with self._transaction():
            self._db.execute("DELETE FROM checkpoint WHERE name = ?", (name,))

    def prune(self, keep: int) -> int:
        """Forget all automatic checkpoints but the newest; how many went."""
        with self._transaction():
            return self._prune(keep)

    def _prune(self, keep: int) -> int:
        return self._db.execute(
            "DELETE FROM checkpoint WHERE automatic AND name NOT IN (SELECT name FROM checkpoint"
            " WHERE automatic ORDER BY made_at DESC, name DESC LIMIT ?)",
            (keep,),
        ).rowcount

    # --- SQLite ----------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._telling():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, self._telling():
            yield

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _storage_error(self._path, error) from error
        except OSError as error:
            raise StorageError(
                f"cannot use the journal {self._path}: {error.strerror}",
                remedy="free some space on that disk, or give root access to it",
            ) from error

    @property
    def writes(self) -> int:
        """How many rows were ever written through this connection."""
        return self._db.total_changes


def _before(number: int) -> str:
    return f"before-run-{number}"


def _storage_error(path: Path, error: sqlite3.Error) -> StorageError:
    full = error.sqlite_errorname in {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"}
    broken = error.sqlite_errorname in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}
    if broken:
        remedy = (
            f"move {path} (and its -wal and -shm) away; what was there before the first apply is"
            " then forgotten"
        )
    else:
        remedy = "free some space on that disk, then try again" if full else "check that disk"
    return StorageError(f"the journal {path}: {error}", remedy=remedy, retryable=full)
