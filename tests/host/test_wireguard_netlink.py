"""The kernel's WireGuard is told what another program tells it, and understood.

The vectors were made with pyroute2 0.9.7, which numbers the elements of arrays; the kernel does not
look at these numbers.
"""

from __future__ import annotations

import base64
import struct
from ipaddress import ip_address, ip_network
from typing import Any, Final

import pytest

from privacy_router.host import wireguard_netlink as wire
from privacy_router.host.wireguard_uapi import PeerStatus
from privacy_router.values.wireguard import WireGuardPeer

SET_DEVICE: Final = (
    "0101000008000200776739002400030001010101010101010101010101010101010101010101010101010101"
    "01010101060006006cca00000800070007000000"
)
SET_MARK: Final = "0101000008000200776739000800070000000000"
REMOVE_PEER: Final = (
    "0101000008000200776739003400088030000180240001000202020202020202020202020202020202020202"
    "0202020202020202020202020800030001000000"
)
SET_PEER: Final = (
    "01010000080002007767390000010880fc000180240001000202020202020202020202020202020202020202"
    "020202020202020202020202140004000200ca6cc00002010000000000000000240002000909090909090909"
    "090909090909090909090909090909090909090909090909060005001900000008000300020000008c000980"
    "1c0001800600010002000000080002000a000002050003002000000028000280060001000a00000014000200"
    "fd00000000000000000000000000000205000300800000001c00038006000100020000000800020000000000"
    "050003000000000028000480060001000a000000140002000000000000000000000000000000000005000300"
    "00000000"
)
SET_PEER_IPV6: Final = (
    "010100000800020077673900a00008809c000180240001000202020202020202020202020202020202020202"
    "020202020202020202020202200004000a0009680000000020010db800000000000000000000000100000000"
    "2400020000000000000000000000000000000000000000000000000000000000000000000600050000000000"
    "0800030002000000200009801c0001800600010002000000080002000a0000020500030020000000"
)
FIRST_ANSWER: Final = (
    "0001000008000100070000000800020077673900240003000101010101010101010101010101010101010101"
    "010101010101010101010101060006006cca0000080007000700000074010880e40001802400010002020202"
    "0202020202020202020202020202020202020202020202020202020224000200000000000000000000000000"
    "0000000000000000000000000000000000000000140004000200ca6cc0000201000000000000000006000500"
    "190000001400060000f15365000000000065cd1d000000000c00070001000000000100000c00080003000000"
    "00000000480009801c0001800600010002000000080002000a00000205000300200000002800028006000100"
    "0a00000014000200fd000000000000000000000000000002050003008000000008000a00010000008c000280"
    "2400010003030303030303030303030303030303030303030303030303030303030303032400020009090909"
    "09090909090909090909090909090909090909090909090909090909200004000a0009680000000020010db8"
    "00000000000000000000000100000000200009801c0001800600010002000000080002000000000005000300"
    "00000000"
)
SECOND_ANSWER: Final = (
    "00010000a4000880540001802400010003030303030303030303030303030303030303030303030303030303"
    "030303032c00098028000180060001000a000000140002000000000000000000000000000000000005000300"
    "000000004c000280240001000404040404040404040404040404040404040404040404040404040404040404"
    "240002000000000000000000000000000000000000000000000000000000000000000000"
)

PEERS, ALLOWED_IPS = 8, 9
NESTED: Final = {(PEERS,), (PEERS, 0), (PEERS, 0, ALLOWED_IPS), (PEERS, 0, ALLOWED_IPS, 0)}
ARRAYS: Final = {(PEERS,), (PEERS, 0, ALLOWED_IPS)}


def key(byte: int) -> str:
    return base64.b64encode(bytes([byte]) * 32).decode()


def tree(data: bytes, path: tuple[int, ...] = ()) -> list[Any]:
    """Attributes with their flags, in any order but that of an array."""
    found, at = [], 0
    while at < len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        number = 0 if path in ARRAYS else kind & 0x3FFF
        value = data[at + 4 : at + length]
        below = (*path, number)
        found.append((number, kind >> 14, tree(value, below) if below in NESTED else value.hex()))
        at += -(-length // 4) * 4
    return found if path in ARRAYS else sorted(found)


def peer(endpoint: str, port: int, *networks: str, **more: Any) -> WireGuardPeer:
    allowed = tuple(map(ip_network, networks))
    return WireGuardPeer(key(2), allowed, endpoint=(ip_address(endpoint), port), **more)


FULL: Final = peer(
    "192.0.2.1",
    51820,
    *("10.0.0.2/32", "fd00::2/128", "0.0.0.0/0", "::/0"),
    preshared_key=key(9),
    keepalive_s=25,
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (wire.set_device("wg9", private_key=key(1), listen_port=51820, mark=7), SET_DEVICE),
        (wire.set_device("wg9", mark=0), SET_MARK),
        (wire.remove_peer("wg9", key(2)), REMOVE_PEER),
        (wire.set_peer("wg9", FULL), SET_PEER),
        (wire.set_peer("wg9", peer("2001:db8::1", 2408, "10.0.0.2/32")), SET_PEER_IPV6),
    ],
    ids=["device", "mark", "remove a peer", "peer", "peer without a pre-shared key"],
)
def test_the_kernel_is_told_the_same(ours: bytes, theirs: str) -> None:
    expected = bytes.fromhex(theirs)
    assert ours[:4] == expected[:4]
    assert tree(ours[4:]) == tree(expected[4:])


def test_what_the_kernel_says_is_understood_also_when_it_is_cut_within_a_peer() -> None:
    found = wire.device_status(map(bytes.fromhex, (FIRST_ANSWER, SECOND_ANSWER)))
    assert (found.private_key, found.listen_port, found.firewall_mark) == (key(1), 51820, 7)
    assert found.peers == (
        PeerStatus(
            public_key=key(2),
            endpoint=(ip_address("192.0.2.1"), 51820),
            allowed_ips=frozenset(map(ip_network, ("10.0.0.2/32", "fd00::2/128"))),
            keepalive_s=25,
            last_handshake=1_700_000_000.5,
            rx_bytes=2**40 + 1,
            tx_bytes=3,
            preshared_key=None,
        ),
        PeerStatus(
            public_key=key(3),
            endpoint=(ip_address("2001:db8::1"), 2408),
            allowed_ips=frozenset(map(ip_network, ("0.0.0.0/0", "::/0"))),
            keepalive_s=0,
            last_handshake=0.0,
            rx_bytes=0,
            tx_bytes=0,
            preshared_key=key(9),
        ),
        PeerStatus(key(4), None, frozenset(), 0, 0.0, 0, 0),
    )


def test_a_device_without_peers_is_understood() -> None:
    content = wire.set_device("wg9", private_key=key(1), listen_port=7)
    found = wire.device_status([content])
    assert (found.private_key, found.listen_port, found.peers) == (key(1), 7, ())
