"""What a document may ask for and this version does not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from privacy_router.config.models import PrivacyRouterConfig

PATTERN_HIDING_LEVEL = 2
ADVANCED_OBFUSCATION_LEVEL = 3

NOT_IN_FORCE = "accepted, but not in force in this version"
MADE_ELSEWHERE = (
    "accepted, but not made by this version; each is served as soon as its port (internal_{id}) "
    "is on the bridge"
)


def notes(config: PrivacyRouterConfig) -> list[str]:
    """One sentence for each thing that is accepted, but not in force in this version."""
    level = config.openflow.obfuscation_level
    cases = (
        (
            level >= PATTERN_HIDING_LEVEL,
            f"openflow.obfuscation_level {level}, packet padding and timing randomization",
            NOT_IN_FORCE,
        ),
        (
            level >= ADVANCED_OBFUSCATION_LEVEL,
            f"openflow.obfuscation_level {level}, traffic morphing, protocol mimicry and decoys",
            NOT_IN_FORCE,
        ),
        (config.netmaker.enabled, "netmaker.enabled, joining a Netmaker network", NOT_IN_FORCE),
        (
            any(container.network_type == "mesh" for container in config.containers),
            "containers",
            MADE_ELSEWHERE,
        ),
    )
    return [f"{what}: {how}." for on, what, how in cases if on]
