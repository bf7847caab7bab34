"""Kernel settings of one network namespace, by way of /proc/sys/net."""

from __future__ import annotations

from pathlib import Path

from privacy_router.host.namespaces import run_in

_ROOT = Path("/proc/sys/net")


def read(namespace: Path | None, names: tuple[str, ...]) -> dict[str, str | None]:
    """The values of settings such as `ipv4/ip_forward`; None for one that does not exist."""

    def work() -> dict[str, str | None]:
        return {name: _read_one(_ROOT / name) for name in names}

    return run_in(namespace, work)


def _read_one(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


def write(namespace: Path | None, values: dict[str, str]) -> None:
    """Set the given settings. Raises OSError for one that does not exist."""

    def work() -> None:
        for name, value in values.items():
            (_ROOT / name).write_text(value)

    run_in(namespace, work)
