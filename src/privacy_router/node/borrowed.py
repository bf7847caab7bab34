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
        if known:
            write_private(self._path, json.dumps(known).encode())
        else:
            self._path.unlink(missing_ok=True)

    def give_back(self) -> None:
        """Set everything as it was."""
        for name in self.names():
            self.give_one_back(name)

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
