"""A program that the node runs, and what makes a running one outdated."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from privacy_router.values.confinement import Confinement

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
