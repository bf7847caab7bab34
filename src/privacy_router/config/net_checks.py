"""What `plugins.net` must not say to itself."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from privacy_router.config.problems import Problem, describe, json_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.plugins.net import Bridge, NetConfig, Route

_Location = tuple[str | int, ...]
_NET: _Location = ("plugins", "net")


def check_net(net: NetConfig) -> Iterator[Problem]:
    """Problems of a section whose values are each right by themselves."""
    taken: dict[str, _Location] = {}
    for name, bridge in net.bridges.items():
        here = (*_NET, "bridges", name)
        yield from _ports(net, bridge, here)
        yield from _twice(taken, here, bridge)
        if bridge.uplink is not None:
            yield from _uplink(net, bridge, bridge.uplink, here)
    routes: dict[tuple[object, ...], int] = {}
    for number, route in enumerate(net.routes):
        here = (*_NET, "routes", number)
        yield from _route(route, here)
        identity = (route.destination, route.table, route.priority)
        if identity in routes:
            expected = f"another network, table or metric than routes[{routes[identity]}] has"
            yield _problem(here, "the same route again", expected)
        routes.setdefault(identity, number)


def _problem(location: _Location, found: str, expected: str) -> Problem:
    return Problem(json_path(location), found, expected)


# --- bridges --------------------------------------------------------------------------------------


def _ports(net: NetConfig, bridge: Bridge, here: _Location) -> Iterator[Problem]:
    for name, port in bridge.ports.items():
        place = (*here, "ports", name)
        if name in net.bridges:
            yield _problem(place, "a bridge itself", "another port; to join two bridges, one")
        if port.mac is not None and port.type != "internal":
            expected = "null, or an internal port: a device that is there keeps its own MAC"
            yield _problem((*place, "mac"), describe(port.mac), expected)


def _twice(taken: dict[str, _Location], here: _Location, bridge: Bridge) -> Iterator[Problem]:
    """A device is a port of one bridge, once."""
    places = {name: (*here, "ports", name) for name in bridge.ports}
    for name, place in places.items():
        if name in taken:
            other = f"a device that {json_path(taken[name])} does not have"
            yield _problem(place, describe(name), other)
        taken.setdefault(name, place)
    if bridge.uplink is not None:
        place = (*here, "uplink")
        if bridge.uplink in taken:
            other = f"a device that {json_path(taken[bridge.uplink])} does not have"
            yield _problem(place, describe(bridge.uplink), other)
        taken.setdefault(bridge.uplink, place)


def _uplink(net: NetConfig, bridge: Bridge, uplink: str, here: _Location) -> Iterator[Problem]:
    if uplink in net.bridges:
        expected = "the network device to the outside, such as eth0, and not a bridge"
        yield _problem((*here, "uplink"), describe(uplink), expected)
    if bridge.fail_mode == "secure":
        expected = (
            "standalone or null while the bridge has an uplink: a secure bridge drops what no flow"
            " lets through, so that the machine would lose its connection"
        )
        yield _problem((*here, "fail_mode"), describe("secure"), expected)
    interface = net.interfaces.get(uplink)
    place = (*_NET, "interfaces", uplink)
    if interface is not None and (interface.addresses or interface.exact):
        expected = "them at the bridge: the addresses of an uplink move to its bridge"
        yield _problem(place, "addresses of an uplink", expected)
    if interface is not None and interface.up is False:
        expected = "true or null: an uplink that is down carries nothing"
        yield _problem((*place, "up"), describe(value=False), expected)
    for number, route in enumerate(net.routes):
        if route.dev == uplink:
            expected = "the bridge: the routes of an uplink move to its bridge"
            yield _problem((*_NET, "routes", number, "dev"), describe(uplink), expected)


# --- routes ---------------------------------------------------------------------------------------


def _route(route: Route, here: _Location) -> Iterator[Problem]:
    via, dev = route.via, route.dev
    if via is None and dev is None:
        yield _problem(here, "neither via nor dev", "a router (via), a device (dev), or both")
    if via is not None and via.version != route.destination.version:
        expected = f"a router of the same version of IP as {route.to}"
        yield _problem((*here, "via"), describe(str(via)), expected)
    if isinstance(via, IPv6Address) and via.is_link_local and dev is None:
        expected = f"the device (dev) whose link {via} is on: each link has addresses like that"
        yield _problem((*here, "dev"), "nothing", expected)
    if route.onlink and (via is None or dev is None):
        expected = "via and dev beside it: the router, and the device whose link it is on"
        yield _problem((*here, "onlink"), describe(value=True), expected)
