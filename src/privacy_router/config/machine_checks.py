"""What the sections of a document must not say to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.config.problems import Problem, json_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.models import Plugins, PrivacyRouterConfig
    from privacy_router.config.plugins.net import NetConfig


def check_together(plugins: Plugins) -> Iterator[Problem]:
    """Problems between sections that are each right by themselves."""
    if plugins.net is not None and plugins.privacy_router is not None:
        yield from _two_owners(plugins.net, plugins.privacy_router)


def _two_owners(net: NetConfig, node: PrivacyRouterConfig) -> Iterator[Problem]:
    """The node's bridge and ports are the node's own: their flows, their namespaces, their end."""
    owned = {node.bridge_name, *node.privacy_port_names, *node.mesh_port_names}
    for kind, names in (("bridges", net.bridges), ("interfaces", net.interfaces)):
        for name in sorted(names.keys() & owned):
            path = json_path(("plugins", "net", kind, name))
            yield Problem(path, "what the node has for itself", "a name that is not the node's")
