"""A journal that is not as it was written is refused, in words, whatever has happened to it."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy_router.engine import journal_file
from privacy_router.engine.document import Source
from privacy_router.engine.journal import Checkpoint, Journal, Phase, RunRecord
from privacy_router.engine.model import ResourceKey
from privacy_router.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = ResourceKey("one", "file", "a")
PAYLOAD = "flippable" * 50


def filled(path: Path) -> None:
    """A journal with something in each table, and nothing in its log."""
    journal = Journal(path)
    source = Source('{"a": 1}', "/etc", "config.json")
    for number in (1, 2):
        record = RunRecord(
            source,
            Source(),
            [["one", "file", "a", PAYLOAD]],
            [("one", {"undo": PAYLOAD})],
            [["change", "a"]],
            {KEY: PAYLOAD},
            [],
            f"mark {number}",
        )
        assert journal.begin(record) == number
        if number == 1:
            journal.commit(number)
    journal.await_confirmation(2, "boot", 17.5)
    journal.save(Checkpoint("mine", 1.5, False, source, [PAYLOAD]))
    journal.note_file("mark 1")
    journal.close()


def read_all(path: Path) -> Any:
    journal = Journal(path)
    try:
        return (
            journal.open_run(),
            journal.runs(100),
            journal.source(),
            journal.managed(),
            journal.ledger(),
            journal.checkpoints(),
        )
    finally:
        journal.close()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    before_s = time.time()
    filled(tmp_path / "journal.db")
    opened, runs, source, managed, ledger, checkpoints = read_all(tmp_path / "journal.db")
    assert opened.phase is Phase.AWAITING
    assert (opened.deadline_s, opened.undo) == (17.5, [("one", {"undo": PAYLOAD})])
    assert [run.phase for run in runs] == [Phase.AWAITING, Phase.COMMITTED]
    assert before_s <= runs[1].started_at_s <= runs[0].started_at_s <= time.time()
    assert source == Source('{"a": 1}', "/etc", "config.json")
    assert managed == {KEY: PAYLOAD}
    assert (ledger.kept, ledger.file) == ("mark 1", "mark 1")
    assert [(one.mark, one.run, one.is_open) for one in ledger.rejections] == [("mark 2", 2, True)]
    assert {one.name for one in checkpoints} == {"mine", "before-run-1", "before-run-2"}


def test_no_flipped_byte_is_taken_for_what_was_written(tmp_path: Path) -> None:
    """Every byte of the file in turn: the journal is refused, or reads as it was."""
    path = tmp_path / "journal.db"
    filled(path)
    whole = path.read_bytes()
    as_written = read_all(path)
    refused = 0
    for position in range(0, len(whole), 13):
        damaged = bytearray(whole)
        damaged[position] ^= 0x20
        path.write_bytes(damaged)
        try:
            assert read_all(path) == as_written, f"byte {position} changes what is read"
        except StorageError as error:
            refused += 1
            assert str(path) in error.message
            assert error.remedy
    assert refused > len(PAYLOAD) // 13


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=200), st.integers(0, 60_000))
def test_no_garbage_in_it_is_more_than_one_error(
    tmp_path: Path, garbage: bytes, position: int
) -> None:
    path = tmp_path / "journal.db"
    path.unlink(missing_ok=True)
    filled(path)
    whole = bytearray(path.read_bytes())
    whole[position : position + len(garbage)] = garbage
    path.write_bytes(whole)
    try:
        read_all(path)
    except StorageError as error:
        assert error.remedy


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE run SET text = '{}'",
        "UPDATE run SET changes = '{' WHERE id = 1",
        "UPDATE run SET phase = 'odd' WHERE id = 2",
        'UPDATE undo SET data = \'{"undo": "else"}\'',
        "UPDATE managed SET original = 'null'",
        "UPDATE managed SET name = 'b'",
        "UPDATE checkpoint SET observed = '[' WHERE name = 'mine'",
        "UPDATE checkpoint SET made_at = made_at + 1 WHERE name = 'mine'",
        "UPDATE fact SET value = '{\"text\": 1}' WHERE name = 'document'",
        "UPDATE fact SET value = CAST(value AS BLOB)",
        "INSERT INTO managed (plugin, kind, name, original) VALUES ('x', 'y', 'z', '1')",
    ],
)
def test_a_row_that_another_program_wrote_is_refused(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "journal.db"
    filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)
    db.close()
    with pytest.raises(StorageError, match="is damaged") as refusal:
        read_all(path)
    assert "move" in refusal.value.remedy
    assert "stays as it is" in refusal.value.remedy


def test_what_cannot_be_read_as_json_is_refused_even_with_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    filled(path)
    journal = Journal(path)
    with journal._file.transaction() as db:
        db.execute("UPDATE managed SET original = ?", ("[" * 100_000,))
    with pytest.raises(StorageError, match="levels of nesting"):
        journal.managed()
    journal.close()


def _directory(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _dangling(path: Path) -> None:
    path.symlink_to(path.parent / "gone" / "journal.db")


def _link(path: Path) -> None:
    (path.parent / "passwd").write_text("root")
    path.symlink_to(path.parent / "passwd")


def _no_database(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 100)


def _empty_directory_of_the_log(path: Path) -> None:
    filled(path)
    path.with_name(path.name + "-wal").mkdir()


@pytest.mark.parametrize(
    "make", [_directory, _pipe, _dangling, _link, _no_database, _empty_directory_of_the_log]
)
def test_what_else_has_its_name_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "state" / "journal.db"
    path.parent.mkdir()
    make(path)
    before = sorted(path.parent.iterdir())
    with pytest.raises(StorageError) as refusal:
        Journal(path)
    assert str(path) in refusal.value.message
    assert refusal.value.remedy
    assert sorted(path.parent.iterdir()) == before


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StorageError):
        Journal(tmp_path / "state" / "journal.db")


def test_a_journal_of_before_is_taken_over_with_all_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    with monkeypatch.context() as before:  # as version 1 wrote it: no digests
        before.setattr(journal_file, "_FORMAT", 1)
        before.setattr(journal_file.JournalFile, "_migrate", _as_version_1)
        before.setattr(journal_file, "_triggers", lambda _: "")
        before.setattr(journal_file, "_schema_of", lambda _: [])
        before.setattr(journal_file, "_expected_schema", list)
        before.setattr(journal_file.JournalFile, "_checked", lambda *_: [])
        before.setattr(journal_file.JournalFile, "rows", _unchecked)
        filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert "digest" not in str(db.execute("SELECT sql FROM sqlite_master").fetchall())
    db.close()
    first = read_all(path)
    assert first[3] == {KEY: PAYLOAD}
    assert read_all(path) == first
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE managed SET original = '1'")
    db.close()
    with pytest.raises(StorageError, match="not as it was written"):
        read_all(path)


def _as_version_1(file: journal_file.JournalFile, schema: str) -> None:
    file.db.executescript(f"BEGIN; {schema} PRAGMA user_version = 1; COMMIT;")


def _unchecked(
    file: journal_file.JournalFile, table: str, tail: str = "", parameters: Any = ()
) -> Any:
    columns = journal_file._COLUMNS[table]
    asked = f"SELECT {', '.join(columns)} FROM {table} {tail}"  # noqa: S608
    found = file.db.execute(asked, parameters)
    return [dict(zip(columns, row, strict=True)) for row in found]


def test_a_journal_that_another_program_holds_says_so(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal._file.db.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="locked") as caught:
            journal.note_file("a mark")
    assert caught.value.remedy == "another program has the file; end that, then try again"
    assert not caught.value.retryable
