"""Files are whole or absent, private where asked for, and a full disk leaves nothing behind."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from privacy_router.errors import ExitCode, StorageError
from privacy_router.host.files import read_bounded, write_atomic, write_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_and_its_directory_are_private_whatever_the_umask(tmp_path: Path) -> None:
    file = tmp_path / "state" / "key"
    before = os.umask(0)
    try:
        write_private(file, b"secret")
    finally:
        os.umask(before)
    assert (mode_of(file), mode_of(file.parent)) == (0o600, 0o700)
    assert file.read_bytes() == b"secret"


def test_the_mode_that_was_asked_for_wins_over_umask_and_old_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o600)
    before = os.umask(0o077)
    try:
        write_atomic(file, b"new", 0o644)
    finally:
        os.umask(before)
    assert mode_of(file) == 0o644
    write_private(file, b"newer")
    assert mode_of(file) == 0o600


def test_a_link_in_the_place_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    place = tmp_path / "place"
    place.symlink_to(victim)
    write_private(place, b"secret")
    assert victim.read_bytes() == b"untouched"
    assert not place.is_symlink()


LIMITED = """
import resource, sys
from pathlib import Path
from privacy_router.errors import StorageError
from privacy_router.host.files import write_private
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_private(Path(sys.argv[1]), b"x" * 5000)
except StorageError as error:
    print(error.message, "|", error.remedy)
    raise SystemExit(int(error.exit_code))
"""


def test_no_room_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "account"
    write_private(file, b"old")
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(file)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == ExitCode.STORAGE, ended.stderr
    assert "cannot write" in ended.stdout
    assert "file size limit" in ended.stdout
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("call", ["write", "fsync", "fchmod"])
def test_a_full_disk_at_any_step_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StorageError, match="No space left") as caught:
        write_private(tmp_path / "key", b"secret")
    assert "free some space" in caught.value.remedy
    assert caught.value.retryable
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:3]))
    write_private(tmp_path / "key", b"0123456789")
    assert (tmp_path / "key").read_bytes() == b"0123456789"


def test_places_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "directory").mkdir()
    for place in (tmp_path / "file" / "below", tmp_path / "directory"):
        with pytest.raises(StorageError) as caught:
            write_private(place, b"x")
        assert caught.value.remedy
    with pytest.raises(StorageError, match="cannot read"):
        read_bounded(tmp_path / "none", 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]


def test_reading_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 11)
    assert read_bounded(file, 11) == b"x" * 11
    with pytest.raises(StorageError, match="over 10 bytes"):
        read_bounded(file, 10)


def fifo(place: Path) -> None:
    os.mkfifo(place)


def listening(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(place))


def to_a_pipe(place: Path) -> None:
    os.mkfifo(place.with_suffix(".pipe"))
    place.symlink_to(place.with_suffix(".pipe"))


@pytest.mark.parametrize(
    "make",
    [
        fifo,
        listening,
        to_a_pipe,
        lambda place: place.mkdir(),
        lambda place: place.symlink_to("/dev/zero"),
        lambda place: place.symlink_to("/dev/tty"),
    ],
    ids=["pipe", "socket", "link to a pipe", "directory", "device", "terminal"],
)
def test_only_regular_files_are_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Opening a pipe that no process writes to would wait for ever."""
    place = tmp_path / "place"
    make(place)
    with pytest.raises(StorageError, match="place: it is not a regular file") as refusal:
        read_bounded(place, 10)
    assert refusal.value.remedy


def test_a_link_is_followed_only_where_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_bounded(tmp_path / "link", 10) == b"content"
    with pytest.raises(StorageError, match="not a regular file"):
        read_bounded(tmp_path / "link", 10, follow=False)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StorageError, match="cannot read"):
        read_bounded(tmp_path / "loop", 10)


def test_errors_quote_no_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"secret")
    with pytest.raises(StorageError) as refusal:
        read_bounded(tmp_path / "file", 3)
    assert "secret" not in f"{refusal.value} {refusal.value.remedy}"
