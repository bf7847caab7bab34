"""Our file among those of logind.conf.d, and the ones that are read after it.

Blocks on the disk.
"""

from __future__ import annotations

import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.errors import StorageError
from privacy_router.host.files import make_directory, write_atomic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from privacy_router.engine.model import Value
    from privacy_router.plugins.target import Machine

FILE: Final = "/etc/systemd/logind.conf.d/50-privacy-router.conf"
_DIRECTORIES: Final = (  # of two files of one name the earlier directory's is read
    "/etc/systemd/logind.conf.d",
    "/run/systemd/logind.conf.d",
    "/usr/local/lib/systemd/logind.conf.d",
    "/usr/lib/systemd/logind.conf.d",
)
_HEADER: Final = "# Written by op-dbus, which does so again: change plugins.login1 of its document."
_MODE: Final = 0o644
_DIRECTORY_MODE: Final = 0o755


@dataclass(frozen=True)
class DropIn:
    """Our file. Its methods raise StorageError."""

    path: Path

    def read(self) -> dict[str, str]:
        """The settings in it, as they are written there."""
        with self._telling():
            return dict(_assignments(self.path)) if self.path.is_file() else {}

    def write(self, lines: Mapping[str, str]) -> None:
        """Have it with these settings and no others; without settings there is no file."""
        if not lines:
            with self._telling():
                self.path.unlink(missing_ok=True)
            return
        body = "".join(f"{name}={lines[name]}\n" for name in sorted(lines))
        self._make_directory()
        write_atomic(self.path, f"{_HEADER}\n[Login]\n{body}".encode(), _MODE)

    def save(self) -> Value:
        """What is there, also when another program made it, for `restore`."""
        with self._telling():
            return {"directory": self.path.parent.is_dir(), "entry": self._entry()}

    def _entry(self) -> Value:
        try:
            found = self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(found.st_mode):
            return {"link": str(self.path.readlink())}
        # Latin-1 has a character for every byte.
        text = self.path.read_bytes().decode("latin-1")
        return {"text": text, "mode": stat.S_IMODE(found.st_mode)}

    def restore(self, saved: Value) -> None:
        """Have exactly what was saved."""
        entry = saved["entry"]
        if saved["directory"]:
            self._make_directory()
        with self._telling():
            if entry is None or "link" in entry:
                self.path.unlink(missing_ok=True)
            if entry is not None and "link" in entry:
                self.path.symlink_to(entry["link"])
            if not saved["directory"] and self.path.parent.is_dir():
                with suppress(OSError):  # another program's files are in it by now
                    self.path.parent.rmdir()
        if entry is not None and "text" in entry:
            write_atomic(self.path, entry["text"].encode("latin-1"), entry["mode"])

    def _make_directory(self) -> None:
        with self._telling():
            if not self.path.parent.is_dir():
                make_directory(self.path.parent)
                self.path.parent.chmod(_DIRECTORY_MODE)  # against the umask

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"cannot use {self.path}: {error.strerror}",
                remedy="make sure that it is a plain file on a disk that can be written",
            ) from error


def overriding(machine: Machine, names: Collection[str]) -> dict[str, Path]:
    """Which of these settings a file says that is read after ours, by name: that file."""
    ours = machine.path(FILE).name
    return {
        name: path
        for path in _files(machine)
        if path.name > ours
        for name, _ in _assignments(path)
        if name in names
    }


def _files(machine: Machine) -> list[Path]:
    """The drop-in files in the order in which they are read."""
    found: dict[str, Path] = {}
    for directory in _DIRECTORIES:
        for path in machine.path(directory).glob("*.conf"):
            found.setdefault(path.name, path)
    return [found[name] for name in sorted(found) if found[name].is_file()]


def _assignments(path: Path) -> Iterator[tuple[str, str]]:
    section = ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped
        elif section == "[Login]" and "=" in stripped and stripped[0] not in "#;":
            name, _, value = stripped.partition("=")
            yield name.strip(), value.strip()
