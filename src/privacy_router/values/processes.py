"""A program that the node runs, what makes a running one outdated, and both as items."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privacy_router.values.confinement import Confinement
from privacy_router.values.items import NODE, ItemValue, Key, Kind, Plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class ProcessSpec:
    """A process to run: `inputs` is what makes a running one outdated when it changes.

    `inputs` is hashed and may hold a configuration with secrets; it is written to `input_file`, for
    the process alone to read, and nowhere else. `confinement` is in force where systemd runs the
    machine.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    namespace: Path | None = None
    inputs: bytes = field(default=b"", repr=False)
    input_file: Path | None = None
    confinement: Confinement = field(default_factory=Confinement)

    @property
    def fingerprint(self) -> str:
        """Changes when a running process of this name would have to be started anew."""
        digest = hashlib.sha256()
        for part in (
            *self.argv,
            str(self.namespace),
            repr(self.confinement),
            *sorted(f"{k}={v}" for k, v in self.env.items()),
        ):
            digest.update(part.encode() + b"\0")
        digest.update(self.inputs)
        return digest.hexdigest()[:32]


# --- as items -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProcessKey(Key, kind=Kind.PROCESS):
    """A process of the node's by its name. `pid` is that of a second one of the name, which is one
    too many, and None else. Value: `ProcessState`."""

    where: str = field(default=NODE, init=False)
    process: str
    pid: int | None = None

    @property
    def name(self) -> str:
        """Its name in the node; of one too many with its number."""
        return self.process if self.pid is None else f"{self.process} (pid {self.pid})"


@dataclass(frozen=True)
class ProcessState(ItemValue):
    """What a process was started with, and whether it is where it should be and can be asked."""

    fingerprint: str
    is_elsewhere: bool = False
    is_unreachable: bool = False

    def plain(self) -> Plain:
        """In one text."""
        return str(self)

    def __str__(self) -> str:
        troubles = (" elsewhere" * self.is_elsewhere, " unreachable" * self.is_unreachable)
        return self.fingerprint + "".join(troubles)
