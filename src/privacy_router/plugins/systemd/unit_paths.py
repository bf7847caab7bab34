"""Where units keep their files and links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.host.file_state import FILE_MAX_BYTES
from privacy_router.host.files import read_bounded
from privacy_router.plugins.systemd.names import DROP_IN, FILE, is_unit, template_of
from privacy_router.plugins.systemd.properties import PERSISTENT, RUNTIME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from privacy_router.plugins.target import Machine

OURS: Final = "/etc/systemd/system"
LINK_ROOTS: Final = (OURS, "/run/systemd/system")
CONTROL_ROOTS: Final = {PERSISTENT: f"{OURS}.control", RUNTIME: "/run/systemd/system.control"}
_SEARCHED: Final = (
    *LINK_ROOTS,
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_LINK_DIRECTORIES: Final = (".wants", ".requires", ".upholds")
_INVOCATION: Final = "/run/systemd/units/invocation:"


class UnitPaths:
    """Paths of a machine. Nothing here changes anything."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def of(self, kind: str, name: str) -> Path:
        """Where a unit file or a drop-in is."""
        if kind == DROP_IN:
            unit, _, file = name.partition("/")
            return self._machine.path(f"{OURS}/{unit}.d/{file}")
        return self._machine.path(f"{OURS}/{name}")

    def declared_here(self) -> Iterator[tuple[str, str]]:
        """Kind and name of each unit file and drop-in that an operator has put there."""
        for path in _entries(self._machine.path(OURS)):
            if path.is_file() and not path.is_symlink() and is_unit(path.name):
                yield FILE, path.name
            elif path.name.endswith(".d") and is_unit(unit := path.name[:-2]) and path.is_dir():
                yield from ((DROP_IN, f"{unit}/{p.name}") for p in sorted(path.glob("*.conf")))

    def settings_of(self, unit: str, name: str, how: str) -> list[Path]:
        """Where the service manager keeps a property that was set at run time, whether it is
        there or not. A relative value has a file of its own."""
        directory = self._machine.path(f"{CONTROL_ROOTS[how]}/{unit}.d")
        return [directory / f"50-{name}.conf", directory / f"50-{name}Scale.conf"]

    def all_settings(self, unit: str) -> Iterator[Path]:
        """All that were set of a unit."""
        for root in CONTROL_ROOTS.values():
            yield from _entries(self._machine.path(f"{root}/{unit}.d"))

    def set_properties(self) -> Iterator[tuple[str, str]]:
        """Unit and property of each that was set."""
        for root in CONTROL_ROOTS.values():
            for path in self._machine.path(root).glob("*.d/50-*.conf"):
                unit = path.parent.name.removesuffix(".d")
                yield unit, path.name.removeprefix("50-").removesuffix(".conf")

    def links(self) -> Iterator[Path]:
        """All links by which units are enabled, masked or have other names."""
        for root in LINK_ROOTS:
            for path in _entries(self._machine.path(root)):
                if path.is_symlink():
                    yield path
                elif path.name.endswith(_LINK_DIRECTORIES):
                    yield from (one for one in _entries(path) if one.is_symlink())

    def directories(self) -> Iterator[Path]:
        """All directories in which an entry may be made or removed here."""
        for root in (*LINK_ROOTS, *CONTROL_ROOTS.values()):
            path = self._machine.path(root)
            if path.is_dir():
                yield path
                yield from (one for one in _entries(path) if one.is_dir())

    def texts(self, unit: str) -> list[str]:
        """The texts of its files and drop-ins, wherever they are."""
        names = [name for name in (unit, template_of(unit)) if name is not None]
        found: list[Path] = []
        for root in (self._machine.path(one) for one in _SEARCHED):
            for name in names:
                found += [root / name, *sorted((root / f"{name}.d").glob("*.conf"))]
        return [_text(path) for path in found if path.is_file()]

    def invocation(self, unit: str) -> str:
        """The id of this run of a unit; empty unless it is active."""
        try:
            return self._machine.path(f"{_INVOCATION}{unit}").readlink().name
        except FileNotFoundError:
            return ""

    def invoked_at_ns(self, unit: str) -> int:
        """When this run of a unit began, in ns since the epoch; 0 unless it is active."""
        try:
            return self._machine.path(f"{_INVOCATION}{unit}").lstat().st_ctime_ns
        except FileNotFoundError:
            return 0


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _text(path: Path) -> str:
    return read_bounded(path, FILE_MAX_BYTES).decode(errors="replace")
