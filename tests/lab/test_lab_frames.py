"""Frames are read whatever is in front of the ports; nothing but FrameError is ever raised."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.lab.frames import (
    FrameError,
    Packet,
    TcpFlag,
    conversation_of,
    decode_frame_untrusted,
)
from tests.lab.lab_frames import ACK, SYN, ethernet, frame, ipv4, ipv6, tcp, udp

V4 = ("198.18.1.2", "198.18.100.80")
V6 = ("2001:db8:1::2", "2001:db8:100::80")
DATAGRAM = udp(1000, 53, b"payload")
HOP_BY_HOP = b"\x11\x00" + bytes(6)
AUTHENTICATION = b"\x11\x04" + bytes(22)
FIRST_FRAGMENT = b"\x11\x00\x00\x01" + bytes(4)
LATER_FRAGMENT = b"\x11\x00\x00\x08" + bytes(4)

READABLE = {
    "udp4": frame(*V4, 17, DATAGRAM),
    "udp6": frame(*V6, 17, DATAGRAM),
    "options": ethernet(0x0800, ipv4(*V4, 17, DATAGRAM, options=bytes(8))),
    "first fragment": ethernet(0x0800, ipv4(*V4, 17, DATAGRAM, fragment=0x2000)),
    "vlan": ethernet(0x0800, ipv4(*V4, 17, DATAGRAM), 0x8100),
    "two vlans": ethernet(0x86DD, ipv6(*V6, 17, DATAGRAM), 0x88A8, 0x8100),
    "hop by hop": frame(*V6, 0, HOP_BY_HOP + DATAGRAM),
    "authentication": frame(*V6, 51, AUTHENTICATION + DATAGRAM),
    "first fragment 6": frame(*V6, 44, FIRST_FRAGMENT + DATAGRAM),
    "two headers": frame(*V6, 0, b"\x3c\x00" + bytes(6) + HOP_BY_HOP + DATAGRAM),
}


@pytest.mark.parametrize("name", READABLE)
def test_ports_are_found_behind_everything(name: str) -> None:
    packet = decode_frame_untrusted(READABLE[name])
    assert packet is not None
    assert {str(packet.source), str(packet.destination)} in ({*V4}, {*V6})
    assert (packet.protocol, packet.source_port, packet.destination_port) == (17, 1000, 53)


@pytest.mark.parametrize(
    "data",
    [
        ethernet(0x0800, ipv4(*V4, 17, b"rest", fragment=5)),
        frame(*V6, 44, LATER_FRAGMENT + b"rest"),
        frame(*V4, 1, b"ping"),
        frame(*V6, 58, b"ping"),
    ],
)
def test_what_has_no_ports_still_has_addresses(data: bytes) -> None:
    packet = decode_frame_untrusted(data)
    assert packet is not None
    assert packet.source_port is None
    assert packet.destination_port is None
    assert str(packet.source) in (V4[0], V6[0])


@pytest.mark.parametrize(("flags", "opens"), [(SYN, True), (SYN | ACK, False), (ACK, False)])
def test_only_the_first_packet_opens_a_connection(flags: int, opens: bool) -> None:
    packet = decode_frame_untrusted(frame(*V4, 6, tcp(1000, 443, flags)))
    assert packet is not None
    assert packet.opens_connection is opens


@pytest.mark.parametrize("kind", [0x0806, 0x88CC, 0x0001])
def test_what_is_not_ip_is_told_apart(kind: int) -> None:
    assert decode_frame_untrusted(ethernet(kind, b"anything")) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ethernet(0x0800, ipv6(*V6, 17, DATAGRAM)),
        ethernet(0x86DD, ipv4(*V4, 17, bytes(40))),
        ethernet(0x0800, b"\x41" + bytes(30)),
        frame(*V4, 6, tcp(1, 2)[:13]),
        frame(*V6, 0, b"\x11\xff" + bytes(6)),
    ],
)
def test_a_frame_that_contradicts_itself_is_an_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame_untrusted(data)


@given(st.sampled_from(sorted(READABLE)), st.data())
def test_a_cut_frame_is_an_error_or_reads_the_same(name: str, data: st.DataObject) -> None:
    whole = READABLE[name]
    length = data.draw(st.integers(0, len(whole)))
    try:
        cut = decode_frame_untrusted(whole[:length])
    except FrameError:
        return
    assert cut == decode_frame_untrusted(whole)


@given(
    st.sampled_from([0x0800, 0x86DD, 0x8100]),
    st.sampled_from([b"", b"\x45", b"\x60\x00\x00\x00"]),
    st.binary(max_size=200),
)
def test_any_bytes_are_read_or_refused(kind: int, start: bytes, rest: bytes) -> None:
    try:
        packet = decode_frame_untrusted(ethernet(kind, start + rest))
    except FrameError:
        return
    assert packet is None or str(packet)


def test_a_packet_tells_who_talks_to_whom() -> None:
    packet = Packet(ip_address(V6[0]), ip_address(V6[1]), 6, 1, 443)
    assert str(packet) == f"[{V6[0]}]:1 → [{V6[1]}]:443 TCP"


@given(st.sampled_from(sorted(READABLE)), st.binary(max_size=80), st.integers(0, 255))
def test_frames_of_one_conversation_decode_alike(name: str, payload: bytes, flags: int) -> None:
    frames = [
        READABLE[name] + bytes(30),
        frame(*V4, 17, udp(1000, 53, payload + bytes(30))),
        frame(*V4, 6, tcp(1000, 53, flags, payload + bytes(30))),
        frame(*V6, 6, tcp(1000, 53, ACK, payload)),
    ]
    by_conversation: dict[bytes, Packet] = {}
    for data in frames:
        key = conversation_of(data)
        packet = decode_frame_untrusted(data)
        if key is not None and packet is not None:
            assert not packet.opens_connection
            plain = replace(packet, tcp_flags=TcpFlag(0))
            assert by_conversation.setdefault(key, plain) == plain


@given(st.binary(max_size=120))
def test_any_bytes_have_a_conversation_or_none(data: bytes) -> None:
    for kind in (0x0800, 0x86DD, 0x0806):
        conversation_of(ethernet(kind, data))


def test_what_needs_a_closer_look_has_no_conversation() -> None:
    closer = ("options", "first fragment", "vlan", "hop by hop", "first fragment 6")
    assert all(conversation_of(READABLE[name] + bytes(60)) is None for name in closer)
    assert conversation_of(frame(*V4, 6, tcp(1, 2, SYN, bytes(60)))) is None
    assert conversation_of(frame(*V4, 1, bytes(60))) is None
