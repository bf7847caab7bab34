"""A repository of small packages inside the machine, in place of Debian's."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path("/srv/packages")
SOURCES: Final = Path("/etc/apt/sources.list")
GATE: Final = Path("/run/slow-package-may-go-on")
_UNSIGNED: Final = f"deb file:{ROOT} ./\n"
_TRUSTED: Final = f"deb [trusted=yes] file:{ROOT} ./\n"

# name, version, further fields
PACKAGES: Final = (
    ("pr-one", "1.0", ""),
    ("pr-one", "2.0", ""),
    ("pr-lib", "1.0", ""),
    ("pr-lib", "2.0", ""),
    ("pr-app", "1.0", "Depends: pr-lib\n"),
    ("pr-app", "2.0", "Depends: pr-lib (>= 2.0)\n"),
    ("pr-foe", "1.0", "Conflicts: pr-one\n"),
    ("pr-plus+", "1.0", ""),
    ("pr-plus+", "2.0", ""),
    ("pr-slow", "1.0", ""),
)
_WAIT_AT_THE_GATE: Final = f"#!/bin/sh\nwhile ! [ -e {GATE} ]; do sleep 0.05; done\n"


def run(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def build() -> None:
    """Make the packages, and have apt know these and no others."""
    ROOT.mkdir(parents=True, exist_ok=True)
    for name, version, fields in PACKAGES:
        _build(name, version, fields)
    for other in Path("/etc/apt/sources.list.d").iterdir():
        other.unlink()
    publish()


def _build(name: str, version: str, fields: str) -> None:
    tree = ROOT / "build"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\n{fields}"
        "Maintainer: Nobody <nobody@example.net>\nDescription: for tests\n"
    )
    if name == "pr-slow":
        script = tree / "DEBIAN/postinst"
        script.write_text(_WAIT_AT_THE_GATE)
        script.chmod(0o755)
    run("dpkg-deb", "--build", str(tree), str(file_of(name, version)))
    shutil.rmtree(tree)


def file_of(name: str, version: str) -> Path:
    """Where a package lies."""
    return ROOT / f"{name}_{version}_all.deb"


def publish(*, trusted: bool = True) -> None:
    """Have apt know the packages that lie there now."""
    entries = [_entry(path) for path in sorted(ROOT.glob("*.deb"))]
    (ROOT / "Packages").write_text("\n".join(entries))
    SOURCES.write_text(_TRUSTED if trusted else _UNSIGNED)
    run("apt-get", "update", "--allow-insecure-repositories")


def _entry(path: Path) -> str:
    data = path.read_bytes()
    control = run("dpkg-deb", "--field", str(path))
    digest = hashlib.sha256(data).hexdigest()
    return f"{control}Filename: ./{path.name}\nSize: {len(data)}\nSHA256: {digest}\n"


def installed() -> dict[str, str]:
    """Our packages that dpkg has, with their versions and whether they came by themselves."""
    listed = run("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n")
    automatic = set(run("apt-mark", "showauto").split())
    rows = [line.split(" ") for line in listed.splitlines()]
    return {
        name: f"{version} automatic" if name in automatic else version
        for name, version, status in rows
        if status == "installed" and name.startswith("pr-")
    }


def purge() -> None:
    """No package of ours is there."""
    names = sorted({name for name, _, _ in PACKAGES})
    GATE.touch()
    run("dpkg", "--configure", "-a")
    run("dpkg", "--purge", *names)
    GATE.unlink()
