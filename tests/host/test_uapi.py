"""WireGuard's UAPI as text: what we write, and what we make of what comes back."""

import base64
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.host import wireguard_uapi
from privacy_router.host.wireguard_uapi import UapiError
from privacy_router.values.wireguard import WireGuardConfig, WireGuardPeer

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(range(32, 64))).decode()
HEX = bytes(range(32)).hex()
OTHER_HEX = bytes(range(32, 64)).hex()


def test_a_configuration_replaces_all_peers_and_lists_each_with_its_addresses() -> None:
    peer = WireGuardPeer(
        public_key=OTHER,
        allowed_ips=(ip_network("10.0.0.2/32"), ip_network("fd00::2/128")),
        endpoint=(ip_address("2001:db8::1"), 51820),
        keepalive_s=25,
    )
    lines = wireguard_uapi.encode_set(WireGuardConfig(KEY, (peer,), 51820, 7)).decode().splitlines()
    assert lines == [
        "set=1",
        f"private_key={HEX}",
        "listen_port=51820",
        "fwmark=7",
        "replace_peers=true",
        f"public_key={OTHER_HEX}",
        f"preshared_key={bytes(32).hex()}",
        "endpoint=[2001:db8::1]:51820",
        "persistent_keepalive_interval=25",
        "replace_allowed_ips=true",
        "allowed_ip=10.0.0.2/32",
        "allowed_ip=fd00::2/128",
        "",
    ]


def test_updating_or_removing_one_peer_leaves_the_others_alone() -> None:
    peer = WireGuardPeer(OTHER, (ip_network("10.0.0.2/32"),))
    update = wireguard_uapi.encode_update_peer(peer).decode()
    removal = wireguard_uapi.encode_remove_peer(OTHER).decode()
    assert "replace_peers" not in update
    assert "private_key" not in update
    assert removal == f"set=1\npublic_key={OTHER_HEX}\nremove=true\n\n"


def test_a_status_is_read_with_its_peers() -> None:
    answer = (
        f"private_key={HEX}\nlisten_port=51820\npublic_key={OTHER_HEX}\n"
        "endpoint=192.0.2.7:4242\nlast_handshake_time_sec=1700000000\n"
        "last_handshake_time_nsec=500000000\nrx_bytes=11\ntx_bytes=22\n"
        "persistent_keepalive_interval=25\nallowed_ip=10.0.0.2/32\nallowed_ip=fd00::2/128\n"
        "errno=0\n\n"
    )
    status = wireguard_uapi.decode_untrusted(answer.encode())
    peer = status.peer(OTHER)
    assert status.private_key == KEY
    assert status.listen_port == 51820
    assert peer is not None
    assert peer.endpoint == (ip_address("192.0.2.7"), 4242)
    assert peer.last_handshake == 1700000000.5
    assert (peer.rx_bytes, peer.tx_bytes, peer.keepalive_s) == (11, 22, 25)
    assert peer.allowed_ips == {ip_network("10.0.0.2/32"), ip_network("fd00::2/128")}


def test_a_mark_is_set_alone() -> None:
    assert wireguard_uapi.encode_set_mark(0x70720001) == b"set=1\nfwmark=1886519297\n\n"


@pytest.mark.parametrize(("found", "known"), [(bytes(range(32)).hex(), KEY), ("00" * 32, None)])
def test_the_mark_and_the_preshared_key_are_read(found: str, known: str | None) -> None:
    """The protocol writes a key of zeros where there is none."""
    answer = f"fwmark=7\npublic_key={OTHER_HEX}\npreshared_key={found}\nerrno=0\n\n"
    status = wireguard_uapi.decode_untrusted(answer.encode())
    peer = status.peer(OTHER)
    assert status.firewall_mark == 7
    assert peer is not None
    assert peer.preshared_key == known


def test_a_peer_without_a_preshared_key_loses_the_one_it_has() -> None:
    update = wireguard_uapi.encode_update_peer(WireGuardPeer(OTHER, ())).decode()
    assert f"preshared_key={bytes(32).hex()}\n" in update


def test_a_refusal_is_an_error() -> None:
    with pytest.raises(UapiError, match="errno 22"):
        wireguard_uapi.decode_untrusted(b"errno=-22\n\n".replace(b"-", b""))


@pytest.mark.parametrize("key", ["", "short", base64.b64encode(b"x" * 31).decode()])
def test_a_key_of_the_wrong_size_never_reaches_the_device(key: str) -> None:
    with pytest.raises(ValueError, match=r"WireGuard key|base64|padding"):
        wireguard_uapi.encode_set(WireGuardConfig(key, ()))


def test_secrets_are_not_in_what_is_printed() -> None:
    peer = WireGuardPeer(OTHER, (), preshared_key=KEY)
    config = WireGuardConfig(KEY, (peer,))
    answer = f"private_key={HEX}\npublic_key={OTHER_HEX}\npreshared_key={HEX}\nerrno=0\n\n"
    assert KEY not in repr(config)
    assert KEY not in repr(wireguard_uapi.decode_untrusted(answer.encode()))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_status_or_one_kind_of_error(data: bytes) -> None:
    try:
        wireguard_uapi.decode_untrusted(data)
    except UapiError:
        return


@given(st.ip_addresses(), st.integers(0, 65535))
def test_endpoints_survive_being_written_down(address: object, port: int) -> None:
    endpoint = (ip_address(str(address)), port)
    assert wireguard_uapi.parse_endpoint(wireguard_uapi.format_endpoint(endpoint)) == endpoint
