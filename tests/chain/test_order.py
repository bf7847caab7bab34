"""What follows from the order of hops: legs, edges, and which packets part where."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

import pytest

from privacy_router.chain.order import Chain, Segment
from privacy_router.chain.stations import Role, Station, Task
from privacy_router.values.bridges import mac_of

CLIENTS = (IPv4Network("10.101.0.0/24"), IPv6Network("fd00:1::/64"))
GUESTS = (IPv4Network("10.104.0.0/24"), IPv6Network("fd00:2::/64"))


def station(name: str, number: int, task: Task) -> Station:
    return Station(
        Role(name, number, task),
        f"{name}0",
        mac_of("br", name),
        IPv4Interface(f"10.102.0.{number}/24"),
        IPv6Interface(f"fd00::{number}/64"),
    )


IN = station("in", 1, Task.ENTRANCE)
RELAY = station("relay", 2, Task.RELAY)
PROXY = station("proxy", 3, Task.PROXY)
OUT = station("out", 4, Task.WAY_OUT)


def segment(*stations: Station) -> Segment:
    return Segment((Chain(stations, CLIENTS),))


def names(edges: tuple[tuple[Station, Station], ...]) -> list[str]:
    return [f"{source.hop} {target.hop}" for source, target in edges]


@pytest.mark.parametrize(
    ("stations", "legs"),
    [
        ((IN, OUT), ["in out"]),
        ((IN, RELAY, OUT), ["in relay out"]),
        ((IN, OUT, PROXY), ["in out proxy", "proxy out"]),
        ((IN, PROXY, OUT), ["in proxy", "proxy out"]),
        ((OUT, PROXY), ["proxy out"]),
        ((IN, OUT, RELAY, PROXY), ["in out relay proxy", "proxy relay out"]),
        ((IN, PROXY, RELAY, OUT), ["in proxy", "proxy relay out"]),
    ],
)
def test_connections_go_from_where_they_begin_to_where_they_end(
    stations: tuple[Station, ...], legs: list[str]
) -> None:
    found = segment(*stations).legs
    assert [" ".join(one.hop for one in leg.stations) for leg in found] == legs


def test_each_pair_of_neighbours_is_an_edge_there_and_back() -> None:
    edges = names(segment(IN, OUT, PROXY).edges)
    assert edges == ["in out", "out in", "out proxy", "proxy out"]


@pytest.mark.parametrize(
    ("stations", "parting"),
    [
        ((IN, OUT), {"out in": "answers to clients"}),
        ((IN, OUT, PROXY), {"out in": "answers to clients"}),
        ((IN, PROXY, OUT), {"proxy in": "answers to clients"}),
        (
            (IN, RELAY, OUT),
            {"relay in": "answers to clients", "out relay": "answers to clients"},
        ),
        ((OUT, PROXY), {}),
        (
            (IN, PROXY, RELAY, OUT),
            {"proxy in": "answers to clients", "relay proxy": "answers to proxy"},
        ),
        (
            (IN, OUT, RELAY, PROXY),
            {"out in": "answers to clients", "relay out": "answers to clients, from proxy"},
        ),
    ],
)
def test_what_goes_back_parts_from_what_goes_on(
    stations: tuple[Station, ...], parting: dict[str, str]
) -> None:
    found = segment(*stations)
    texts = {
        f"{edge[0].hop} {edge[1].hop}": ", ".join(
            dict.fromkeys(traffic.text for traffic in found.parting(edge))
        )
        for edge in found.edges
    }
    assert {edge: text for edge, text in texts.items() if text} == parting


@pytest.mark.parametrize(
    ("stations", "message"),
    [
        ((IN, PROXY), "one way out"),
        ((OUT, PROXY, station("other", 5, Task.WAY_OUT)), "one way out"),
        ((OUT, IN), "at the first hop"),
    ],
)
def test_an_order_that_leads_nowhere_is_refused(
    stations: tuple[Station, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        segment(*stations)


def test_chains_share_stations_and_keep_their_clients_apart() -> None:
    """Clients pass the proxy, guests leave at once; both by the same entrance and way out."""
    both = Segment((Chain((IN, OUT, PROXY), CLIENTS), Chain((IN, OUT), GUESTS)))
    assert [one.hop for one in both.stations] == ["in", "out", "proxy"]
    assert both.clients == (*CLIENTS, *GUESTS)
    assert names(both.edges) == ["in out", "out in", "out proxy", "proxy out"]
    back = {traffic.destination for traffic in both.parting((OUT, IN))}
    assert back == {*CLIENTS, *GUESTS}
    assert set(both.hands_on(OUT)) == set(CLIENTS), "guests' packets do not come back to the bridge"
    assert {leg.senders for leg in both.legs_to(OUT)} == {GUESTS, (PROXY.v4.ip, PROXY.v6.ip)}


def test_what_a_segment_says_of_its_stations() -> None:
    whole, without = segment(IN, OUT, PROXY), segment(OUT, PROXY)
    (clients, own) = whole.legs
    assert (whole.entrance, without.entrance) == (IN, None)
    assert [whole.station(name) for name in ("out", "relay")] == [OUT, None]
    assert [whole.port_named(name) for name in ("proxy0", "eth0")] == [PROXY, None]
    assert list(whole.peers_of(OUT)) == [IN, PROXY]
    assert (whole.leg_from(PROXY), whole.leg_from(OUT)) == (own, None)
    assert (whole.legs_to(PROXY), whole.legs_to(OUT)) == ((clients,), (own,))
    assert (whole.client_legs(OUT), whole.client_legs(IN)) == ((clients,), ())


def test_a_leg_has_neighbours_up_to_its_ends() -> None:
    clients = segment(IN, OUT, PROXY).legs[0]
    assert (clients.before(PROXY), clients.after(IN)) == (OUT, OUT)
    with pytest.raises(IndexError, match="nothing comes before in"):
        clients.before(IN)
    with pytest.raises(IndexError):
        clients.after(PROXY)
