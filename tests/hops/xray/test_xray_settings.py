"""Both ends' settings: what they say, and that nothing but a DNS question leaves beside the VPS."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.hops.xray.keys import XrayIdentity
from privacy_router.hops.xray.server_firewall import server_firewall
from privacy_router.hops.xray.settings import (
    BLOCKED_NETWORKS,
    DNS_HELD_S,
    UDP_HELD_S,
    Vps,
    client_settings,
    dns_tproxy_port,
    refused_by_server,
    server_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parent / "golden"
IDENTITY = XrayIdentity(
    uuid="6f4ed0a2-5f3e-4d0e-9a53-2f3f2c0f7f11",
    reality_private_key="cHJpdmF0ZS1leGFtcGxlLWtleS1vbmx5LWZvci10ZXM",
    reality_public_key="cHVibGljLWV4YW1wbGUta2V5LW9ubHktZm9yLXRlc3Q",
    short_id="0123456789abcdef",
)
TRANSIT = (ip_address("10.102.0.3"), ip_address("fd70:7276:6174::3"))
RESOLVERS = (ip_address("1.1.1.1"), ip_address("2606:4700:4700::1111"))
ADDRESSES = ("198.51.100.7", "2001:db8::7")


def client(address: str, **changes: Any) -> dict[str, Any]:
    vps = Vps(address, 443, "dl.google.com", "chrome", RESOLVERS)
    wanted: dict[str, Any] = {
        "tproxy_port": 12345,
        "socks_listen": TRANSIT,
        "socks_port": 1080,
    }
    return client_settings(IDENTITY, vps, **(wanted | changes))


def server(**changes: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "listen_port": 443,
        "server_name": "dl.google.com",
        "target": "dl.google.com:443",
    }
    return server_settings(IDENTITY, **(wanted | changes))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("client-by-address", lambda: client("198.51.100.7")),
        ("client-by-name", lambda: client("vps.example.com", mark=9)),
        ("server", server),
    ],
)
def test_settings_are_as_recorded(name: str, settings: Callable[[], dict[str, Any]]) -> None:
    assert settings() == json.loads((GOLDEN / f"{name}.json").read_text())


def test_both_ends_fit_together() -> None:
    near = client("198.51.100.7")["outbounds"][0]
    far = server()["inbounds"][0]
    user = near["settings"]["vnext"][0]["users"][0]
    reality, wanted = (end["streamSettings"]["realitySettings"] for end in (near, far))
    assert user["id"] == far["settings"]["clients"][0]["id"]
    assert user["flow"].startswith(far["settings"]["clients"][0]["flow"])
    assert reality["shortId"] in wanted["shortIds"]
    assert reality["serverName"] in wanted["serverNames"]
    assert near["streamSettings"]["network"] == far["streamSettings"]["network"]


def test_the_server_never_sees_more_than_its_part() -> None:
    text = json.dumps(client("198.51.100.7"))
    assert IDENTITY.reality_private_key not in text
    assert IDENTITY.reality_private_key in json.dumps(server())


@pytest.mark.parametrize("address", ADDRESSES)
def test_with_an_address_there_is_one_way_out_and_no_dns(address: str) -> None:
    settings = client(address)
    assert {outbound["protocol"] for outbound in settings["outbounds"]} == {"vless"}
    servers = [outbound["settings"]["vnext"][0] for outbound in settings["outbounds"]]
    assert {(server["address"], server["port"]) for server in servers} == {(address, 443)}
    assert "dns" not in settings
    for outbound in settings["outbounds"]:
        assert "domainStrategy" not in outbound["streamSettings"]["sockopt"]


def test_a_name_without_a_dns_server_is_refused() -> None:
    with pytest.raises(ValueError, match="DNS server"):
        client_settings(
            IDENTITY,
            Vps("vps.example.com", 443, "dl.google.com"),
            tproxy_port=None,
            socks_listen=TRANSIT,
            socks_port=1080,
        )


def holds(condition: str, value: Any, tag: str, network: str, address: str, port: int) -> bool:
    """Whether one condition of a routing rule is true of a packet."""
    if condition == "inboundTag":
        return bool(tag in value)
    if condition == "network":
        return bool(network in value.split(","))
    if condition == "port":
        return bool(value == str(port))
    assert condition == "ip", f"a condition that this test does not know: {condition}"
    return any(ip_address(address) in ip_network(each) for each in value)


def route(settings: dict[str, Any], tag: str, network: str, address: str, port: int) -> str:
    """The outbound that XRay chooses: by the first rule whose conditions all hold."""
    for rule in settings["routing"]["rules"]:
        conditions = {key: value for key, value in rule.items() if key != "outboundTag"}
        if all(holds(*item, tag, network, address, port) for item in conditions.items()):
            return str(rule["outboundTag"])
    return str(settings["outbounds"][0]["tag"])


destinations = st.tuples(
    st.sampled_from(["tcp", "udp"]),
    st.one_of(st.ip_addresses().map(str), st.sampled_from([*map(str, RESOLVERS), *ADDRESSES])),
    st.one_of(st.integers(1, 65535), st.just(53)),
)


@given(st.sampled_from([*ADDRESSES, "vps.example.com"]), destinations)
def test_whatever_comes_in_leaves_to_the_vps(vps: str, packet: tuple[str, str, int]) -> None:
    settings = client(vps)
    network, _, port = packet
    for inbound in settings["inbounds"]:
        assert route(settings, inbound["tag"], *packet) == way_of("vps", network, port)
        assert "sniffing" not in inbound


def way_of(tag: str, network: str, port: int) -> str:
    """The outbound that is for that network and port, of those that lead to the same place."""
    if network == "tcp":
        return tag
    return f"{tag}-dns" if port == 53 else f"{tag}-udp"


def idle_s(settings: dict[str, Any], inbound: str, network: str, port: int) -> int:
    """For how many seconds the outbound that XRay chooses keeps a silent session."""
    chosen = route(settings, inbound, network, "198.51.100.1", port)
    (outbound,) = (one for one in settings["outbounds"] if one["tag"] == chosen)
    inside = outbound["settings"]
    level = inside["userLevel"] if "userLevel" in inside else vless_user(outbound)["level"]
    return int(settings["policy"]["levels"][str(level)]["connIdle"])


def vless_user(outbound: dict[str, Any]) -> dict[str, Any]:
    user: dict[str, Any] = outbound["settings"]["vnext"][0]["users"][0]
    return user


@pytest.mark.parametrize(
    ("settings", "inbound"), [(client("198.51.100.7"), "tproxy-udp-v4"), (server(), "vless")]
)
def test_silent_sessions_end_and_those_of_dns_soon(settings: dict[str, Any], inbound: str) -> None:
    """What XRay holds for each UDP port of a client is a stream, two descriptors and 80 KB."""
    assert idle_s(settings, inbound, "udp", 53) * 2 == DNS_HELD_S <= 15
    assert 120 <= idle_s(settings, inbound, "udp", 443) <= UDP_HELD_S  # RFC 4787, REQ-5
    assert idle_s(settings, inbound, "tcp", 53) == 300


@pytest.mark.parametrize("port", [1, 12345, 65534, 65535])
def test_dns_has_an_inbound_of_its_own(port: int) -> None:
    """XRay keeps a UDP port of a client as its first packet says: by the inbound it came to."""
    doors = [
        one
        for one in client("198.51.100.7", tproxy_port=port)["inbounds"]
        if "tproxy" in one["tag"]
    ]
    places = {(one["listen"], one["settings"]["network"], one["port"]) for one in doors}
    other = dns_tproxy_port(port)
    assert other != port
    assert 0 < other < 65536
    for loopback in ("127.0.0.1", "::1"):
        wanted = {("tcp", port), ("udp", port), ("udp", other)}
        assert {place[1:] for place in places if place[0] == loopback} == wanted


def test_the_ways_to_the_vps_differ_in_their_level_alone() -> None:
    plain = []
    for outbound in client("vps.example.com")["outbounds"]:
        if outbound["protocol"] == "vless":
            del outbound["tag"], vless_user(outbound)["level"]
            plain.append(outbound)
    assert plain == [plain[0]] * 3


@given(destinations)
def test_only_dns_questions_of_xray_itself_leave_beside_the_vps(
    packet: tuple[str, str, int],
) -> None:
    settings = client("vps.example.com")
    network, address, port = packet
    question = network == "udp" and port == 53 and ip_address(address) in RESOLVERS
    chosen = route(settings, settings["dns"]["tag"], *packet)
    assert chosen == ("resolver" if question else way_of("vps", network, port))


def test_the_way_of_dns_refuses_everything_else_a_second_time() -> None:
    settings = client("vps.example.com")
    (resolver,) = (o for o in settings["outbounds"] if o["protocol"] == "freedom")
    allow, block = resolver["settings"]["finalRules"]
    assert allow == {
        "action": "allow",
        "network": "udp",
        "port": "53",
        "ip": [str(address) for address in RESOLVERS],
    }
    assert block == {"action": "block"}


@pytest.mark.parametrize(
    ("address", "chosen"),
    [
        ("10.1.2.3", "refused"),
        ("127.0.0.1", "refused"),
        ("0.0.0.0", "refused"),
        ("100.64.0.1", "refused"),
        ("169.254.169.254", "refused"),
        ("172.31.255.255", "refused"),
        ("192.168.0.1", "refused"),
        ("::1", "refused"),
        ("fd00::1", "refused"),
        ("fe80::1", "refused"),
        ("fec0::1", "refused"),
        ("::c612:c801", "refused"),
        ("64:ff9b::c612:c801", "refused"),
        ("64:ff9b:1::c612:c801", "refused"),
        ("2001:0:1::1", "refused"),
        ("2002:c612:c801::1", "refused"),
        ("255.255.255.255", "refused"),
        ("198.18.0.1", "internet"),
        ("198.51.100.1", "internet"),
        ("172.32.0.1", "internet"),
        ("2001:db8::1", "internet"),
    ],
)
def test_the_server_keeps_out_of_private_networks(address: str, chosen: str) -> None:
    assert route(server(), "vless", "tcp", address, 80) == chosen


def test_names_are_judged_after_they_are_resolved() -> None:
    for internet in internets():
        block, allow = internet["settings"]["finalRules"]
        assert block == {"action": "block", "ip": [str(network) for network in BLOCKED_NETWORKS]}
        assert allow == {"action": "allow"}


def internets() -> list[dict[str, Any]]:
    """The server's ways to the Internet."""
    found = [one for one in server()["outbounds"] if one["protocol"] == "freedom"]
    assert len(found) == 3
    return found


