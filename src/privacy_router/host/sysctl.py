"""Kernel settings of one network namespace, by way of /proc/sys/net."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from privacy_router.host.namespaces import run_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_ROOT: Final = "/proc/sys/net"
_VALUE_BYTES: Final = 4096


def read(namespace: Path | None, names: Iterable[str]) -> dict[str, str | None]:
    """The values of settings such as `ipv4/ip_forward`; None for one that does not exist.

    Raises OSError. Hundreds are read every second, so this keeps to system calls.
    """
    return run_in(namespace, lambda: read_here(names))


def read_here(names: Iterable[str]) -> dict[str, str | None]:
    """The same in the namespace that the calling thread is in."""
    return {name: _read_one(f"{_ROOT}/{name}") for name in names}


def _read_one(path: str) -> str | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(handle, _VALUE_BYTES).decode().strip()
    finally:
        os.close(handle)


def write(namespace: Path | None, values: Mapping[str, str]) -> None:
    """Set the given settings. Raises OSError for one that does not exist."""

    def work() -> None:
        for name, value in values.items():
            _write_one(f"{_ROOT}/{name}", value)

    run_in(namespace, work)


def _write_one(path: str, value: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, f"{value}\n".encode())  # an empty value is written as an empty line
    finally:
        os.close(handle)
