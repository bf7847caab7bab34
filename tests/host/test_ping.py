"""ICMP echo, the parts that need no root."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from privacy_router.host import ping


@given(st.binary(min_size=8, max_size=64).filter(lambda data: len(data) % 2 == 0))
def test_data_with_its_own_checksum_sums_up_to_zero(data: bytes) -> None:
    # RFC 1071, section 1: the receiver's sum over everything is all ones
    assert ping.checksum(data + struct.pack("!H", ping.checksum(data))) == 0


def test_the_request_carries_a_right_checksum() -> None:
    assert ping.checksum(ping._request(0x1234)) == 0


@given(st.binary(max_size=80), st.integers(0, 0xFFFF))
def test_any_packet_is_judged(packet: bytes, identifier: int) -> None:
    assert ping._is_answer_untrusted(packet, identifier) in (True, False)


def test_only_the_answer_to_our_own_request_counts() -> None:
    ip_header = bytes([0x45]) + bytes(19)
    answer = ip_header + struct.pack("!BBHHH", 0, 0, 0, 7, 1)
    assert ping._is_answer_untrusted(answer, 7)
    assert not ping._is_answer_untrusted(answer, 8)
    assert not ping._is_answer_untrusted(ip_header + ping._request(7), 7)
