"""What a run works with: the kernel's network, and Open vSwitch once a step asks for it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from privacy_router.errors import PrivacyRouterError
from privacy_router.host.kernel_network import KernelNetwork
from privacy_router.host.routes import LOCAL_TABLE, PROTOCOL_KERNEL
from privacy_router.ovsdb.host_bridges import HostBridges
from privacy_router.plugins.net.errors import doing
from privacy_router.plugins.net.observe import name_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from privacy_router.engine.plugin import Progress
    from privacy_router.host.addresses import AddressEntry
    from privacy_router.host.routes import RouteEntry
    from privacy_router.plugins.net.observe import Location


class NetSession:
    """Open sessions; a context manager."""

    def __init__(self, location: Location, tell: Progress) -> None:
        self.location = location
        self.tell = tell
        self._open = ExitStack()
        self._ovs: HostBridges | None = None
        with doing("talk to the kernel"):
            self.network = self._open.enter_context(KernelNetwork(location.namespace))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def ovs(self) -> HostBridges:
        """Open vSwitch. Raises OvsdbError when it does not answer."""
        if self._ovs is None:
            self._ovs = self._open.enter_context(HostBridges(self.location.ovs_socket))
        return self._ovs

    # --- addresses and routes --------------------------------------------------------------------

    def somebodys_routes(self) -> list[RouteEntry]:
        """The routes that a program or an operator made, those that others need first."""
        found = [
            route
            for route in self.network.routes()
            if route.protocol != PROTOCOL_KERNEL and route.table != LOCAL_TABLE
        ]
        return sorted(found, key=lambda route: route.gateway is not None or not route.is_simple)

    def remove_addresses(self, entries: Collection[AddressEntry], *, routes: bool = True) -> None:
        """Take addresses away, and nothing else: the kernel takes along with the first address of
        an IPv4 network the others in it, and the routes that need one of them."""
        if not entries:
            return
        addresses, led = self.network.addresses(), self.somebodys_routes()
        for entry in entries:
            with doing(f"take {entry.address} off {entry.device}"):
                self.network.delete_address(entry)
        targets = {(entry.device, entry.address) for entry in entries}
        kept = [e for e in addresses if (e.device, e.address) not in targets]
        self.put_back_addresses(kept)
        if routes:
            self.put_back_routes(led, only_if_possible=True)

    def put_back_addresses(self, entries: Iterable[AddressEntry]) -> None:
        """Have these again where they are missing."""
        there = {(entry.device, entry.address) for entry in self.network.addresses()}
        devices = self.network.indexes()
        for entry in in_order(entries):
            if entry.device in devices and (entry.device, entry.address) not in there:
                with doing(f"put {entry.address} back on {entry.device}"):
                    self.network.put_address(entry.device, entry)

    def put_back_routes(
        self, routes: Iterable[RouteEntry], *, only_if_possible: bool = False
    ) -> None:
        """Have these again where they are missing."""
        indexes = self.network.indexes()
        now = self.somebodys_routes()
        for route in routes:
            if any(route.same_as(other, indexes) for other in now):
                continue
            if not set(route.devices) <= indexes.keys():
                continue  # it went with its device
            try:
                with doing(f"put the route {name_of(route)} back"):
                    self.network.add_route(route)
            except PrivacyRouterError:
                if not only_if_possible:
                    raise
                self.tell(f"the route {name_of(route)} led by way of what is gone now")


def in_order(entries: Iterable[AddressEntry]) -> Sequence[AddressEntry]:
    """In the order in which to add them, so that the kernel lists them as it did: it puts a new
    IPv6 address before the others."""
    found = list(entries)
    v4 = [entry for entry in found if entry.address.version == 4]
    return [*v4, *reversed([entry for entry in found if entry.address.version == 6])]
