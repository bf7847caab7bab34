"""What PackageKit does not tell of apt: which versions there are, and what would happen with
other pins. Asks only."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privacy_router.host.threads import in_thread
from privacy_router.plugins.packagekit.declare import PINS, pin_file, pinned_name
from privacy_router.plugins.packagekit.failures import Code, failure

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from privacy_router.engine.model import Value
    from privacy_router.plugins.target import Machine

_COMES: Final = re.compile(r"Inst (\S+) (?:\[\S+\] )?\((\S+) ")
_GOES: Final = re.compile(r"(?:Remv|Purg) (\S+) ")


async def versions(names: Collection[str]) -> dict[str, frozenset[str]]:
    """The versions of these packages that repositories have. Raises PrivacyRouterError."""
    found: dict[str, set[str]] = {name: set() for name in names}
    if names:
        for line in (await _output("apt-cache", "madison", *sorted(names))).splitlines():
            name, version, _ = (part.strip() for part in line.split("|", 2))
            found.setdefault(name, set()).add(version)
    return {name: frozenset(found[name]) for name in names}


async def dry_run(
    machine: Machine, wishes: Mapping[str, str | None], pins: Mapping[str, Value]
) -> dict[str, str | None]:
    """What would happen to which package (the version it comes to, None: it goes) if these were
    installed (None: the newest version) once these pins are in force or (None) gone.

    PackageKit finds no version above the one that today's pins choose. Raises PrivacyRouterError.
    """
    with tempfile.TemporaryDirectory(prefix="op-dbus-pins-") as directory:
        await in_thread(_lay_out, machine.path(PINS), Path(directory), pins)
        asked = [
            name if version is None else f"{name}={version}" for name, version in wishes.items()
        ]
        output = await _output(
            *("apt-get", "--simulate", "--quiet", "--assume-yes", "--allow-downgrades"),
            *("--allow-change-held-packages", "-o", f"Dir::Etc::PreferencesParts={directory}"),
            *("install", *asked),
        )
    return parse_dry_run(output)


def parse_dry_run(output: str) -> dict[str, str | None]:
    """What apt-get --simulate says. Pure."""
    effects: dict[str, str | None] = {}
    for line in output.splitlines():
        if comes := _COMES.match(line):
            effects[comes[1]] = comes[2]
        elif goes := _GOES.match(line):
            effects.setdefault(goes[1], None)
    return effects


def _lay_out(today: Path, directory: Path, pins: Mapping[str, Value]) -> None:
    """The directory of pins as it will be."""
    directory.chmod(0o755)
    for path in sorted(today.iterdir()) if today.is_dir() else ():
        if pinned_name(path.name) not in pins:
            (directory / path.name).symlink_to(path)
    for name, value in pins.items():
        if value is not None:
            (directory / pin_file(name)).write_text(value["content"])


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = errors.decode(errors="replace") or output.decode(errors="replace")
        raise failure(Code.DEP_RESOLUTION_FAILED, said)
    return output.decode(errors="replace")
