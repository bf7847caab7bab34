"""What a document may ask for and this version does not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privacy_router.config.models import PrivacyRouterConfig

PATTERN_HIDING_LEVEL = 2
ADVANCED_OBFUSCATION_LEVEL = 3


def notes(config: PrivacyRouterConfig) -> list[str]:
    """One sentence for each thing that is accepted, but not in force in this version."""
    level = config.openflow.obfuscation_level
    mesh = config.containers or config.mesh_sockets or config.openflow.function_routing
    cases = (
        (
            config.openflow.enable_security_flows,
            (
                "openflow.enable_security_flows, beyond port scans and spoofed MACs (fragments, bad"
                " sources, rate limits, connection tracking)"
            ),
        ),
        (
            level >= PATTERN_HIDING_LEVEL,
            f"openflow.obfuscation_level {level}, packet padding and timing randomization",
        ),
        (
            level >= ADVANCED_OBFUSCATION_LEVEL,
            f"openflow.obfuscation_level {level}, traffic morphing, protocol mimicry and decoys",
        ),
        (config.netmaker.enabled, "netmaker.enabled, joining a Netmaker network"),
        (bool(mesh), "containers, mesh sockets and function routing"),
    )
    return [f"{what}: accepted, but not in force in this version." for on, what in cases if on]
