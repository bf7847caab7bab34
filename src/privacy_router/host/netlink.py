"""Typed netlink for one network namespace, on pyroute2 (the only file that knows its spelling)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from ipaddress import ip_address, ip_interface
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Any, Self, TypeVar

from privacy_router.host import routing
from privacy_router.host.namespaces import enter
from privacy_router.host.netlink_library import IPRoute, NetlinkError, translated
from privacy_router.host.rtnetlink import Verb
from privacy_router.values.network import (
    KERNELS_RULES,
    MAIN_TABLE,
    Address,
    Interface,
    Link,
    Neighbour,
    Network,
    Route,
    Routes,
    Rule,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

_NODAD = 0x02
_PERMANENT = 0x80
_SCOPE_HOST = 254
_SCOPE_NOWHERE = 255
_PROTOCOL_ANY = 0
_PROTOCOL_KERNEL = 2


T = TypeVar("T")


class Netlink:
    """A netlink session inside `namespace` (None: the caller's own)."""

    def __init__(self, namespace: Path | None = None) -> None:
        self._ip = _Session(namespace)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the session's socket."""
        self._ip.close()

    # --- devices -------------------------------------------------------------------------------

    def links(self) -> dict[str, Link]:
        """Every device by name."""
        found = (_link(message) for message in self._ip.get_links())
        return {link.name: link for link in found}

    def names(self) -> set[str]:
        """Every name that a device has here, alternative ones too (ip-link(8), altname)."""
        found = set()
        for message in self._ip.get_links():
            listed = message.get_attr("IFLA_PROP_LIST")
            others = listed.get_attrs("IFLA_ALT_IFNAME") if listed else ()
            found |= {str(message.get_attr("IFLA_IFNAME")), *map(str, others)}
        return found

    def index(self, name: str) -> int | None:
        """The index of the device `name`, or None when there is none."""
        found = self._ip.link_lookup(ifname=name)
        return int(found[0]) if found else None

    def set_link(
        self,
        name: str,
        *,
        up: bool | None = None,
        mtu_bytes: int | None = None,
        mac: str | None = None,
    ) -> None:
        """Change a device's state, MTU or MAC; what is None stays as it is."""
        change: dict[str, Any] = {}
        if up is not None:
            change["state"] = "up" if up else "down"
        if mtu_bytes is not None:
            change["mtu"] = mtu_bytes
        if mac is not None:
            change["address"] = mac
        self._ip.link("set", index=self._index(name), **change)

    def move(self, name: str, target_fd: int) -> None:
        """Move a device into the namespace behind `target_fd`. It arrives down and bare."""
        self._ip.link("set", index=self._index(name), net_ns_fd=target_fd)

    def add_veth(self, name: str, peer: str, peer_fd: int | None = None) -> None:
        """Add a pair of virtual cables' ends, the far end in the namespace behind `peer_fd`."""
        far: dict[str, Any] = {"ifname": peer}
        if peer_fd is not None:
            far["net_ns_fd"] = peer_fd
        self._ip.link("add", ifname=name, kind="veth", peer=far)

    def add_wireguard(self, name: str, target_fd: int | None = None) -> None:
        """Add a kernel WireGuard device, in the namespace behind `target_fd` if that is given; its
        socket is in this session's namespace. OSError EOPNOTSUPP where the kernel has none."""
        place = {} if target_fd is None else {"net_ns_fd": target_fd}
        try:
            self._ip.link("add", ifname=name, kind="wireguard", **place)
        except NetlinkError as error:
            raise OSError(error.code, str(error)) from error

    def delete_link(self, name: str) -> None:
        """Delete a device if it is there."""
        index = self.index(name)
        if index is not None:
            self._ip.link("del", index=index)

    # --- addresses, routes, rules, neighbours ----------------------------------------------------

    def addresses(self, name: str) -> set[Interface]:
        """A device's addresses, without the link-local ones that the kernel makes itself."""
        found = {_address(message) for message in self._ip.get_addr(index=self._index(name))}
        return {address for address in found if not address.is_link_local}

    def all_addresses(self) -> set[tuple[str, Interface]]:
        """The same of all devices, each with the device's name, read at once."""
        names = {link.index: link.name for link in self.links().values()}
        found = {
            (names.get(message["index"], ""), _address(message)) for message in self._ip.get_addr()
        }
        return {(name, address) for name, address in found if name and not address.is_link_local}

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
        flags = {"flags": _NODAD} if address.version == 6 else {}
        if address.is_loopback:
            flags["scope"] = _SCOPE_HOST
        self._ip.addr(
            "add",
            index=self._index(name),
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
            **flags,
        )

    def delete_address(self, name: str, address: Interface) -> None:
        """Take an address off a device."""
        self._ip.addr(
            "del",
            index=self._index(name),
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
        )

    def routes(self) -> Routes:
        """The routes of every table."""
        names = {link.index: link.name for link in self.links().values()}
        addresses = self.all_addresses()
        return self._ip.run(lambda: routing.routes_here(names, addresses))

    def default_device(self) -> str | None:
        """The device of the IPv4 default route with the lowest metric, or None."""
        found = [
            (message.get_attr("RTA_PRIORITY") or 0, message.get_attr("RTA_OIF"))
            for message in self._ip.get_routes(family=AF_INET, table=MAIN_TABLE)
            if message["dst_len"] == 0 and message.get_attr("RTA_OIF") is not None
        ]
        names = {link.index: link.name for link in self.links().values()}
        return names.get(min(found)[1]) if found else None

    def replace_route(self, route: Route) -> None:
        """Add a route or put it in the place of the one with its destination, table and metric."""
        self._ip.route("replace", **self._route_request(route))

    def delete_route(self, route: Route) -> None:
        """Take a route away if it is there, whoever added it, and with whatever scope."""
        if route.extra:
            self._ip.run(lambda: routing.delete_here(Verb.DELROUTE, route.extra))
            return
        anyones = {"proto": _PROTOCOL_ANY, "scope": _SCOPE_NOWHERE}
        try:
            self._ip.route("del", **self._route_request(route) | anyones)
        except NetlinkError as error:
            if error.code != errno.ESRCH:
                raise

    def _route_request(self, route: Route) -> dict[str, Any]:
        request: dict[str, Any] = {
            "dst": str(route.destination),
            "family": _family(route.destination),
            "table": route.table,
            "type": route.kind,
        }
        if route.kind == "local":
            request["scope"] = _SCOPE_HOST
        if route.device is not None:
            request["oif"] = self._index(route.device)
        if route.gateway is not None:
            request["gateway"] = str(route.gateway)
        if route.metric:
            request["priority"] = route.metric
        if route.mtu_bytes is not None:
            request["metrics"] = {"mtu": route.mtu_bytes}
        return request

    def rules(self) -> set[Rule]:
        """The policy rules, the kernel's own too."""
        return self._ip.run(routing.rules_here)

    def add_rule(self, rule: Rule) -> None:
        """Add a policy rule if it is not there."""
        try:
            self._ip.rule("add", **_rule_request(rule))
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise

    def delete_rule(self, rule: Rule) -> None:
        """Take a policy rule away."""
        if rule.extra:
            self._ip.run(lambda: routing.delete_here(Verb.DELRULE, rule.extra))
        else:
            self._ip.rule("del", **_rule_request(rule))

    def neighbours(self) -> set[Neighbour]:
        """The permanent neighbours."""
        names = {link.index: link.name for link in self.links().values()}
        return {
            Neighbour(
                address=ip_address(message.get_attr("NDA_DST")),
                mac=str(message.get_attr("NDA_LLADDR")),
                device=names[message["ifindex"]],
            )
            for message in self._permanent_neighbours()
        }

    def _permanent_neighbours(self) -> Iterator[Any]:
        for family in (AF_INET, AF_INET6):
            for message in self._ip.get_neighbours(family=family):
                if message["state"] & _PERMANENT:
                    yield message

    def replace_neighbour(self, neighbour: Neighbour) -> None:
        """Fix an address' MAC on a link for good."""
        self._ip.neigh(
            "replace",
            dst=str(neighbour.address),
            lladdr=neighbour.mac,
            ifindex=self._index(neighbour.device),
            state=_PERMANENT,
            family=_family(neighbour.address),
        )

    def _index(self, name: str) -> int:
        index = self.index(name)
        if index is None:
            raise OSError(errno.ENODEV, f"no network device named {name}")
        return index

    def delete_neighbour(self, neighbour: Neighbour) -> None:
        """Forget a permanent neighbour."""
        self._ip.neigh(
            "del",
            dst=str(neighbour.address),
            ifindex=self._index(neighbour.device),
            family=_family(neighbour.address),
        )


class _Session:
    """The library's session, kept in a thread of its own that has entered the namespace.

    The library runs an event loop, so that it cannot be used from within another; it opens its
    sockets anew in each thread; and its own way into a namespace forks, which a program with
    signal handlers and threads must not.
    """

    def __init__(self, namespace: Path | None) -> None:
        def arrive() -> None:
            if namespace is not None:
                enter(namespace)

        self._thread = ThreadPoolExecutor(1, "netlink", initializer=arrive)
        try:
            self._ip = self._thread.submit(IPRoute).result()
        except BrokenExecutor as error:
            raise OSError(errno.ENOENT, f"no network namespace at {namespace}") from error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._thread.submit(self._call, name, args, kwargs).result()

        return call

    def _call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with translated():
            result = getattr(self._ip, name)(*args, **kwargs)
            return list(result) if isinstance(result, Iterator) else result

    def run(self, work: Callable[[], T]) -> T:
        """Do something in the namespace, beside the library."""
        return self._thread.submit(work).result()

    def close(self) -> None:
        """Close the session in its own thread, and end that."""
        self._thread.submit(self._ip.close).result()
        self._thread.shutdown()


def _family(address: Address | Network) -> int:
    return AF_INET if address.version == 4 else AF_INET6


def _address(message: Any) -> Interface:
    return ip_interface(f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}")


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    counters = message.get_attr("IFLA_STATS64") or {}
    return Link(
        name=str(message.get_attr("IFLA_IFNAME")),
        index=int(message["index"]),
        mac=str(message.get_attr("IFLA_ADDRESS") or ""),
        mtu_bytes=int(message.get_attr("IFLA_MTU")),
        up=message["state"] == "up",
        carrier=bool(message.get_attr("IFLA_CARRIER")),
        kind=str(info.get_attr("IFLA_INFO_KIND")) if info else "",
        rx_bytes=int(counters.get("rx_bytes", 0)),
        tx_bytes=int(counters.get("tx_bytes", 0)),
        rx_packets=int(counters.get("rx_packets", 0)),
        tx_packets=int(counters.get("tx_packets", 0)),
    )


def _rule_request(rule: Rule) -> dict[str, Any]:
    request: dict[str, Any] = {
        "priority": rule.priority,
        "table": rule.table,
        "family": rule.family,
    }
    if rule in KERNELS_RULES:
        request["protocol"] = _PROTOCOL_KERNEL  # another's is another rule to the kernel
    if rule.source is not None:
        request |= {"src": str(rule.source.network_address), "src_len": rule.source.prefixlen}
    if rule.destination is not None:
        request |= {
            "dst": str(rule.destination.network_address),
            "dst_len": rule.destination.prefixlen,
        }
    if rule.input_device is not None:
        request["iifname"] = rule.input_device
    if rule.mark is not None:
        request["fwmark"] = rule.mark
    return request
