"""The file of the journal: opened with care, every row sealed when it is written and checked when
it is read.

SQLite notices damage to its own structures, not to what is in a row: a bit that flips in a text is
read as another text. So each row carries a digest over its table's name and all of its columns.
The digest is written by triggers that exist in our connections only (TEMP), so that no statement
can forget it, and a row that another program changes does not check. It has no key: it is against
disks and accidents, not against root. What it cannot tell is a log whose end is lost; SQLite's own
sums make that an older state that was whole.
"""

from __future__ import annotations

import hashlib
import sqlite3
import stat
import struct
import threading
import weakref
from contextlib import closing, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from privacy_router.errors import StorageError
from privacy_router.host.files import make_directory
from privacy_router.json_input import JsonError, read_json_untrusted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_LOG_PAGES: Final = 64  # the write-ahead log is folded in early: small disks have journals too
_FORMAT: Final = 2
_DIGEST_BYTES: Final = 16
_JSON_LIMIT_BYTES: Final = 256 * 1024 * 1024
_JSON_LEVELS: Final = 128  # the document may have 32, and what stands around its values some more
_FULL: Final = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"}
# our statements are right, so that an error in one is of the file; None: a text that is not UTF-8
_BROKEN: Final = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", None}
_SIDES: Final = ("", "-wal", "-shm", "-journal")

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
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "run": (
        *("id", "started_at", "ended_at", "phase", "text", "base", "name"),
        *("boot", "deadline_s", "reason", "changes", "takes", "releases"),
    ),
    "undo": ("run", "position", "plugin", "data"),
    "managed": ("plugin", "kind", "name", "original"),
    "checkpoint": ("name", "made_at", "automatic", "text", "base", "observed"),
    "fact": ("name", "value"),
}
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "run": ("id",),
    "undo": ("run", "position"),
    "managed": ("plugin", "kind", "name"),
    "checkpoint": ("name",),
    "fact": ("name",),
}

Row = dict[str, Any]


