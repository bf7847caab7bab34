"""The lab's client: the configuration it is given, and what it measures."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.config import ConfigError, parse_document
from privacy_router.hops.gateway.clients import Client, ClientSettings, render_client
from privacy_router.lab.device import ConfigurationError, parse_untrusted
from privacy_router.lab.settings import node_document
from privacy_router.lab.traffic import longest_outage_s, outages
from privacy_router.values.wireguard import generate_private_key

KEY, PRESHARED, PUBLIC = (generate_private_key() for _ in range(3))
TEXT = render_client(
    Client(
        *("phone", PUBLIC, PRESHARED, 2),
        *(IPv4Address("10.101.0.2"), IPv6Address("fd00::2"), "2026-01-01"),
    ),
    KEY,
    ClientSettings(PUBLIC, "198.18.2.2:51820", ("198.18.100.53", "2001:db8::53"), 1420),
)


def test_the_client_reads_what_the_node_gives_out() -> None:
    found = parse_untrusted(TEXT)
    (peer,) = found.wireguard.peers
    assert (found.wireguard.private_key, peer.public_key) == (KEY, PUBLIC)
    assert peer.preshared_key == PRESHARED
    assert peer.endpoint == (ip_address("198.18.2.2"), 51820)
    assert found.interfaces == (ip_interface("10.101.0.2/32"), ip_interface("fd00::2/128"))
    assert found.dns == (ip_address("198.18.100.53"), ip_address("2001:db8::53"))
    assert found.mtu_bytes == 1420
    assert KEY not in repr(found)


@given(st.data())
def test_a_damaged_configuration_is_refused_in_one_way(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(TEXT)))
    damaged = TEXT[:place] + data.draw(st.text(max_size=5)) + TEXT[place + 1 :]
    try:
        parse_untrusted(damaged)
    except ConfigurationError:
        return


@pytest.mark.parametrize("missing", ["PrivateKey", "PublicKey", "Endpoint", "Address"])
def test_what_is_needed_is_missed(missing: str) -> None:
    lines = [line for line in TEXT.splitlines() if not line.startswith(missing)]
    with pytest.raises(ConfigurationError):
        parse_untrusted("\n".join(lines))


def test_the_nodes_document_is_whole_and_takes_other_wishes() -> None:
    config = parse_document(node_document(), "test").config
    assert config.chain_hops == ("gateway", "warp", "xray")
    assert config.warp.accept_terms
    wishes = {"plugins": {"privacy_router": {"warp": {"enabled": False}, "bridge_name": "br1"}}}
    other = parse_document(node_document(wishes), "test").config
    assert (other.chain_hops, other.bridge_name) == (("gateway", "xray"), "br1")
    assert other.xray.vps_address == config.xray.vps_address


def test_the_seeds_own_document_fits_the_lab() -> None:
    seed = json.loads((Path(__file__).parents[2] / "examples" / "seed.json").read_text())
    config = parse_document(node_document(seed), "test").config
    assert config.netmaker.enabled
    assert config.warp.accept_terms


def test_a_wish_that_is_not_valid_is_refused() -> None:
    with pytest.raises(ConfigError):
        node_document({"plugins": {"privacy_router": {"bridge": "br1"}}})


def lines_of(fates: str, kind: str = "udp") -> list[dict[str, Any]]:
    """One request a second; `.` is good and `x` is not."""
    return [
        {"kind": kind, "t_sent": float(n), "ok": fate == ".", "rtt_ms": None}
        for n, fate in enumerate(fates)
    ]


@pytest.mark.parametrize(
    ("fates", "expected"),
    [
        ("", []),
        ("....", []),
        ("..xx..", [(1.0, 4.0)]),
        (".x..xxx.", [(0.0, 2.0), (3.0, 7.0)]),
        ("xx..", [(0.0, 2.0)]),
        ("..xx", [(1.0, float("inf"))]),
        ("xxx", [(0.0, float("inf"))]),
    ],
)
def test_outages_last_from_the_last_good_request_to_the_next(
    fates: str, expected: list[tuple[float, float]]
) -> None:
    assert outages(lines_of(fates)[::-1], "udp") == expected


def test_kinds_of_traffic_are_measured_apart() -> None:
    lines = lines_of("..xx..") + lines_of("......", "tcp")
    assert longest_outage_s(lines, "udp") == 3.0
    assert longest_outage_s(lines, "tcp") == 0.0
