"""What a section of `net` asks for, and what contradicts itself in it."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from privacy_router.config import ConfigError, parse_document
from privacy_router.config.models import Plugins
from privacy_router.engine.model import Desired, canonical_json
from privacy_router.plugins.net import names
from privacy_router.plugins.net.declare import declare


def declared(data: Any) -> Desired:
    return declare(Plugins.model_validate({"net": data}).net)


def rows(data: Any) -> dict[str, Any]:
    found = declared(data).resources
    return {f"{key.kind} {key.name}": resource.value for key, resource in found.items()}


def test_each_setting_is_a_resource_of_its_own() -> None:
    interface = {"up": True, "mtu": 1400, "dhcp": False, "ipv6_ra": False, "exact": True}
    addresses = ["192.0.2.2/24", "2001:DB8::2/64", "192.0.2.2/24"]
    assert rows({"interfaces": {"eth0": {**interface, "addresses": addresses}}}) == {
        "up eth0": True,
        "mtu eth0": 1400,
        "dhcp eth0": False,
        "ipv6-ra eth0": 0,
        "address eth0 192.0.2.2/24": {},
        "address eth0 2001:db8::2/64": {},
        "other-addresses eth0": {"*": None},
    }


def test_a_bridge_its_ports_and_its_uplink() -> None:
    ports = {"eth1": {}, "mgmt0": {"type": "internal", "tag": 14}}
    assert rows({"bridges": {"vmbr0": {"uplink": "eth0", "ports": ports}}}) == {
        "bridge vmbr0": {},
        "port eth1": {"bridge": "vmbr0", "type": "system", "tag": None, "mac": None},
        "port mgmt0": {"bridge": "vmbr0", "type": "internal", "tag": 14, "mac": None},
        "uplink eth0": {"bridge": "vmbr0", "connected": True},
    }


def test_routes_are_known_by_destination_table_and_metric() -> None:
    routes = [
        {"to": "default", "via": "192.0.2.1"},
        {"to": "default", "via": "fe80::1", "dev": "eth0"},
        {"to": "default", "dev": "tun0", "metric": 9},
        {"to": "10.0.0.0/8", "via": "192.0.2.1", "table": 1000},
        {"to": "default", "via": "192.0.2.1", "dev": "eth0", "table": 7, "onlink": True},
    ]
    assert rows({"routes": routes}) == {
        "route 0.0.0.0/0 table 254 metric 0": {"via": "192.0.2.1"},
        "route ::/0 table 254 metric 1024": {"via": "fe80::1", "dev": "eth0"},
        "route 0.0.0.0/0 table 254 metric 9": {"via": None, "dev": "tun0"},
        "route 10.0.0.0/8 table 1000 metric 0": {"via": "192.0.2.1"},
        "route 0.0.0.0/0 table 7 metric 0": {"via": "192.0.2.1", "dev": "eth0", "onlink": True},
    }


def test_nothing_is_asked_for_without_a_section() -> None:
    assert declare(None) == Desired()
    assert declared({}) == Desired()


def test_values_can_be_written_down() -> None:
    data = {"bridges": {"vmbr0": {"uplink": "eth0", "ports": {"eth1": {}}}}}
    assert canonical_json(list(rows(data).values()))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"interfaces": {"eth0": {"dhcp": true}}}', "leave the key out"),
        ('{"interfaces": {"eth0": {"mtu": 576}}}', "1280 to 65535"),
        ('{"interfaces": {"eth0": {"addresses": ["192.0.2.2"]}}}', "prefix length"),
        ('{"interfaces": {"eth0": {"addresses": ["fe80::1/64"]}}}', "prefix length"),
        ('{"bridges": {"a": {"ports": {"b": {"tag": 4095}}}}}', "1 to 4094"),
        ('{"bridges": {"a": {"ports": {"b": {"mac": "01:00:00:00:00:00"}}}}}', "one station"),
        ('{"routes": [{"to": "10.0.0.1/8", "dev": "eth0"}]}', "without host bits"),
        ('{"routes": [{"to": "default", "via": "0.0.0.0"}]}', "a router"),
    ],
)
def test_wrong_values_are_told_in_one_sentence(data: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document(f'{{"version": 1, "plugins": {{"net": {data}}}}}', "x")
    assert words in str(caught.value)


def test_names_are_read_back() -> None:
    route = names.RouteName(ip_network("2001:db8::/32"), 100, 5)
    assert names.parse_route(str(route)) == route
    address = ip_interface("192.0.2.2/24")
    assert names.parse_address(names.address_name("eth0", address)) == ("eth0", address)