class JournalFile:
    """An SQLite database with a write-ahead log and full synchronisation, for any thread.

    Everything raises StorageError, and no other error, when the file is in the way, broken, full or
    not as it was written; then the message says what it said, and the remedy how to go on.
    """

    def __init__(self, path: Path, *, pages_max: int | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        make_directory(path.parent)
        new = self._is_new()
        with self._telling():
            path.touch(mode=0o600, exist_ok=True)
            path.chmod(0o600)
            self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with self._telling():
                self._set_up(pages_max)
        except StorageError:
            self.db.close()
            if new:
                self._discard()
            raise
        # a database that is let go while open is a warning from Python 3.13 on
        weakref.finalize(self, self.db.close)

    def _is_new(self) -> bool:
        """Whether there is none yet. What else has its name is neither opened nor written."""
        with self._telling():
            try:
                kind = self._path.lstat().st_mode
            except FileNotFoundError:
                return True
        if not stat.S_ISREG(kind):
            raise StorageError(
                f"the journal {self._path} is {_kind(kind)} and no file", remedy=self._remedy()
            )
        return False

    def _set_up(self, pages_max: int | None) -> None:
        self.db.create_function("row_digest", -1, _digest, deterministic=True)
        self.db.execute("PRAGMA cell_size_check = ON")
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("PRAGMA foreign_keys = ON")
        self.db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        self.db.execute(f"PRAGMA journal_size_limit = {_LOG_PAGES * 4096}")
        if pages_max is not None:
            self.db.execute(f"PRAGMA max_page_count = {pages_max:d}")
        (found,) = self.db.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise self.damaged(str(found))
        self._require_format()
        if _schema_of(self.db) != _expected_schema():
            raise self.damaged("its tables are not as they were made")
        for table in _COLUMNS:
            for _ in self._checked(table):
                continue  # all are looked at: a key that has changed would hide its row
            self.db.executescript(_triggers(table))

    def _require_format(self) -> None:
        (found,) = self.db.execute("PRAGMA user_version").fetchone()
        if found == 0:
            self._migrate(_SCHEMA)
        elif found == 1:
            self._migrate("")
        elif found != _FORMAT:
            raise StorageError(
                f"{self._path} is of format {found}, and this version knows {_FORMAT}",
                remedy="install the version that wrote it, or move the file away: what was there"
                " before the first apply is then forgotten",
            )

    def _migrate(self, schema: str) -> None:
        """From nothing, or from format 1, whose rows had no digest and are believed this once."""
        self.db.executescript(f"BEGIN IMMEDIATE; {schema} {_sealing()} COMMIT;")

    def _discard(self) -> None:
        """Take away what there was no room to finish."""
        for suffix in _SIDES:
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self.db.close()

    # --- reading and writing ---------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside, on disk at the end, or none of it."""
        with self._lock, self._telling():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """No other thread is inside; `rows` sees one state."""
        with self._lock, self._telling():
            yield

    def rows(self, table: str, tail: str = "", parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows of a table by column, of those that `tail` (SQL of ours) leaves, each checked.

        To be called inside `reading` or `transaction`.
        """
        return list(self._checked(table, tail, parameters))

    def _checked(self, table: str, tail: str = "", parameters: Sequence[Any] = ()) -> Iterator[Row]:
        columns = _COLUMNS[table]
        asked = f"SELECT {', '.join(columns)}, digest FROM {table} {tail}"  # noqa: S608
        for *values, digest in self.db.execute(asked, parameters):
            if _digest(table, *values) != digest:
                raise self.damaged(f"a row of {table!r} is not as it was written")
            yield dict(zip(columns, values, strict=True))

    def value(self, text: str) -> Any:
        """A value that was written as JSON."""
        try:
            return read_json_untrusted(text, limit_bytes=_JSON_LIMIT_BYTES, max_levels=_JSON_LEVELS)
        except JsonError as error:
            raise self.damaged(f"a value cannot be read, {error.message}") from error

    def damaged(self, why: str) -> StorageError:
        """What is in it is not what was written."""
        return StorageError(f"the journal {self._path} is damaged: {why}", remedy=self._remedy())

    def _remedy(self) -> str:
        return (
            f"the tunnel does not need it and stays as it is. To go on, move {self._path} (and its"
            " -wal and -shm) away, or put a copy from a backup in its place; without one, what was"
            " there before the first apply is forgotten and cannot be given back"
        )

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._storage_error(error) from error
        except UnicodeDecodeError as error:  # what SQLite says quotes what is in the file
            raise self.damaged("it has no UTF-8 where that should be") from error
        except OSError as error:
            raise StorageError(
                f"cannot use the journal {self._path}: {error.strerror}",
                remedy="free some space on that disk, or give root access to it",
            ) from error

    def _storage_error(self, error: sqlite3.Error) -> StorageError:
        name = getattr(error, "sqlite_errorname", None)
        if name in _BROKEN or (name or "").startswith("SQLITE_CORRUPT"):
            return self.damaged(str(error))
        remedy = "check that disk"
        if name in _FULL:
            remedy = "free some space on that disk, then try again"
        elif name == "SQLITE_BUSY":
            remedy = "another program has the file; end that, then try again"
        return StorageError(
            f"the journal {self._path}: {error}", remedy=remedy, retryable=name in _FULL
        )


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe"}
    return kinds.get(stat.S_IFMT(mode), "something else")


def _digest(*values: str | float | bytes | None) -> bytes:
    """Over values with their types and lengths: SQLite keeps integers and numbers apart."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for value in values:
        raw = _raw(value)
        digest.update(f"{type(value).__name__}:{len(raw)}:".encode())
        digest.update(raw)
    return digest.digest()


def _raw(value: str | float | bytes | None) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, float):
        return struct.pack("!d", value)
    return str(value).encode(errors="surrogatepass")


def _digest_of(table: str) -> str:
    return f"row_digest('{table}', {', '.join(_COLUMNS[table])})"


def _sealing() -> str:
    """From format 1, or a new one without rows, to format 2."""
    steps = []
    for table in _COLUMNS:
        steps.append(f"ALTER TABLE {table} ADD COLUMN digest BLOB NOT NULL DEFAULT x'';")
        steps.append(f"UPDATE {table} SET digest = {_digest_of(table)};")  # noqa: S608
    return f"{' '.join(steps)} PRAGMA user_version = {_FORMAT};"


@cache
def _expected_schema() -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.create_function("row_digest", -1, _digest, deterministic=True)
        db.executescript(f"{_SCHEMA} {_sealing()}")
        return _schema_of(db)


def _schema_of(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    asked = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
    return db.execute(asked).fetchall()


def _triggers(table: str) -> str:
    """What seals a row of that table whenever it is written."""
    key = " AND ".join(f"{column} = NEW.{column}" for column in _KEYS[table])
    seal = f"BEGIN UPDATE {table} SET digest = {_digest_of(table)} WHERE {key}; END;"  # noqa: S608
    changed = ", ".join(_COLUMNS[table])
    return (
        f"CREATE TEMP TRIGGER seal_new_{table} AFTER INSERT ON {table} {seal}"
        f" CREATE TEMP TRIGGER seal_{table} AFTER UPDATE OF {changed} ON {table} {seal}"
    )
