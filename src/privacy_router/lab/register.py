"""Which labs there are on this machine: one directory each in /run/privacy-router-lab."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.errors import ConflictError, PrivacyRouterError
from privacy_router.host.files import write_private
from privacy_router.lab.hosts import LabHost

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path("/run/privacy-router-lab")
DEFAULT_NAME = "default"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True)
class Entry:
    """What is noted of a lab; `created_at` in seconds since the epoch."""

    created_at: float
    ready: bool
    node_started: bool
    hosts: tuple[LabHost, ...]


def _directory(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise PrivacyRouterError(
            f"{name!r} cannot be a lab's name",
            remedy="use up to 32 small letters, digits and dashes",
        )
    return ROOT / name


def names() -> list[str]:
    """The labs that are noted, alive or not."""
    if not ROOT.is_dir():
        return []
    return sorted(entry.name for entry in ROOT.iterdir() if entry.is_dir())


def read(name: str) -> Entry | None:
    """What is noted of a lab; None when there is none, or nothing that can be read."""
    try:
        document = json.loads((_directory(name) / "lab.json").read_bytes())
        hosts = tuple(LabHost(**host) for host in document.pop("hosts"))
        return Entry(**document, hosts=hosts)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def write(name: str, entry: Entry) -> None:
    """Note a lab, or note it anew."""
    write_private(_directory(name) / "lab.json", json.dumps(asdict(entry), indent=2).encode())


def forget(name: str) -> None:
    """Remove what is noted, and the place where labs are noted once it is empty."""
    shutil.rmtree(_directory(name), ignore_errors=True)
    with suppress(OSError):
        ROOT.rmdir()


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One `up` or `down` at a time for a lab. Raises ConflictError when another is at it."""
    directory = _directory(name)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConflictError(
            f"the lab {name} is being changed by another command",
            remedy="wait until that is done",
            retryable=True,
        ) from error
    finally:
        os.close(handle)
