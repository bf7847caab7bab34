"""Files that are either whole or not there, and private where they hold secrets."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING

from privacy_router.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_FILE_MODE = 0o600
PRIVATE_DIRECTORY_MODE = 0o700

_REMEDIES = {
    errno.ENOSPC: "free some space on that disk, then try again",
    errno.EDQUOT: "free some space or raise the quota, then try again",
    errno.EFBIG: "raise the file size limit (ulimit -f), then try again",
    errno.EROFS: "make the file system writable, then try again",
    errno.EACCES: "run as root, or give this user access to the directory",
    errno.EPERM: "run as root, or give this user access to the directory",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a part of it is a file",
    errno.EEXIST: "check the path: there is a file of that name",
    errno.EISDIR: "check the path: it is a directory",
    errno.EIO: "check the disk: it reports errors",
}
_MAY_PASS = frozenset({errno.ENOSPC, errno.EDQUOT})


def make_directory(path: Path, mode: int = PRIVATE_DIRECTORY_MODE) -> None:
    """Have the directory and those above it, each that is new with that mode. Raises
    StorageError."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    try:
        for one in reversed(missing):  # `parents=True` would give those above it another mode
            one.mkdir(mode=mode, exist_ok=True)
        path.mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise _storage_error("make", path, error) from error


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read (0600). Raises StorageError."""
    write_atomic(path, data, PRIVATE_FILE_MODE)


def write_atomic(path: Path, data: bytes, mode: int) -> None:
    """Replace `path` by `data` as a whole: after an error or a crash the old content is there.

    A missing parent directory is created with mode 0700. Raises StorageError.
    """
    scratch = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        path.parent.mkdir(mode=PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
        _write_new(scratch, data, mode)
        try:
            scratch.replace(path)
        except OSError:
            scratch.unlink()
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise _storage_error("write", path, error) from error


def _write_new(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        os.fchmod(descriptor, mode)  # the umask may have taken something away
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, limit_bytes: int, *, follow: bool = True) -> bytes:
    """The content of a regular file; without `follow` of no symbolic link.

    Anything else (a pipe, a device, a socket, a directory) is not even opened, since opening
    alone may wait for ever or do something. Raises StorageError, which quotes no content, also
    when there is more than `limit_bytes`.
    """
    try:
        descriptor = _open_regular(path, follow=follow)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit_bytes + 1) or b""  # None where it would have to wait
    except OSError as error:
        raise _storage_error("read", path, error) from error
    if len(data) > limit_bytes:
        raise StorageError(
            f"{path} is over {limit_bytes} bytes",
            remedy="check that this is the file that was meant",
        )
    return data


def _open_regular(path: Path, *, follow: bool) -> int:
    """A descriptor to read from, if that is a regular file: looked at by one that opens nothing
    (O_PATH), so that it cannot be another file by the time it is opened."""
    place = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise StorageError(
                f"cannot read {path}: it is not a regular file",
                remedy="name a file; a pipe, a device or a directory is not read",
            )
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(place)


def _storage_error(verb: str, path: Path, error: OSError) -> StorageError:
    number = error.errno or 0
    return StorageError(
        f"cannot {verb} {path}: {os.strerror(number) if number else 'unknown error'}",
        remedy=_REMEDIES.get(number, "check the disk and the path, then try again"),
        retryable=number in _MAY_PASS,
    )
