"""The kernel's messages: read, changed, and sent back as they were."""

from __future__ import annotations

import struct
import sys
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from privacy_router.host.addresses import AddressEntry, new_address
from privacy_router.host.routes import RouteEntry, new_route, read_route
from privacy_router.host.rtnetlink import Message, Verb, decode, decode_attributes, parts, u32

DATA = st.binary(max_size=200)
ATTRIBUTES = st.lists(st.tuples(st.integers(1, 60), st.binary(max_size=20)), max_size=8)


@given(DATA)
def test_any_bytes_can_be_read(data: bytes) -> None:
    list(decode_attributes(data))
    list(parts(data))


@given(st.sampled_from([Verb.NEWADDR, Verb.NEWROUTE]), ATTRIBUTES)
def test_a_message_is_sent_back_as_it_was(verb: Verb, attributes: list[tuple[int, bytes]]) -> None:
    fixed = bytes(range(12 if verb == Verb.NEWROUTE else 8))
    message = Message(verb, fixed, tuple(attributes))
    assert decode(verb, message.encode()) == message


def test_an_attribute_is_changed_in_its_place() -> None:
    message = Message(Verb.NEWROUTE, bytes(12), ((1, b"a"), (4, b"b"), (5, b"c")))
    assert message.with_attribute(4, b"x").attributes == ((1, b"a"), (4, b"x"), (5, b"c"))
    assert message.with_attribute(4, None).attributes == ((1, b"a"), (5, b"c"))
    assert message.with_attribute(9, b"d").attributes[-1] == (9, b"d")
    assert message.get(7) is None


def test_an_address_is_what_it_was_made_of() -> None:
    entry = new_address("eth0", ip_interface("192.0.2.2/24"), "192.0.2.255")
    assert (str(entry.address), entry.broadcast, entry.scope_name) == (
        *("192.0.2.2/24", "192.0.2.255", "global"),
    )
    assert entry.is_movable
    assert not entry.expires
    assert AddressEntry.loaded(entry.saved()) == entry


def test_an_ipv6_address_is_added_for_use_at_once() -> None:
    message = new_address("eth0", ip_interface("2001:db8::2/64"), None).to_add(7)
    assert message.number(8) == 0x02  # IFA_F_NODAD
    assert int.from_bytes(message.fixed[4:8], sys.byteorder) == 7


def test_a_route_leads_another_way_with_all_else_as_it_was() -> None:
    base = new_route(ip_network("0.0.0.0/0"), 1000, 7).leading(ip_address("192.0.2.1"), (2, "eth0"))
    metrics = (8, b"\x08\x00\x02\x00" + u32(1400))
    base = RouteEntry(base.message.with_attribute(*metrics), base.names)
    moved = RouteEntry(base.to_add({"eth0": 2, "vmbr0": 9}, {"eth0": "vmbr0"}), ((9, "vmbr0"),))
    assert moved.message.number(4) == 9
    assert moved.message.get(8) == metrics[1]
    assert (moved.table, moved.metric, str(moved.gateway)) == (1000, 7, "192.0.2.1")
    assert RouteEntry.loaded(moved.saved()) == moved


def test_a_route_of_several_ways_is_moved_whole() -> None:
    """Each way has its device's number; what the kernel says of its state is not sent back."""

    def way(index: int, flags: int) -> bytes:
        return struct.pack("=HBBi", 16, flags, 0, index) + b"\x08\x00\x05\x00" + bytes(4)

    several = new_route(ip_network("10.0.0.0/8"), 254, 0).message
    several = several.with_attribute(9, way(2, 0x10) + way(3, 0x4))
    route = read_route(several, {2: "eth0", 3: "eth1"})
    assert route.devices == ["eth0", "eth1"]
    assert not route.is_simple
    made = route.to_add({"eth0": 2, "eth1": 3, "vmbr0": 9}, {"eth0": "vmbr0"})
    assert made.get(9) == way(9, 0) + way(3, 0x4)
