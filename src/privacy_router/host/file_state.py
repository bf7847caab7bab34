"""Entries of directories (files and links) as values: read as they are, put back exactly.

A value has all of these keys: `content` (text; of a link null), `link` (where it leads; of a file
null), `mode` (in octal) and `owner` (user and group as numbers). Content that is no UTF-8 stands
there as `base64:` and its code. None is: no such entry.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from privacy_router.errors import StorageError
from privacy_router.host.files import read_bounded, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


Value: TypeAlias = Any
"""A JSON value, as described above."""
FILE_MAX_BYTES: Final = 4 * 1024 * 1024
_CODED: Final = "base64:"
_DIRECTORY_MODE: Final = 0o755
_ROOT: Final = "0:0"
_TAG_KEY: Final = secrets.token_bytes(16)


def file_value(content: str) -> Value:
    """The value of a file of root's that every user may read."""
    return {"content": content, "link": None, "mode": "0644", "owner": _ROOT}


def link_value(target: str) -> Value:
    """The value of a link."""
    return {"content": None, "link": target, "mode": None, "owner": _ROOT}


def read_entry(path: Path) -> Value:
    """What is there. Raises StorageError, also for what is neither a file nor a link."""
    with _telling("read", path):
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        owner = f"{status.st_uid}:{status.st_gid}"
        if stat.S_ISLNK(status.st_mode):
            # Not Path.readlink, which would tidy the target up.
            return link_value(os.readlink(path)) | {"owner": owner}  # noqa: PTH115
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(
                f"{path} is neither a file nor a link", remedy="move it away, then try again"
            )
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        content = _as_text(read_bounded(path, FILE_MAX_BYTES, follow=False))
        return {"content": content, "link": None, "mode": mode, "owner": owner}


def redacted(value: Value) -> Value:
    """A value that has entries in it, at any depth, without the content of files that not
    every user may read. Different contents still look different, and one looks alike in one
    process."""
    if isinstance(value, list):
        return [redacted(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _is_private(value):
        tag = hashlib.blake2s(value["content"].encode(), key=_TAG_KEY, digest_size=3).hexdigest()
        return value | {"content": f"(not for every user to read, {tag})"}
    return {key: redacted(item) for key, item in value.items()}


def _is_private(value: Value) -> bool:
    is_file = value.keys() >= file_value("").keys() and value["content"] is not None
    return is_file and not int(value["mode"], 8) & stat.S_IROTH


def put_entry(path: Path, value: Value) -> bool:
    """Have it there; whether anything had to be done. Raises StorageError."""
    if read_entry(path) == value:
        return False
    with _telling("write", path):
        if value is None:
            path.unlink()
            return True
        make_directory(path.parent)
        if value["link"] is not None:
            _put_link(path, value["link"])
        else:
            write_atomic(path, _as_bytes(value["content"]), int(value["mode"], 8))
        user, _, group = value["owner"].partition(":")
        os.chown(path, int(user), int(group), follow_symlinks=False)
        if value["mode"] is not None:
            path.chmod(int(value["mode"], 8))  # another owner takes some bits away
    return True


def make_directory(path: Path) -> None:
    """Have the directory, as readable as those of the service manager. Raises StorageError."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with _telling("make", path):
        path.mkdir()
        path.chmod(_DIRECTORY_MODE)  # against the umask


def remove_if_empty(path: Path) -> None:
    """Remove a directory with nothing in it. Raises StorageError."""
    with _telling("remove", path):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()


def _put_link(path: Path, target: str) -> None:
    scratch = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    scratch.symlink_to(target)
    try:
        scratch.replace(path)
    except OSError:
        scratch.unlink()
        raise


def _as_text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _CODED + base64.b64encode(data).decode()
    return _CODED + base64.b64encode(data).decode() if text.startswith(_CODED) else text


def _as_bytes(text: str) -> bytes:
    if text.startswith(_CODED):
        return base64.b64decode(text.removeprefix(_CODED))
    return text.encode()


@contextmanager
def _telling(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot {verb} {path}: {error.strerror or error}",
            remedy="make the file system writable and free some space on it, then try again",
        ) from error
