"""Settings of the host that the node changes, and gives back as it found them.

Only a chain without WARP changes any: its uplink has to forward XRay's connection to the VPS.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from privacy_router.errors import StorageError
from privacy_router.host import sysctl
from privacy_router.host.files import write_private

if TYPE_CHECKING:
    from pathlib import Path


class BorrowedSettings:
    """A note of what settings were before the first change, in the run directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, name: str, before: str | None) -> None:
        """Remember what a setting was; the first note counts."""
        known = self._read()
        if before is not None and name not in known:
            write_private(self._path, json.dumps({**known, name: before}).encode())

    def give_back(self) -> None:
        """Set everything as it was; a device that is gone has no settings any more."""
        for name, value in self._read().items():
            if sysctl.read(None, (name,))[name] is not None:
                sysctl.write(None, {name: value})
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, str]:
        try:
            known: dict[str, str] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise StorageError(
                f"the note of the host's settings {self._path} is damaged",
                remedy="remove it; what was changed is net.*.forwarding of the uplink",
            ) from error
        return known
