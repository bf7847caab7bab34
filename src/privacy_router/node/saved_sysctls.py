"""Settings of the host that the node changes, and gives back as it found them.

Only a chain without WARP changes any: its uplink has to forward XRay's connection to the VPS.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from privacy_router.errors import StorageError
from privacy_router.host import sysctl
from privacy_router.host.boot import boot_id
from privacy_router.host.files import read_bounded, write_private
from privacy_router.json_input import JsonError, read_json_untrusted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LIMIT_BYTES: Final = 1024 * 1024


class SavedSysctls:
    """A note of what settings were before the first change.

    It is of one boot, since the kernel forgets them with it, but not in the run directory: who
    clears that must not take away what is to be given back. `older` is where it was in earlier
    versions.
    """

    def __init__(self, path: Path, older: Path | None = None) -> None:
        self._path = path
        self._older = older

    def note(self, name: str, before: str | None) -> None:
        """Remember what a setting was; the first note counts."""
        known = self._read()
        if before is not None and name not in known:
            self._write({**known, name: before})

    def names(self) -> list[str]:
        """The settings that were changed, such as `ipv4/conf/eth0/forwarding`."""
        return list(self._read())

    def before(self, name: str) -> str | None:
        """What a setting was before the node changed it; None for one that it did not change."""
        return self._read().get(name)

    def give_one_back(self, name: str) -> None:
        """Set one as it was; a device that is gone has no settings any more."""
        known = self._read()
        value = known.pop(name, None)
        if value is not None and sysctl.read(None, (name,))[name] is not None:
            sysctl.write(None, {name: value})
        self._write(known)

    def give_back(self) -> None:
        """Set everything as it was."""
        for name in self.names():
            self.give_one_back(name)

    def _write(self, known: Mapping[str, str]) -> None:
        if known:
            note = {"boot": boot_id(), "settings": dict(known)}
            write_private(self._path, json.dumps(note).encode())
        else:
            self._path.unlink(missing_ok=True)
        if self._older is not None:
            self._older.unlink(missing_ok=True)

    def _read(self) -> dict[str, str]:
        if self._path.exists():
            note = _object_untrusted(self._path)
            is_of_now = note.get("boot") == boot_id()
            return _settings_untrusted(self._path, note.get("settings")) if is_of_now else {}
        if self._older is not None and self._older.exists():
            return _settings_untrusted(self._older, _object_untrusted(self._older))
        return {}


def _object_untrusted(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises StorageError."""
    try:
        note = read_json_untrusted(read_bounded(path, _LIMIT_BYTES))
    except JsonError as error:
        raise _damaged(path) from error
    if not isinstance(note, dict):
        raise _damaged(path)
    return note


def _settings_untrusted(path: Path, found: Any) -> dict[str, str]:
    """Settings by name, each a place below /proc/sys/net. Raises StorageError."""
    if not isinstance(found, dict):
        raise _damaged(path)
    for name, value in found.items():
        if not isinstance(value, str) or name.startswith("/") or ".." in name.split("/"):
            raise _damaged(path)
    return found


def _damaged(path: Path) -> StorageError:
    return StorageError(
        f"the note of the host's settings {path} is damaged",
        remedy="remove it; what was changed is net.*.forwarding of the uplink",
    )
