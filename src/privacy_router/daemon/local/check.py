"""What `check` looks at besides the document's own rules: its flows, its profile, this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.warp.remarks import not_in_force
from privacy_router.hops.warp.store import load_profile
from privacy_router.node.obstacles import obstacles, sees_all
from privacy_router.node.paths import NodePaths
from privacy_router.pipeline.compile import Pipeline
from privacy_router.plugins.openflow.declare import declare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.client.rows import Obstacle
    from privacy_router.config import Document, PrivacyRouterConfig
    from privacy_router.config.models import Plugins

__all__ = ["obstacles_of", "profile_notes", "require_valid", "sees_all"]


def require_valid(plugins: Plugins) -> None:
    """Compile the flows that the document declares. Raises InvalidError."""
    if plugins.node is not None:
        Pipeline(plugins.node, CATALOGUE.segment(plugins.node)).require_valid()
    declare(plugins.openflow)


def obstacles_of(document: Document) -> list[Obstacle]:
    """What would stop `up` with that document, as far as the caller may see it."""
    config = document.plugins.node
    return [] if config is None else obstacles(config, NodePaths.from_environment())


def profile_notes(config: PrivacyRouterConfig, *, only_file: bool) -> Iterator[str]:
    """What of the imported WARP profile is not in force; where only the file is judged also why
    that is not known, which is an obstacle else."""
    path = config.warp.wgcf_config
    if path is None or not config.warp.enabled:
        return
    try:
        profile = load_profile(path)
    except PrivacyRouterError as error:
        if only_file:
            yield f"warp.wgcf_config: {error.message}"
        return
    for key, reason in not_in_force(profile, config.warp):
        yield f"warp.wgcf_config, {key}: not in force; {reason}."
