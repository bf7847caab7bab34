"""The network of one namespace as the node's plans know it: read it, change it."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from privacy_router.host import devices, neighbours, offloads, routing
from privacy_router.host.addresses import (
    AddressEntry,
    address_removal,
    device_index,
    new_address,
)
from privacy_router.host.namespaces import run_in
from privacy_router.host.rtnetlink import (
    Flag,
    NetlinkError,
    Session,
    Verb,
    refusal,
    translated,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from privacy_router.host.rtnetlink import Message
    from privacy_router.values.network import Interface, Link, Neighbour, Route, Routes, Rule

_GONE = (errno.ESRCH, errno.ENOENT)  # the second where its table is gone, too
_NEW = Flag.CREATE | Flag.EXCL
_PUT = Flag.CREATE | Flag.REPLACE


class Netlink:
    """A netlink session inside `namespace` (None: the caller's own).

    Raises NetlinkError for what the kernel refuses, OSError for a device that is not there and
    where there is no session to be had.
    """

    def __init__(self, namespace: Path | None = None) -> None:
        self._namespace = namespace
        self._session = Session(namespace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the session's socket."""
        self._session.close()

    # --- devices -------------------------------------------------------------------------------

    def links(self) -> dict[str, Link]:
        """Every device by name."""
        found = map(devices.read_link, self._dump(Verb.GETLINK))
        return {link.name: link for link in found}

    def names(self) -> set[str]:
        """Every name that a device has here, alternative ones too (ip-link(8), altname)."""
        return {name for m in self._dump(Verb.GETLINK) for name in devices.names_in(m)}

    def index(self, name: str) -> int | None:
        """The index of the device `name`, or None when there is none."""
        question = devices.link_named(name)
        try:
            return None if question is None else devices.index_in(self._session.query(question))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise refusal(error, f"look for {name}") from error

    def set_link(
        self,
        name: str,
        *,
        up: bool | None = None,
        mtu_bytes: int | None = None,
        mac: str | None = None,
    ) -> None:
        """Change a device's state, MTU or MAC; what is None stays as it is."""
        change = devices.link_change(self._index(name), up=up, mtu_bytes=mtu_bytes, mac=mac)
        self._order(f"change {name}", change)

    def offloads_checksums(self, name: str) -> bool | None:
        """Whether checksums of what is sent by a device are left to its driver; None when there is
        no such device."""
        return run_in(self._namespace, lambda: offloads.offloads_checksums(name))

    def set_offloading(self, name: str, *, wanted: bool) -> None:
        """Leave the checksums of what is sent to a device's driver, or have the kernel do them."""
        run_in(self._namespace, lambda: offloads.set_offloading(name, wanted=wanted))

    def move(self, name: str, target_fd: int) -> None:
        """Move a device into the namespace behind `target_fd`. It arrives down and bare."""
        self._order(f"move {name}", devices.link_move(self._index(name), target_fd))

    def add_veth(self, name: str, peer: str, peer_fd: int | None = None) -> None:
        """Add a pair of virtual cables' ends, the far end in the namespace behind `peer_fd`."""
        far = devices.veth_peer(peer, peer_fd)
        self._order(f"make {name}", devices.new_link(name, "veth", None, far), _NEW)

    def add_wireguard(self, name: str, target_fd: int | None = None) -> None:
        """Add a kernel WireGuard device, in the namespace behind `target_fd` if that is given; its
        socket is in this session's namespace. OSError EOPNOTSUPP where the kernel has none."""
        self._session.request(devices.new_link(name, "wireguard", target_fd), _NEW)

    def delete_link(self, name: str) -> None:
        """Delete a device if it is there."""
        index = self.index(name)
        if index is not None:
            self._order(f"delete {name}", devices.link_removal(index))

    # --- addresses -------------------------------------------------------------------------------

    def addresses(self, name: str) -> set[Interface]:
        """A device's addresses, without the link-local ones that the kernel makes itself."""
        index = self._index(name)
        found = self._addresses()
        return {one.address for device, one in found if device == index and not _is_own(one)}

    def all_addresses(self) -> set[tuple[str, Interface]]:
        """The same of all devices, each with the device's name, read at once."""
        return {(one.device, one.address) for one in self._named_addresses() if not _is_own(one)}

    def _named_addresses(self) -> list[AddressEntry]:
        names = self._device_names()
        return [
            replace(one, device=names[index]) for index, one in self._addresses() if index in names
        ]

    def _addresses(self) -> Iterator[tuple[int, AddressEntry]]:
        for message in self._dump(Verb.GETADDR):
            yield device_index(message), AddressEntry("", message)

    def replace_address(self, name: str, address: Interface) -> None:
        """Put an address on a device, usable at once (no duplicate address detection); anew if it
        is there, since the kernel's own routes come with it and are not made again otherwise."""
        try:
            self._add_address(name, address)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            self.delete_address(name, address)
            self._add_address(name, address)

    def _add_address(self, name: str, address: Interface) -> None:
        entry = new_address(name, address, None)
        self._order(f"put {address} on {name}", entry.to_add(self._index(name)), _NEW)

    def delete_address(self, name: str, address: Interface) -> None:
        """Take an address off a device."""
        self._order(f"take {address} off {name}", address_removal(address, self._index(name)))

    # --- routes and rules ------------------------------------------------------------------------

    def routes(self) -> Routes:
        """The routes of every table."""
        with translated("read the routes"):
            led = {(one.device, one.peer) for one in self._named_addresses()}
            return routing.routes_in(self._session, self._device_names(), led)

    def default_device(self) -> str | None:
        """The device of the IPv4 default route with the lowest metric, or None."""
        with translated("read the routes"):
            return routing.default_device_in(self._session, self._device_names())

    def replace_route(self, route: Route) -> None:
        """Add a route or put it in the place of the one with its destination, table and metric."""
        message = routing.route_message(Verb.NEWROUTE, route, self._route_index(route))
        self._order(f"set the route to {route.destination}", message, _PUT)

    def delete_route(self, route: Route) -> None:
        """Take a route away if it is there, added by any program and with any scope."""
        if route.extra:
            message = routing.removal(Verb.DELROUTE, route.extra)
        else:
            message = routing.route_message(Verb.DELROUTE, route, self._route_index(route))
        self._order(f"take the route to {route.destination} away", message, unless=_GONE)

    def _route_index(self, route: Route) -> int | None:
        return None if route.device is None else self._index(route.device)

    def rules(self) -> set[Rule]:
        """The policy rules, the kernel's own too."""
        with translated("read the rules"):
            return routing.rules_in(self._session)

    def add_rule(self, rule: Rule) -> None:
        """Add a policy rule if it is not there."""
        message = routing.rule_message(Verb.NEWRULE, rule)
        self._order(f"add the rule {rule.priority}", message, _NEW, unless=(errno.EEXIST,))

    def delete_rule(self, rule: Rule) -> None:
        """Take a policy rule away."""
        what = f"take the rule {rule.priority} away"
        if rule.extra:
            self._order(what, routing.removal(Verb.DELRULE, rule.extra), unless=_GONE)
        else:
            self._order(what, routing.rule_message(Verb.DELRULE, rule))

    # --- neighbours ------------------------------------------------------------------------------

    def neighbours(self) -> set[Neighbour]:
        """The permanent neighbours."""
        messages = self._dump(Verb.GETNEIGH)
        return set(neighbours.permanent(messages, self._device_names()))

    def replace_neighbour(self, neighbour: Neighbour) -> None:
        """Fix an address' MAC on a link for good."""
        message = neighbours.new_neighbour(neighbour, self._index(neighbour.device))
        self._order(f"set the neighbour {neighbour.address}", message, _PUT)

    def delete_neighbour(self, neighbour: Neighbour) -> None:
        """Forget a permanent neighbour."""
        message = neighbours.neighbour_removal(neighbour, self._index(neighbour.device))
        self._order(f"forget the neighbour {neighbour.address}", message)

    # --- the session -----------------------------------------------------------------------------

    def _device_names(self) -> dict[int, str]:
        return {devices.index_in(m): devices.name_in(m) for m in self._dump(Verb.GETLINK)}

    def _index(self, name: str) -> int:
        index = self.index(name)
        if index is None:
            raise OSError(errno.ENODEV, f"no network device named {name}")
        return index

    def _dump(self, verb: Verb) -> list[Message]:
        with translated("read the network"):
            return self._session.dump(verb)

    def _order(
        self,
        what: str,
        message: Message,
        flags: Flag = Flag.REQUEST,
        *,
        unless: tuple[int, ...] = (),
    ) -> None:
        """Have the kernel do something, `unless` it refuses with one of these numbers."""
        try:
            self._session.request(message, flags)
        except OSError as error:
            if error.errno not in unless:
                raise refusal(error, what) from error


def _is_own(entry: AddressEntry) -> bool:
    """Whether the kernel has made it by itself."""
    return entry.address.is_link_local
