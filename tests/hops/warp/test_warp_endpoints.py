"""Which of WARP's addresses is tried, and what is kept of them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.hops.warp import endpoints
from privacy_router.hops.warp.endpoints import (
    ADDRESSES_MAX,
    KnownEndpoints,
    after_failure,
    decode_untrusted,
    encode,
    reachable_first,
    with_answers,
)

if TYPE_CHECKING:
    from privacy_router.values.wireguard import Endpoint

A4, B4 = (IPv4Address("192.0.2.1"), 2408), (IPv4Address("192.0.2.2"), 2408)
A6, B6 = (IPv6Address("2001:db8::1"), 2408), (IPv6Address("2001:db8::2"), 2408)
NAME = ("engage.example.net", 2408)


def everywhere(_: Endpoint) -> bool:
    return True


def only_v6(endpoint: Endpoint) -> bool:
    return endpoint[0].version == 6


def test_the_account_services_places_are_addresses_and_a_name() -> None:
    places = [("192.0.2.1", 2408), ("2001:db8::1", 2408), NAME]
    assert endpoints.given(places) == KnownEndpoints((A4, A6), NAME)
    assert endpoints.given([NAME]) == KnownEndpoints((), NAME)


def test_what_the_host_reaches_comes_first() -> None:
    assert reachable_first((A4, A6), only_v6) == (A6, A4)
    assert reachable_first((A4, A6), everywhere) == (A4, A6)
    assert reachable_first((A4, B4), only_v6) == (A4, B4)


def test_the_other_family_is_tried_first_and_every_address_has_its_turn() -> None:
    known: tuple[Endpoint, ...] = (A4, B4, A6, B6)
    tried = []
    for _ in known:
        tried.append(known[0])
        known = after_failure(known, everywhere)
    assert tried == [A4, A6, B4, B6]
    assert known[0] == A4


def test_what_cannot_be_reached_is_not_tried() -> None:
    assert after_failure((A6, A4, B6), only_v6) == (B6, A4, A6)
    assert after_failure((A6, A4), only_v6) == (A6, A4)
    assert after_failure((A4,), everywhere) == (A4,)


def test_another_order_of_the_same_answers_changes_nothing() -> None:
    assert with_answers((B4, A6, A4), (A4, B4, A6)) == (B4, A6, A4)
    assert with_answers((A4, A6), (B4, A6)) == (A6, B4)
    assert with_answers((), (A4, A4, A6)) == (A4, A6)


@pytest.mark.parametrize("text", ["0.0.0.0", "127.0.0.53", "224.0.0.1", "::1", "fe80::1%eth0"])
def test_an_answer_that_is_nowhere_is_none(text: str) -> None:
    assert endpoints.usable([(ip_address(text), 2408), A4]) == (A4,)


def test_a_file_of_an_earlier_version_is_read() -> None:
    text = "engage.example.net:2408 192.0.2.1:2408"
    assert decode_untrusted(text, "engage.example.net:2408") == KnownEndpoints((A4,))


def test_another_profiles_file_is_refused() -> None:
    text = encode("other.example.net:2408", KnownEndpoints((A4,)))
    with pytest.raises(ValueError, match="this profile"):
        decode_untrusted(text, "engage.example.net:2408")


addresses = st.ip_addresses().filter(lambda address: not getattr(address, "scope_id", None))
ports = st.integers(1, 65535)
known = st.builds(
    KnownEndpoints,
    st.lists(st.tuples(addresses, ports), min_size=1, max_size=ADDRESSES_MAX).map(tuple),
    st.none() | st.tuples(st.just("engage.example.net"), ports),
)


@given(known)
def test_what_is_written_is_read_again(endpoints_of_a_peer: KnownEndpoints) -> None:
    text = encode("192.0.2.9:2408", endpoints_of_a_peer)
    assert decode_untrusted(text, "192.0.2.9:2408") == endpoints_of_a_peer


@given(st.text() | st.builds("a:1 {}".format, st.text()))
def test_any_text_is_known_endpoints_or_one_kind_of_error(text: str) -> None:
    try:
        assert decode_untrusted(text, "a:1").addresses
    except ValueError:
        return
