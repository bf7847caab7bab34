"""All plugins, by the names that the document and the bus have for them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from privacy_router.engine.plugin import Plugin
    from privacy_router.plugins.place import Place

# Loaded one by one, so that a broken library takes one plugin away and not the daemon.
_CLASSES: Final = {
    "packagekit": "PackagekitPlugin",
    "pcidecl": "PcideclPlugin",
    "net": "NetPlugin",
    "dns": "DnsPlugin",
    "openflow": "OpenflowPlugin",
    "systemd": "SystemdPlugin",
    "login1": "Login1Plugin",
    "sessdecl": "SessdeclPlugin",
}
MACHINE_PLUGINS: Final = tuple(_CLASSES)
"""Those that keep the machine itself and need nothing but a place."""


def make(name: str, place: Place) -> Plugin:
    """The plugin of that name, one of MACHINE_PLUGINS."""
    module = import_module(f"privacy_router.plugins.{name}")
    made: Plugin = getattr(module, _CLASSES[name])(place)
    return made
