"""Whether there is a way to an address is the kernel's answer, and costs no packet."""

from __future__ import annotations

from ipaddress import ip_address

from privacy_router.host.reach import has_way_to


def test_there_is_a_way_to_oneself_and_none_to_what_is_no_place() -> None:
    assert has_way_to((ip_address("127.0.0.1"), 2408))
    assert not has_way_to((ip_address("255.255.255.255"), 2408))
