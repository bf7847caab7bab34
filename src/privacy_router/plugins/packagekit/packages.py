"""Packages as PackageKit writes them: `name;version;architecture;data`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_PARTS: Final = 4
_INFO_MASK: Final = 0xFFFF  # above it stands how urgent an update is
_DEBIAN_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i686": "i386",
    "armv7l": "armhf",
    "ppc64le": "ppc64el",
}
_EVERYWHERE: Final = frozenset({"all", "noarch"})


class Info(IntEnum):
    """What is said of a package; PkInfoEnum of pk-enum.h."""

    INSTALLED = 1
    AVAILABLE = 2
    DOWNLOADING = 10
    UPDATING = 11
    INSTALLING = 12
    REMOVING = 13
    OBSOLETING = 15
    REINSTALLING = 19
    DOWNGRADING = 20
    UNTRUSTED = 23


COMING: Final = frozenset({Info.UPDATING, Info.INSTALLING, Info.REINSTALLING, Info.DOWNGRADING})
GOING: Final = frozenset({Info.REMOVING, Info.OBSOLETING})


@dataclass(frozen=True)
class Package:
    """A version of a package, and what was said of it."""

    info: int
    name: str
    version: str
    architecture: str
    data: str = ""

    @property
    def id(self) -> str:
        """As PackageKit takes it; without data the repository does not matter."""
        return f"{self.name};{self.version};{self.architecture};{self.data}"

    @property
    def automatic(self) -> bool:
        """Whether it came only because others need it."""
        return self.data.lstrip("+").startswith("auto:")


def parse_package(info: int, package_id: str) -> Package:
    """What the signal Package says. Raises ValueError for what is no id."""
    parts = package_id.split(";", _PARTS - 1)
    if len(parts) != _PARTS or not parts[0]:
        raise ValueError(f"not the id of a package: {package_id}")
    return Package(info & _INFO_MASK, *parts)


@dataclass(frozen=True)
class Naming:
    """How packages are called here: those of another architecture `name:architecture`."""

    native: frozenset[str] = _EVERYWHERE

    @classmethod
    def of_distro(cls, distro_id: str) -> Naming:
        """For PackageKit's DistroId, such as debian;12;x86_64."""
        machine = distro_id.rpartition(";")[2]
        return cls(_EVERYWHERE | {machine, _DEBIAN_ARCHITECTURES.get(machine, machine)})

    def name_of(self, package: Package) -> str:
        """What the package is called."""
        if package.architecture in self.native:
            return package.name
        return f"{package.name}:{package.architecture}"


@dataclass(frozen=True)
class State:
    """A package on this machine: what is installed, and the best that there is."""

    installed: Package | None = None
    offered: Package | None = None

    @property
    def version(self) -> str | None:
        """The version that is installed."""
        return self.installed.version if self.installed else None

    def package_id(self, version: str, *, automatic: bool = False) -> str | None:
        """The id of a version of it; None when nothing is known of the package."""
        known = self.installed or self.offered
        if known is None:
            return None
        data = "+auto:" if automatic else ""
        return Package(0, known.name, version, known.architecture, data).id
