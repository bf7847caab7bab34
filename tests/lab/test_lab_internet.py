"""The lab's Internet is closed in itself and says the same everywhere."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import combinations

import pytest

from privacy_router.lab import internet


def within_the_lab(address: IPv4Address | IPv6Address) -> bool:
    return any(
        address in network for network in internet.LAB_RANGES if network.version == address.version
    )


def test_links_do_not_overlap_and_stay_in_the_ranges_for_it() -> None:
    networks = [network for cable in internet.CABLES for network in cable.networks]
    for one, another in combinations(networks, 2):
        assert one.version != another.version or not one.overlaps(another)
    for network in networks:
        assert within_the_lab(network[0])
        assert within_the_lab(network[-1])


def test_every_address_and_way_is_inside_the_lab() -> None:
    pairs = [pair for pairs in internet.SERVICE_ADDRESSES.values() for pair in pairs]
    pairs += internet.NAMES.values()
    assert all(within_the_lab(address) for pair in pairs for address in pair)
    for way in internet.WAYS:
        if way.networks != internet.ANYWHERE:
            assert all(within_the_lab(network.network_address) for network in way.networks)


def test_no_address_belongs_to_two_hosts() -> None:
    owned: dict[object, set[str]] = {}
    for cable in internet.CABLES:
        for host in (cable.first, cable.second):
            for interface in cable.interfaces(host):
                owned.setdefault(interface.ip, set()).add(host)
    for host, pairs in internet.SERVICE_ADDRESSES.items():
        for pair in pairs:
            for address in pair:
                owned.setdefault(address, set()).add(host)
    assert all(len(hosts) == 1 for hosts in owned.values())
    assert all(owned[address] == {"vps"} for address in internet.VPS)


def test_every_way_follows_a_link() -> None:
    for way in internet.WAYS:
        assert internet.cable(way.host, way.next_host)
    with pytest.raises(KeyError):
        internet.cable("client", "web")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("start", "goal", "expected"),
    [
        ("client", internet.WEB, ["isp", "web"]),
        ("node", internet.WEB, ["isp", "web"]),
        ("node", internet.WARP_ENDPOINT, ["isp", "cloudflare"]),
        ("cloudflare", internet.VPS, ["vps"]),
        ("cloudflare", internet.WEB, ["vps", "web"]),
        ("vps", internet.WEB, ["web"]),
        ("vps", internet.WARP_EGRESS, ["cloudflare"]),
        ("web", internet.VPS, ["vps"]),
        ("web", internet.WARP_EGRESS, ["vps", "cloudflare"]),
        ("node", internet.VPS, ["isp", "cloudflare", "vps"]),
    ],
)
def test_packets_go_the_way_that_the_picture_shows(
    start: str, goal: internet.AddressPair, expected: list[str], version: int
) -> None:
    address = goal[version == 6]
    host, passed = start, []
    while not _has(host, address):
        host = _next(host, address)
        passed.append(host)
        assert len(passed) < 6, f"a circle: {passed}"
    assert passed == expected


def _has(host: str, address: internet.Address) -> bool:
    ends = [
        i.ip for c in internet.CABLES if host in (c.first, c.second) for i in c.interfaces(host)
    ]
    return address in ends or any(
        address in pair for pair in internet.SERVICE_ADDRESSES.get(host, ())
    )


def _next(host: str, address: internet.Address) -> str:
    ways = [
        (network.prefixlen, cable.other(host))
        for cable in internet.CABLES
        if host in (cable.first, cable.second)
        for network in cable.networks
        if address.version == network.version and address in network
    ]
    ways += [
        (network.prefixlen, way.next_host)
        for way in internet.WAYS
        if way.host == host
        for network in way.networks
        if address.version == network.version and address in network
    ]
    return max(ways)[1]


def test_the_node_has_to_ask_for_the_vps() -> None:
    for host in internet.HOSTS:
        text = internet.hosts_file(host)
        assert internet.VPS_NAME not in text
        assert f"{internet.WARP_API[0]} {internet.API_NAME}" in text
    assert internet.VPS_NAME in internet.NAMES


def test_the_vps_has_one_address_whichever_way_it_goes() -> None:
    translated = {nat.becomes for nat in internet.SOURCE_NATS if nat.host == "vps"}
    assert translated == set(internet.VPS)
    own = {ip_network(i.ip) for i in internet.cable("cloudflare", "vps").interfaces("vps")}
    assert own == {nat.sources for nat in internet.SOURCE_NATS if nat.host == "vps"}
