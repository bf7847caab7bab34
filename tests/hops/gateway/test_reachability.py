"""An address that only some can dial is never given out without a word."""

from __future__ import annotations

import pytest

from privacy_router.hops.gateway.reachability import endpoint_remark


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.168.178.20", ("a private address (RFC 1918)", "forward UDP port 51820 to it")),
        ("10.0.0.5", ("private", "wireguard.endpoint")),
        ("172.31.255.255", ("private", "wireguard.endpoint")),
        ("100.64.0.1", ("CGNAT", "ask the provider for a public address")),
        ("100.127.255.254", ("CGNAT", "wireguard.endpoint")),
        ("169.254.7.7", ("link-local", "wireguard.endpoint")),
        ("fe80::1", ("link-local", "wireguard.endpoint")),
        ("fd00::1", ("unique local", "wireguard.endpoint")),
        ("::ffff:192.168.1.1", ("private", "wireguard.endpoint")),
        ("127.0.0.1", ("no address on the Internet (127.0.0.0/8)", "wireguard.endpoint")),
    ],
)
def test_what_only_some_can_dial(host: str, words: tuple[str, ...]) -> None:
    remark = endpoint_remark(host, 51820)
    assert remark.startswith(f"the client dials {host}, which is ")
    assert all(word in remark for word in words)


@pytest.mark.parametrize(
    "host", ["vpn.example.com", "8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1", "192.0.2.1"]
)
def test_what_all_can_dial(host: str) -> None:
    assert endpoint_remark(host, 51820) == ""
