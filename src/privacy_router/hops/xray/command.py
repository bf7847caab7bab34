"""How the XRay client's process is started (pure)."""

from __future__ import annotations

from privacy_router.values import programs


def arguments(config_file: str) -> tuple[str, ...]:
    """The arguments that start this program; `config_file` must be private (0600)."""
    return programs.command("privacy_router.hops.xray.runner", config_file)
