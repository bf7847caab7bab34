"""Packages that are installed or not, through PackageKit."""

from privacy_router.plugins.packagekit.plugin import PackagekitPlugin

__all__ = ["PackagekitPlugin"]
