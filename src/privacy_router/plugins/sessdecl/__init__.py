"""Declared sessions: those that have to be there, and those that must not."""

from privacy_router.plugins.sessdecl.plugin import SessdeclPlugin

__all__ = ["SessdeclPlugin"]
