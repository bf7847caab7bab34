"""The CPU time of a lab host's processes, by what each is; proc(5).

Run in the host it prints them as JSON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

NAMES: Final = {
    "hops.xray.runner": "xray",
    "privacy-router up": "op-dbus",
    "ovs-vswitchd": "ovs-vswitchd",
    "ovsdb-server": "ovsdb-server",
    "wg100": "wireguard-go wg100",
    "wgcf": "wireguard-go wgcf",
}
"""What a command line holds, and the name of such a process here; the first that fits."""


def name_of(command: str) -> str | None:
    """What a process is, by its command line; None for one that carries no traffic."""
    return next((name for word, name in NAMES.items() if word in command), None)


def seconds_here() -> dict[str, float]:
    """User and system time in seconds of the processes that are there."""
    found: dict[str, float] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended just now
        name = name_of(command)
        if name is not None:
            ticks = int(fields[11]) + int(fields[12])
            found[name] = found.get(name, 0.0) + ticks / os.sysconf("SC_CLK_TCK")
    return found


def per_gigabyte(
    before: dict[str, float], after: dict[str, float], size_bytes: int
) -> dict[str, float]:
    """CPU seconds for each gigabyte that was carried, by process."""
    return {name: (after[name] - before.get(name, 0.0)) / (size_bytes / 1e9) for name in after}


if __name__ == "__main__":
    print(json.dumps(seconds_here()))
