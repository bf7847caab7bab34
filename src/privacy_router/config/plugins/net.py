"""`plugins.net`: bridges, interfaces, addresses and routes."""

from __future__ import annotations

from privacy_router.config.sections import Section


class NetConfig(Section):
    """The machine's own network."""
