"""Whether the kernel's routes are there that an address needs."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from privacy_router.values.network import LOCAL_TABLE, Route, Routes


def local(address: str, device: str = "eth0") -> Route:
    return Route(ip_network(address), device=device, table=LOCAL_TABLE, kind="local")


CONNECTED = Route(ip_network("10.1.0.0/24"), device="eth0")
ALONE6 = Route(ip_network("fd00::2/128"), device="eth0", metric=256)
CONNECTED6 = Route(ip_network("fd00::/64"), device="eth0", metric=256)


@pytest.mark.parametrize(
    ("address", "kernels"),
    [
        ("10.1.0.2/24", {CONNECTED, local("10.1.0.2")}),
        ("fd00::2/64", {CONNECTED6, local("fd00::2")}),
        ("fd00::2/64", {CONNECTED6, local("fd00::2", "lo")}),
        ("10.1.0.2/32", {local("10.1.0.2")}),
        ("fd00::2/128", {ALONE6, local("fd00::2")}),
    ],
)
def test_an_address_needs_all_of_its_routes(address: str, kernels: set[Route]) -> None:
    assert Routes(set(), kernels).follow("eth0", ip_interface(address))
    for route in kernels:
        assert not Routes({route}, kernels - {route}).follow("eth0", ip_interface(address))


def test_the_loopback_needs_no_route_to_its_network_of_one() -> None:
    assert Routes(set(), {local("::1", "lo")}).follow("lo", ip_interface("::1/128"))


def test_a_route_by_another_device_does_not_count() -> None:
    kernels = {replace(CONNECTED, device="eth1"), local("10.1.0.2")}
    assert not Routes(set(), kernels).follow("eth0", ip_interface("10.1.0.2/24"))
