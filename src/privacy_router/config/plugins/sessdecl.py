"""`plugins.sessdecl`: sessions that may or may not be there."""

from __future__ import annotations

from privacy_router.config.sections import Section


class SessdeclConfig(Section):
    """Declared sessions."""
