"""A route or rule that has more than the plan's is never taken for one of them."""

from __future__ import annotations

import struct
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from socket import AF_INET, AF_INET6
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as some

from privacy_router.host import routing
from privacy_router.host.rtnetlink import Message, Session, Verb, decode, encode_attributes, u32
from privacy_router.values.network import LOCAL_TABLE, Route, RouteKey, Rule, RuleKey

FIXED = struct.Struct("=BBBBBBBBI")
NAMES = {5: "eth0"}
METRICS, PREFSRC = 8, 7
NETWORK = ip_network("10.2.0.0/16")
PLAIN = ((1, NETWORK.network_address.packed), (4, u32(5)), (5, bytes([10, 1, 0, 1])))


def route(*more: tuple[int, bytes], service: int = 0, flags: int = 0) -> Route:
    fixed = FIXED.pack(AF_INET, 16, 0, service, 254, 4, 0, 1, flags)
    return routing._route(Message(Verb.NEWROUTE, fixed, (*PLAIN, *more)), NAMES)


PLANNED = Route(NETWORK, ip_address("10.1.0.1"), "eth0")


def test_a_route_as_the_plan_has_it_is_that() -> None:
    assert route() == PLANNED
    assert route(flags=0x10) == PLANNED  # the link is down at the moment


def test_a_mtu_is_known() -> None:
    assert route((METRICS, encode_attributes(((2, u32(1280)),)))).mtu_bytes == 1280


@pytest.mark.parametrize(
    ("more", "others"),
    [
        ([(PREFSRC, bytes([10, 1, 0, 9]))], {}),
        ([(METRICS, encode_attributes(((2, u32(0)), (11, u32(1)))))], {}),
        ([(30, u32(7))], {}),
        ([(22, b"\0")], {}),
        ([], {"service": 16}),
        ([], {"flags": 4}),
    ],
    ids=["source", "metrics", "next hop", "encapsulation", "service", "on link"],
)
def test_a_route_with_more_is_another(
    more: list[tuple[int, bytes]], others: dict[str, int]
) -> None:
    found = route(*more, **others)
    assert found != PLANNED
    assert RouteKey.of("", found).name != RouteKey.of("", PLANNED).name
    assert found.extra


@pytest.mark.parametrize(("flags", "count"), [(0, 1), (0x200, 0)], ids=["route", "cached"])
def test_what_the_kernel_remembers_of_a_path_is_no_route(flags: int, count: int) -> None:
    """Of a smaller MTU on the way to the VPS, for ten minutes; nothing takes it away."""
    fixed = FIXED.pack(AF_INET, 16, 0, 0, 254, 4, 0, 1, flags)

    class Listing:
        def dump(self, _: Verb, family: int) -> list[Message]:
            return [Message(Verb.NEWROUTE, fixed, PLAIN)] if family == AF_INET else []

    assert len(routing.routes_in(cast("Session", Listing()), NAMES, ()).added) == count


# --- who made it ----------------------------------------------------------------------------------

ADDRESSES = [("eth0", ip_interface("10.1.0.9/24")), ("eth0", ip_interface("fd00::9/64"))]


@pytest.mark.parametrize(
    ("text", "kernels"),
    [("10.1.0.0/24", True), ("fd00::/64", True), ("fe80::/64", True), ("10.2.0.0/24", False)],
)
def test_only_an_addresss_own_network_is_the_kernels_route(text: str, kernels: bool) -> None:
    """Any program may write that the kernel made a route."""
    assert routing._is_kernels(Route(ip_network(text), device="eth0"), ADDRESSES) is kernels


def test_a_route_to_a_router_or_in_another_table_is_not_the_kernels() -> None:
    own = ip_network("10.1.0.0/24")
    for one in (
        Route(own, ip_address("10.1.0.1"), "eth0"),
        Route(own, device="eth0", table=103),
        Route(own, device="eth1"),
        Route(own, kind="unreachable"),
    ):
        assert not routing._is_kernels(one, ADDRESSES)
    assert routing._is_kernels(
        Route(ip_network("10.1.0.9"), device="eth0", table=LOCAL_TABLE, kind="local"), ADDRESSES
    )


