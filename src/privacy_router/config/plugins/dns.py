"""`plugins.dns`: how the machine resolves names."""

from __future__ import annotations

from privacy_router.config.sections import Section


class DnsConfig(Section):
    """The machine's resolver."""
