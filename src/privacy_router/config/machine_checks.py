"""What the sections of a document must not say to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.config.bridge_flow_checks import bridge_location, check_bridge_flows
from privacy_router.config.net_checks import check_net
from privacy_router.config.problems import Problem, json_path
from privacy_router.config.reserved import NODE_DEVICES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.models import Plugins, PrivacyRouterConfig
    from privacy_router.config.plugins.net import NetConfig
    from privacy_router.config.plugins.openflow import BridgeFlowsConfig


def check_together(plugins: Plugins) -> Iterator[Problem]:
    """Problems within a section and between sections whose values are each right by themselves."""
    if plugins.net is not None:
        yield from check_net(plugins.net)
    if plugins.privacy is not None and plugins.privacy_router is not None:
        other = "one of the two: plugins.privacy_router has the same keys and all others"
        yield Problem("plugins.privacy", "this section beside plugins.privacy_router", other)
    node = plugins.node
    if plugins.net is not None and node is not None:
        yield from _two_owners(plugins.net, node)
    if plugins.openflow is not None:
        yield from check_bridge_flows(plugins.openflow)
    if plugins.openflow is not None and node is not None:
        yield from _flows_of_the_node(plugins.openflow, node)


def _two_owners(net: NetConfig, node: PrivacyRouterConfig) -> Iterator[Problem]:
    """The node's bridge and ports are the node's own: their flows, their namespaces, their end."""
    owned = {node.bridge_name, *node.privacy_port_names, *node.mesh_port_names, *NODE_DEVICES}
    for location, name in _places(net):
        if name in owned:
            found = f"{name}, which the node has for itself"
            yield Problem(json_path(location), found, "a name that is not the node's")


def _flows_of_the_node(flows: BridgeFlowsConfig, node: PrivacyRouterConfig) -> Iterator[Problem]:
    """Flows on the node's bridge are checked against its chain, where the node's section is."""
    if node.bridge_name in flows.bridges:
        yield Problem(
            json_path(bridge_location(node.bridge_name)),
            f"{node.bridge_name}, the privacy router's bridge",
            "another bridge; flows of this one go into plugins.privacy_router.openflow:"
            " privacy_flows, additional_flows and flow_policies",
        )


def _places(net: NetConfig) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where the section names a device, and that name."""
    for name, bridge in net.bridges.items():
        here = ("plugins", "net", "bridges", name)
        yield here, name
        yield from (((*here, "ports", port), port) for port in bridge.ports)
        if bridge.uplink is not None:
            yield (*here, "uplink"), bridge.uplink
    for name in net.interfaces:
        yield ("plugins", "net", "interfaces", name), name
    for number, route in enumerate(net.routes):
        if route.dev is not None:
            yield ("plugins", "net", "routes", number, "dev"), route.dev