def test_the_vps_own_addresses_are_refused_as_far_as_they_are_known() -> None:
    more = [ip_address("2001:db8::9"), ip_address("203.0.113.7")]
    refused = refused_by_server("203.0.113.7", more)
    assert refused == (*BLOCKED_NETWORKS, *map(ip_network, ("2001:db8::9", "203.0.113.7")))
    settings = server(blocked_networks=refused)
    assert route(settings, "vless", "udp", "203.0.113.7", 22) == "refused"
    assert route(settings, "vless", "udp", "203.0.113.8", 22) == "internet-udp"
    assert refused_by_server("vps.example.com", ()) == BLOCKED_NETWORKS


def test_what_the_server_sends_for_clients_is_marked_and_the_rules_are_about_that_mark() -> None:
    (mark,) = {internet["streamSettings"]["sockopt"]["mark"] for internet in internets()}
    rules = server_firewall(BLOCKED_NETWORKS)
    assert f"meta mark {mark:#x} jump for_clients" in rules
    assert "fib daddr type { local, broadcast, anycast, multicast }" in rules
    for version in (4, 6):
        networks = [str(network) for network in BLOCKED_NETWORKS if network.version == version]
        assert f"elements = {{ {', '.join(networks)} }}" in rules


def test_logs_name_no_destination() -> None:
    for settings in (client("vps.example.com"), server()):
        assert settings["log"] == {"loglevel": "warning", "access": "none"}


def test_without_tproxy_only_socks_listens() -> None:
    settings = client("198.51.100.7", tproxy_port=None)
    assert {inbound["protocol"] for inbound in settings["inbounds"]} == {"socks"}
