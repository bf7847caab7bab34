"""What the controller says of its file is told as it was noted, and nothing else is believed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.client.status import FileNote, FileState
from privacy_router.node.file_note import note_untrusted, read_note, write_note

if TYPE_CHECKING:
    from pathlib import Path

WAITING = FileNote(
    "/etc/c.json", FileState.WAITING, 1.0, "no answer\nat all", "check the network", 31.0
)


def test_what_was_noted_is_read_of_that_process_only(tmp_path: Path) -> None:
    path = tmp_path / "run" / "file.json"
    assert read_note(path, 7) is None
    write_note(path, 7, WAITING)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_note(path, 7) == WAITING
    assert read_note(path, 8) is None
    assert read_note(path, None) is None
    write_note(path, 7, None)
    write_note(path, 7, None)
    assert read_note(path, 7) is None


def test_it_says_what_failed_when_and_the_next_try_on_one_line() -> None:
    words = WAITING.words
    assert "/etc/c.json is not applied yet (" in words
    assert "no answer at all; next try at " in words
    assert words.count(":31") == 1
    assert WAITING.advice == "check the network"


@pytest.mark.parametrize("state", [FileState.REFUSED, FileState.UNDONE])
def test_it_says_what_to_do_about_what_is_not_kept(state: FileState) -> None:
    note = FileNote("/etc/c.json", state, 1.0, "it was not confirmed in time")
    assert f"/etc/c.json was {state} at " in note.words
    assert "it was not confirmed in time" in note.words
    assert "change it, or try again with privacy-router apply /etc/c.json" in note.advice


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
WHOLE = {"pid": 7, **WAITING.as_dict()}


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_one_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        note_untrusted(data, 7)


@given(st.sampled_from(sorted(WHOLE)), json_values)
def test_any_value_in_it_is_told_or_refused(name: str, value: Any) -> None:
    try:
        note = note_untrusted(json.dumps({**WHOLE, name: value}).encode(), 7)
    except ValueError:
        return
    assert note is None or (note.words and "\n" not in note.words)