# --- rules ----------------------------------------------------------------------------------------

USUAL = ((14, b"\xff" * 4), (21, b"\x03"))
RULE = ((6, u32(100)), (15, u32(101)), (3, b"eth0\0"), (10, u32(1)), (16, b"\xff" * 4))


def rule(*more: tuple[int, bytes], action: int = 1, flags: int = 0, family: int = AF_INET) -> Rule:
    fixed = FIXED.pack(family, 0, 0, 0, 0, 0, 0, action, flags)
    return routing._rule(Message(Verb.NEWRULE, fixed, (*RULE, *USUAL, *more)))


def test_a_rule_as_the_plan_has_it_is_that() -> None:
    assert rule() == Rule(100, 101, int(AF_INET), input_device="eth0", mark=1)
    assert rule(flags=0x8, family=AF_INET6).extra == b""  # its device is not there at the moment


@pytest.mark.parametrize(
    ("more", "others"),
    [
        ([(22, b"\x11")], {}),
        ([(17, b"eth1\0")], {}),
        ([(14, u32(0))], {}),
        ([(16, u32(0xF))], {}),
        ([], {"action": 8}),
        ([], {"flags": 0x2}),
    ],
    ids=["protocol", "way out", "suppression", "mask", "prohibit", "negation"],
)
def test_a_rule_with_more_is_another(more: list[tuple[int, bytes]], others: dict[str, int]) -> None:
    found = rule(*more, **others)
    assert found != rule()
    assert RuleKey.of("", found).name != RuleKey.of("", rule()).name


# --- orders ---------------------------------------------------------------------------------------

NUMBERS = some.integers(1, 2**32 - 1)
NETWORKS = some.builds(
    lambda text: ip_network(text, strict=False),
    some.ip_addresses().flatmap(
        lambda address: some.integers(0, address.max_prefixlen).map(
            lambda length: f"{address}/{length}"
        )
    ),
)


def of_version(version: int) -> some.SearchStrategy[IPv4Network | IPv6Network]:
    return NETWORKS.filter(lambda network: network.version == version)


ROUTES = NETWORKS.flatmap(
    lambda destination: some.builds(
        Route,
        destination=some.just(destination),
        gateway=some.none() | some.ip_addresses(v=destination.version),
        device=some.just("eth0"),
        table=NUMBERS,
        kind=some.sampled_from(["unicast", "local"]),
        metric=some.integers(0, 1023),
        mtu_bytes=some.none() | some.integers(68, 65535),
    )
)
RULES = some.sampled_from([(4, int(AF_INET)), (6, int(AF_INET6))]).flatmap(
    lambda pair: some.builds(
        Rule,
        priority=some.integers(1, 32765),
        table=NUMBERS,
        family=some.just(pair[1]),
        source=some.none() | of_version(pair[0]),
        destination=some.none() | of_version(pair[0]),
        input_device=some.none() | some.just("eth0"),
        mark=some.none() | NUMBERS,
    )
)


@given(ROUTES)
def test_a_route_that_is_ordered_reads_back_as_it_is(wanted: Route) -> None:
    sent = routing.route_message(Verb.NEWROUTE, wanted, 5).encode()
    assert routing._route(decode(Verb.NEWROUTE, sent), NAMES) == wanted


@given(RULES)
def test_a_rule_that_is_ordered_reads_back_as_it_is(wanted: Rule) -> None:
    sent = routing.rule_message(Verb.NEWRULE, wanted).encode()
    assert routing._rule(decode(Verb.NEWRULE, sent)) == wanted


def test_a_removal_names_neither_the_scope_nor_who_made_a_route() -> None:
    removal = routing.route_message(Verb.DELROUTE, PLANNED, 5)
    assert removal.fixed == FIXED.pack(AF_INET, 16, 0, 0, 254, 0, 255, 1, 0)
    extra = route(service=16).extra
    exact = routing.removal(Verb.DELROUTE, extra)
    assert (exact.verb, exact.fixed[:4]) == (Verb.DELROUTE, extra[:4])
