"""The devices, addresses and routes of one network namespace: read them, change them, at once."""

from __future__ import annotations

import errno
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Self

from privacy_router.host.addresses import AddressEntry, device_index
from privacy_router.host.devices import Device, index_in, link_change, name_in, read_device
from privacy_router.host.neighbours import learned
from privacy_router.host.routes import RouteEntry, read_route
from privacy_router.host.rtnetlink import Flag, Session, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from privacy_router.host.rtnetlink import Message

_GONE = {errno.ENODEV, errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENOENT}


class KernelNetwork:
    """The network of a namespace (None: the caller's own). A context manager; raises OSError."""

    def __init__(self, namespace: Path | None) -> None:
        self._session = Session(namespace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    # --- reading ---------------------------------------------------------------------------------

    def devices(self) -> dict[str, Device]:
        """All devices by name."""
        messages = self._session.dump(Verb.GETLINK)
        names = {index_in(message): name_in(message) for message in messages}
        found = (read_device(message, names) for message in messages)
        return {device.name: device for device in found}

    def indexes(self) -> dict[str, int]:
        """The number of each device."""
        return {name_in(m): index_in(m) for m in self._session.dump(Verb.GETLINK)}

    def addresses(self, device: str | None = None) -> list[AddressEntry]:
        """The addresses of a device (None: of all) in the kernel's order."""
        names = {index: name for name, index in self.indexes().items()}
        found = []
        for message in self._dump(Verb.GETADDR):
            name = names.get(device_index(message))
            if name is not None and device in (None, name):
                found.append(AddressEntry(name, message))
        return found

    def routes(self) -> list[RouteEntry]:
        """All routes in the kernel's order."""
        names = {index: name for name, index in self.indexes().items()}
        found = (read_route(message, names) for message in self._dump(Verb.GETROUTE))
        return [route for route in found if not route.is_cached]

    def _dump(self, verb: Verb) -> list[Message]:
        """What is of IP: multicast routing and others answer too."""
        return [m for m in self._session.dump(verb) if m.fixed[0] in (AF_INET, AF_INET6)]

    # --- changing --------------------------------------------------------------------------------

    def set_link(
        self,
        name: str,
        *,
        up: bool | None = None,
        promiscuous: bool | None = None,
        mtu_bytes: int | None = None,
    ) -> None:
        """Change a device; what is None stays as it is."""
        change = link_change(self.index(name), up=up, promiscuous=promiscuous, mtu_bytes=mtu_bytes)
        self._session.request(change)

    def put_address(self, device: str, entry: AddressEntry) -> None:
        """Have an address on a device, with all that it has elsewhere but the label."""
        message = entry.to_add(self.index(device), label=device == entry.device)
        self._session.request(message, Flag.CREATE | Flag.REPLACE)

    def delete_address(self, entry: AddressEntry) -> None:
        """Take an address that was read off its device; one that is gone is."""
        try:
            self._session.request(entry.to_delete())
        except OSError as error:
            if error.errno not in _GONE:
                raise

    def copy_neighbours(self, source: str, target: str) -> None:
        """Know on a device the neighbours of another that is on the same link."""
        ends = self.index(source), self.index(target)
        for message in learned(self._dump(Verb.GETNEIGH), *ends):
            self._session.request(message, Flag.CREATE | Flag.REPLACE)

    def put_route(self, entry: RouteEntry, moved: Mapping[str, str] | None = None) -> None:
        """Have a route, in place of one with its destination, table and metric; through other
        devices where `moved` says so."""
        self._session.request(self._route(entry, moved), Flag.CREATE | Flag.REPLACE)

    def add_route(self, entry: RouteEntry) -> None:
        """Have a route beside others with its destination, table and metric."""
        self._session.request(self._route(entry, None), Flag.CREATE | Flag.APPEND)

    def delete_route(self, entry: RouteEntry) -> None:
        """Take exactly this route away; one that is gone is."""
        try:
            self._session.request(entry.to_delete(self.indexes()))
        except KeyError:
            return  # its device is gone, and the route with it
        except OSError as error:
            if error.errno not in _GONE:
                raise

    def _route(self, entry: RouteEntry, moved: Mapping[str, str] | None) -> Message:
        try:
            return entry.to_add(self.indexes(), moved)
        except KeyError as error:
            raise OSError(errno.ENODEV, f"no network device named {error.args[0]}") from error

    def index(self, name: str) -> int:
        """The number of a device. Raises OSError when there is none of that name."""
        try:
            return self.indexes()[name]
        except KeyError:
            raise OSError(errno.ENODEV, f"no network device named {name}") from None
