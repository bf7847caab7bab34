"""What plugins work on, a machine, and the plugins that keep one."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from privacy_router.engine.plugin import Plugin
    from privacy_router.host.dbus import Bus


@dataclass(frozen=True)
class Machine:
    """A machine: the bus with its services, and the root of its file system.

    In tests `root` is a directory that stands for one.
    """

    bus: Bus
    root: Path = Path("/")

    def path(self, absolute: str) -> Path:
        """A file of the machine."""
        return self.root / absolute.lstrip("/")


# Loaded one by one, so that a broken library takes one plugin away and not the daemon.
_CLASSES: Final = {
    "packagekit": "PackagekitPlugin",
    "pcidecl": "PcideclPlugin",
    "net": "NetPlugin",
    "dns": "DnsPlugin",
    "openflow": "OpenflowPlugin",
    "systemd": "SystemdPlugin",
    "login1": "Login1Plugin",
    "sessdecl": "SessdeclPlugin",
}
MACHINE_PLUGINS: Final = tuple(_CLASSES)
"""The names that the document and the bus have for the plugins that need a machine and nothing
else."""


def make(name: str, machine: Machine) -> Plugin:
    """The plugin of that name, one of MACHINE_PLUGINS. Raises ImportError."""
    module = import_module(f"privacy_router.plugins.{name}")
    made: Plugin = getattr(module, _CLASSES[name])(machine)
    return made
