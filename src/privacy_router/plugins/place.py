"""Where plugins work: the bus with the machine's services, and the root of its file system."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privacy_router.host.dbus import Bus


@dataclass(frozen=True)
class Place:
    """A machine, or in tests what stands for one: then `root` is a directory of the test's."""

    bus: Bus
    root: Path = Path("/")

    def path(self, absolute: str) -> Path:
        """A file of the machine."""
        return self.root / absolute.lstrip("/")
