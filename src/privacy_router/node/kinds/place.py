"""Where items are looked for: the network namespaces of a node, and the node as a whole."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Self

from privacy_router.host import namespaces
from privacy_router.host.netlink import Netlink
from privacy_router.node.bridge_row import read_bridge
from privacy_router.values.items import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import NodeState
    from privacy_router.values.bridges import BridgeRow
    from privacy_router.values.network import Link, Routes


def path_of(where: str) -> Path | None:
    """The path of a namespace by its name in keys; None for the host's own."""
    return None if where == HOST else namespaces.path_of(where)


class Look:
    """One look at what of a node is in no namespace. What several kinds need is read once."""

    def __init__(self, desired: NodeState, machine: NodeHost) -> None:
        self.desired = desired
        self.machine = machine

    @cached_property
    def bridge(self) -> BridgeRow | None:
        """The node's bridge, with the settings of the ports that it should have."""
        bridge = self.desired.bridge
        return read_bridge(bridge.name, self.machine, [port.name for port in bridge.ports])


class Place:
    """One look at a namespace, from a thread that is in it; to be closed (a context manager).

    `where` is its name, HOST the host's own.
    """

    def __init__(self, where: str, desired: NodeState, machine: NodeHost) -> None:
        self.where = where
        self.desired = desired
        self.machine = machine

    @cached_property
    def netlink(self) -> Netlink:
        """A session in the namespace."""
        return Netlink(path_of(self.where))

    @cached_property
    def links(self) -> Mapping[str, Link]:
        """Its devices by name, read once."""
        return self.netlink.links()

    @cached_property
    def routes(self) -> Routes:
        """Its routes, read once."""
        return self.netlink.routes()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if "netlink" in vars(self):
            self.netlink.close()
