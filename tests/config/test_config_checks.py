"""Every kind of mistake in a document: where it is reported, and in which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from privacy_router.config import (
    ConfigError,
    PrivacyRouterConfig,
    Problem,
    check,
    check_host,
    default_document,
    parse_document,
)

Part = dict[str, Any]
ProblemsAfter = Callable[..., tuple[Problem, ...]]


def put(path: str, value: object) -> Callable[[Part], None]:
    """A change: set the value at a path such as `containers.0.id`."""
    *parents, last = path.split(".")

    def change(part: Part) -> None:
        place: Any = part
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        place[int(last) if isinstance(place, list) else last] = value

    return change


def remove(path: str) -> Callable[[Part], None]:
    """A change: delete the key at a path."""
    *parents, last = path.split(".")

    def change(part: Part) -> None:
        place: Any = part
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        del place[last]

    return change


def flow(in_port: object, *actions: str, priority: int = 100) -> Part:
    return {"priority": priority, "match_fields": {"in_port": in_port}, "actions": list(actions)}


def policy(
    *actions: str, selector: str = "container:*", name: str = "one", **template: object
) -> Part:
    body = {"actions": list(actions or ("drop",)), **template}
    return {"name": name, "selector": selector, "template": body}


def policies(*given: Part) -> Callable[[Part], None]:
    return put("openflow.flow_policies", list(given))


def with_selector(selector: object) -> list[Part]:
    return [{**policy(), "selector": selector}]


SCHEMA_CASES = [
    # (path of the change, value, path of the problem, words)
    ("openflow.rates", {"arp": 0}, "openflow.rates.arp", "packets per second, 1 to 1000000"),
    ("openflow.rates", {"syn": 1.5}, "openflow.rates.syn", "or null for no limit"),
    ("openflow.rates", {"dns": True}, "openflow.rates.dns", "packets per second"),
    ("openflow.rates", {"udp": 5}, "openflow.rates.udp", "an unknown key"),
    ("openflow.fragments", "dropp", "openflow.fragments", "did you mean drop"),
    ("openflow.normal_ttl", 1, "openflow.normal_ttl", "2 to 255"),
    *(
        (
            "openflow.flow_policies",
            with_selector(selector),
            "openflow.flow_policies[0].selector",
            "container:100-199",
        )
        for selector in (
            *("", "container", "container:", "container:99", "container:0200", "container:200-100"),
            *("container:10*", "container:100-", "container:1000000000", "Container:*", 200),
            *("port:", "port:a b", "port:é", "internal_*", " container:*", "container:*\n"),
        )
    ),
    (
        "openflow.flow_policies",
        [{**policy(), "template": {"actions": []}}],
        "openflow.flow_policies[0].template.actions",
        "a list of at least 1",
    ),
    ("bridge_name", "averyveryverylongbridge", "bridge_name", "1 to 15 bytes"),
    ("bridge_name", "brücke-brücke-b", "bridge_name", "printable ASCII"),
    ("bridge_name", "a/b", "bridge_name", "without spaces, '/'"),
    ("bridge_name", "..", "bridge_name", "an interface name"),
    ("bridge_name", "br 0", "bridge_name", "an interface name"),
    ("bridge_name", "br%d", "bridge_name", "an interface name"),
    ("bridge_name", "17", "bridge_name", "not a number"),
    ("warp.interface", "LOCAL", "warp.interface", "not a port name of OpenFlow's own"),
    ("netmaker.interface", "", "netmaker.interface", "1 to 15 bytes"),
    ("datapath", "systm", "datapath", "(did you mean system?)"),
    ("bridge", "x", "bridge", "(did you mean bridge_name?)"),
    ("wireguard.listen_prt", 1, "wireguard.listen_prt", "(did you mean listen_port?)"),
    ("warp.tproxy_port", 1, "warp.tproxy_port", "did you mean plugins.privacy_router.xray.tproxy"),
    ("containers.0.colour", 1, "containers[0].colour", "one of the keys id, name"),
    ("wireguard.listen_port", 0, "wireguard.listen_port", "1 to 65535"),
    ("wireguard.listen_port", "51820", "wireguard.listen_port", 'found "51820"'),
    ("wireguard.listen_port", True, "wireguard.listen_port", "found true"),
    ("xray.vps_port", 70000, "xray.vps_port", "found 70000; expected a port number"),
    ("xray.vps_port", 443.0, "xray.vps_port", "found 443.0"),
    ("wireguard.enabled", 1, "wireguard.enabled", "true or false"),
    ("wireguard.mtu", 1279, "wireguard.mtu", "1280 to 1500"),
    ("wireguard.container_id", 99, "wireguard.container_id", "100 to 999999999"),
    ("wireguard.endpoint", "home.example:51820", "wireguard.endpoint", "without a port"),
    ("wireguard.dns", [], "wireguard.dns", "a list of at least 1"),
    ("wireguard.dns", ["127.0.0.1"], "wireguard.dns[0]", "DNS server"),
    ("wireguard.dns", "1.1.1.1", "wireguard.dns", "a list"),
    ("wireguard.client_subnet", "10.9.0.1/24", "wireguard.client_subnet", "mean 10.9.0.0/24?"),
    ("wireguard.client_subnet", 5, "wireguard.client_subnet", "an IPv4 subnet"),
    ("mesh_subnet6", "10.9.0.0/24", "mesh_subnet6", "an IPv6 subnet"),
    ("warp", None, "warp", "found null; expected an object"),
    ("containers", {}, "containers", "found an object with 0 keys; expected a list"),
    ("warp.persistent_keepalive", -1, "warp.persistent_keepalive", "0 (off) to 65535"),
    ("warp.api_url", "ftp://example.com", "warp.api_url", "https://"),
    ("warp.api_url", "https://user:pw@example.com", "warp.api_url", "without user name"),
    ("warp.wgcf_config", "", "warp.wgcf_config", "the path of a file"),
    ("xray.fingerprint", "crome", "xray.fingerprint", "(did you mean chrome?)"),
    ("xray.server_name", "1.2.3.4", "xray.server_name", "not an IP address"),
    ("xray.target", "example.com", "xray.target", "dl.google.com:443"),
    ("xray.target", "example.com:0", "xray.target", "dl.google.com:443"),
    ("openflow.obfuscation_level", 4, "openflow.obfuscation_level", "0 to 3"),
    (
        "openflow.privacy_flows.0.priority",
        65536,
        "openflow.privacy_flows[0].priority",
        "0 to 65535",
    ),
    (
        "openflow.privacy_flows.0.match_fields.nw_src",
        None,
        "openflow.privacy_flows[0].match_fields.nw_src",
        "a text of 1 to 100 characters",
    ),
    ("openflow.privacy_flows.0.actions", [], "openflow.privacy_flows[0].actions", "at least 1"),
    ("containers.0.network_type", "bridge", "containers[0].network_type", "'mesh' or 'privacy'"),
    ("containers.0.name", "-x", "containers[0].name", "a host label"),
    (
        "socket_networking.mesh_sockets.0.port_type",
        "privacy",
        "socket_networking.mesh_sockets[0].port_type",
        "'mesh'",
    ),
]


@pytest.mark.parametrize(("change", "value", "path", "words"), SCHEMA_CASES)
def test_values_that_are_wrong_by_themselves(
    change: str, value: object, path: str, words: str, problems_after: ProblemsAfter
) -> None:
    problems = problems_after(put(change, value))
    assert [problem.path for problem in problems] == [f"plugins.privacy_router.{path}"]
    assert words in str(problems[0])


@pytest.mark.parametrize(
    "address",
    [
        "",
        "vps example",
        "vps_1.example",
        "-vps.example",
        "a" * 64 + ".example",
        "10.1",
        "256.1.1.1",
        "vps.example.com:443",
        "[2001:db8::1]",
        "localhost",
        "vps.localhost",
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "fe80::1%eth0",
        "bücher.example",
    ],
)
@pytest.mark.parametrize("path", ["xray.vps_address", "vps.xray_server"])
def test_addresses_that_no_vps_has(address: str, path: str, problems_after: ProblemsAfter) -> None:
    problems = problems_after(put(path, address))
    assert [problem.path for problem in problems] == [f"plugins.privacy_router.{path}"]
    assert "a host name" in problems[0].expected


@pytest.mark.parametrize("address", ["vps", "a-1.example.", "xn--bcher-kva.example", "2001:db8::9"])
def test_addresses_that_a_vps_may_have(address: str, problems_after: ProblemsAfter) -> None:
    assert not problems_after(put("xray.vps_address", address), put("vps.xray_server", address))


CROSS_CASES = [
    # (changes, path of the problem, words)
    (
        [put("openflow.privacy_flows.1.match_fields.in_port", "warp1")],
        "openflow.privacy_flows[1].match_fields.in_port",
        'found "warp1"; expected the name of a port: internal_100, warp0',
    ),
    (
        [put("openflow.privacy_flows.0", flow("internal_100", "output:warp1"))],
        "openflow.privacy_flows[0].actions[0]",
        "(did you mean warp0?)",
    ),
    (
        [put("openflow.privacy_flows.0", flow(3, "output:warp0"))],
        "openflow.privacy_flows[0].match_fields.in_port",
        "found 3",
    ),
    (
        [put("openflow.privacy_flows.0", flow("internal_100", "output:LOCAL"))],
        "openflow.privacy_flows[0].actions[0]",
        "the bridge's own port is the host",
    ),
    (
        [put("openflow.privacy_flows.0", flow("internal_100", "output:ovsbr0"))],
        "openflow.privacy_flows[0].actions[0]",
        "the bridge's own port is the host",
    ),
    (
        [put("openflow.privacy_flows.0", flow("internal_100", "set_field:1->reg0", "NORMAL"))],
        "openflow.privacy_flows[0].actions[1]",
        "would lead around the tunnel",
    ),
    (
        [put("openflow.privacy_flows.0", flow("internal_100", "output:warp0,output:eth0"))],
        "openflow.privacy_flows[0].actions[0]",
        "the name of a port",
    ),
    (
        [put("openflow.function_routing.0.target_socket", "internal_202")],
        "openflow.function_routing[0].target_socket",
        "the name of a port: internal_200, internal_201",
    ),
    (
        [put("openflow.function_routing.0.target_socket", "internal_101")],
        "openflow.function_routing[0].target_socket",
        "the name of a port: internal_200",
    ),
    (
        [put("openflow.function_routing.0.match_fields.in_port", "eth0")],
        "openflow.function_routing[0].match_fields.in_port",
        "the name of a port",
    ),
    (
        [put("openflow.privacy_flows.2", flow("internal_100", "output:internal_101"))],
        "openflow.privacy_flows[2]",
        "openflow.privacy_flows[0] has the same",
    ),
    (
        [put("openflow.function_routing.1.match_fields", {"tcp_dst": 8080})],
        "openflow.function_routing[1]",
        "another priority or another match",
    ),
    (
        [put("containers.1.id", 200), put("containers.1.socket_port", "internal_200")],
        "containers[1].id",
        "containers[0].id has it",
    ),
    (
        [
            put("wireguard.container_id", 101),
            remove("wireguard.socket_port"),
            put("openflow.privacy_flows", None),
            put("socket_networking.privacy_sockets", None),
        ],
        "xray.container_id",
        "wireguard.container_id has it",
    ),
    (
        [
            put(
                "socket_networking.mesh_sockets.1",
                {"name": "internal_101", "container_id": 101},
            )
        ],
        "socket_networking.mesh_sockets[1].container_id",
        "xray.container_id has it",
    ),
    (
        [put("warp.interface", "ovsbr0"), put("openflow.privacy_flows", None)],
        "warp.interface",
        "bridge_name takes ovsbr0",
    ),
    *(
        ([put(key, name), put("openflow.privacy_flows", None)], key, f"({name} is {whose}")
        for key in ("bridge_name", "warp.interface", "netmaker.interface")
        for name, whose in (
            ("wgcf", "the WARP hop's WireGuard device"),
            ("wg100", "the gateway's WireGuard device"),
            ("pr-exit", "the bridge's port to the host"),
            ("ovs-netdev", "a device of Open vSwitch's own"),
            ("lo", "the loopback device"),
            ("default", "the kernel's settings of all devices"),
            ("sit0", "a device that the kernel may put into every network namespace"),
        )
    ),
    (
        [put("warp.interface", "internal_101"), put("openflow.privacy_flows", None)],
        "xray.container_id",
        "warp.interface takes internal_101",
    ),
    (
        [put("bridge_name", "internal_100"), put("openflow.privacy_flows", None)],
        "wireguard.container_id",
        "bridge_name takes internal_100",
    ),
    (
        [put("netmaker.interface", "warp0"), put("openflow.privacy_flows", None)],
        "netmaker.interface",
        "warp.interface takes warp0",
    ),
    (
        [put("netmaker.interface", "internal_201")],
        "containers[1].id",
        "netmaker.interface takes internal_201",
    ),
    (
        [put("wireguard.socket_port", "internal_150"), put("openflow.privacy_flows", None)],
        "wireguard.socket_port",
        'found "internal_150"; expected internal_100',
    ),
    (
        [put("containers.0.socket_port", "vectors"), put("openflow.function_routing", [])],
        "containers[0].socket_port",
        "named after containers[0].id",
    ),
    (
        [put("socket_networking.privacy_sockets.1.name", "internal_11")],
        "socket_networking.privacy_sockets[1].name",
        "expected internal_101",
    ),
    (
        [put("socket_networking.privacy_sockets.1", {"name": "internal_7", "container_id": 700})],
        "socket_networking.privacy_sockets[1].name",
        "expected internal_700",
    ),
    (
        [
            put(
                "containers.1",
                {"id": 1000000, "name": "big", "container_type": "big"},
            )
        ],
        "containers[1].id",
        "internal_1000000 would be a name over 15 bytes",
    ),
    (
        [put("containers.0.network_type", "privacy")],
        "containers[0].network_type",
        "only the hops are on the privacy segment: 100 (gateway) or 101 (xray)",
    ),
    (
        [put("socket_networking.enabled", value=False), put("openflow.function_routing", [])],
        "socket_networking.enabled",
        "enabled: gateway, warp, xray",
    ),
    ([put("vps.xray_server", "other.example")], "vps.xray_server", "as xray.vps_address says"),
    ([put("vps.xray_port", 8443)], "vps.xray_port", "expected 443, as xray.vps_port says"),
    (
        [put("xray.vps_address", None), put("vps.xray_server", None)],
        "xray.vps_address",
        "xray.enabled is true",
    ),
    (
        [
            put("wireguard.client_subnet", "198.18.9.0/24"),
            put("xray.vps_address", "198.18.9.9"),
            put("vps.xray_server", None),
        ],
        "xray.vps_address",
        "outside of wireguard.client_subnet (198.18.9.0/24)",
    ),
    (
        [put("xray.vps_address", "192.168.178.9"), put("vps.xray_server", None)],
        "xray.vps_address",
        "dialled through WARP, which leads nothing to 192.168.0.0/16",
    ),
    (
        [put("wireguard.dns", ["9.9.9.9", "192.168.178.53"])],
        "wireguard.dns[1]",
        "asked through the chain, and the VPS leads nothing to 192.168.0.0/16",
    ),
    ([put("wireguard.dns", ["fd00::53"])], "wireguard.dns[0]", "leads nothing to fc00::/7"),
    (
        [put("wireguard.dns", ["::ffff:10.0.0.53"])],
        "wireguard.dns[0]",
        "leads nothing to 10.0.0.0/8",
    ),
    ([put("xray.dns", ["100.64.0.1"])], "xray.dns[0]", "leads nothing to 100.64.0.0/10"),
    ([put("xray.tproxy_port", 1080)], "xray.tproxy_port", "another port than xray.socks_port"),
    (
        [
            put("warp.enabled", value=False),
            put("xray.enabled", value=False),
            put("openflow.privacy_flows", None),
        ],
        "warp.enabled",
        "in the clear by the ISP",
    ),
    (
        [put("wireguard.zero_config", value=False)],
        "wireguard.private_key_file",
        "no key is made",
    ),
    (
        [put("wireguard.private_key_file", "gateway.key")],
        "wireguard.zero_config",
        "the file never read",
    ),
    (
        [put("transit_subnet", "10.101.0.0/16")],
        "transit_subnet",
        "does not overlap wireguard.client_subnet (10.101.0.0/24)",
    ),
    (
        [put("mesh_subnet6", "fd70:7276:6174:0:8000::/65")],
        "mesh_subnet6",
        "does not overlap",
    ),
    (
        [policies(policy(name="a"), policy(name="b", priority=81), policy(name="a", priority=82))],
        "openflow.flow_policies[2].name",
        "openflow.flow_policies[0] has it",
    ),
    (
        [policies(policy(name="a"), policy("output:{port_name}", name="b"))],
        "openflow.flow_policies[1]",
        "openflow.flow_policies[0] has the same",
    ),
    (
        [policies(policy("output:eth0"))],
        "openflow.flow_policies[0].template.actions[0]",
        "the name of a port: {port_name}, internal_100, warp0",
    ),
    (
        [policies(policy("output:internal_202"))],
        "openflow.flow_policies[0].template.actions[0]",
        "(did you mean internal_201?)",
    ),
    (
        [policies(policy("output:{port_name}", "LOCAL"))],
        "openflow.flow_policies[0].template.actions[1]",
        "the bridge's own port is the host",
    ),
    (
        [policies(policy(match_fields={"in_port": "eth0"}))],
        "openflow.flow_policies[0].template.match_fields.in_port",
        "the name of a port: {port_name}, internal_100",
    ),
    (
        [policies(policy(match_fields={"nw_dst": "10.0.0.{contaner_id}"}))],
        "openflow.flow_policies[0].template.match_fields.nw_dst",
        "expected {container_id} or {port_name} or {bridge} (did you mean container_id?)",
    ),
    (
        [policies(policy(description="{} of"))],
        "openflow.flow_policies[0].template.description",
        'found "{}"',
    ),
    (
        [policies(policy(description="half {container_id"))],
        "openflow.flow_policies[0].template.description",
        'found "{container_id"',
    ),
    (
        [policies(policy(selector="port:internal_1000000"))],
        "openflow.flow_policies[0].selector",
        "a port name has at most 15 bytes",
    ),
    (
        [policies(policy(selector="port:a/*"))],
        "openflow.flow_policies[0].selector",
        "no port name has a '/'",
    ),
    (
        [policies(policy(selector="port:ovsbr0"))],
        "openflow.flow_policies[0].selector",
        "not a port of a hop or of a container",
    ),
    (
        [policies(policy(selector="port:LOCAL"))],
        "openflow.flow_policies[0].selector",
        "not a port of a hop or of a container",
    ),
    (
        [policies(policy(selector="port:*", description="{container_id}"))],
        "openflow.flow_policies[0].selector",
        "the template says {container_id} and warp0 has none",
    ),
    (
        [
            put("containers.1", {"id": 1000, "name": "big", "container_type": "big"}),
            put("mesh_subnet", "10.103.0.0/24"),
        ],
        "mesh_subnet",
        "/22, or container ids up to 254 (container 1000 has the address of that number in it)",
    ),
    (
        [policies(policy("output:{port}"))],
        "openflow.flow_policies[0].template.actions[0]",
        'found "{port}"',
    ),
    (
        [
            put("containers.1", {"id": 255, "name": "big", "container_type": "big"}),
            put("mesh_subnet", "10.103.0.0/24"),
        ],
        "mesh_subnet",
        "(did you mean 10.103.0.0/23?)",
    ),
    (
        [
            put("containers.1", {"id": 131071, "name": "big", "container_type": "big"}),
            put("mesh_subnet", "10.103.0.0/16"),
        ],
        "mesh_subnet",
        "/14, or container ids up to 65534 (container 131071 has the address of that number in it)",
    ),
    (
        [
            put("containers.1", {"id": 65535, "name": "big", "container_type": "big"}),
            put("mesh_subnet", "172.16.0.0/12"),
            put("mesh_subnet6", "fd00:9::/112"),
        ],
        "mesh_subnet6",
        "(did you mean fd00:9::/111?)",
    ),
    ([put("mesh_subnet", "10.103.0.0/29")], "mesh_subnet", "a prefix of at most /28"),
    ([put("transit_subnet6", "fd00::/120")], "transit_subnet6", "a prefix of at most /112"),
    ([put("mesh_subnet", "127.5.0.0/24")], "mesh_subnet", "clear of loopback"),
    ([put("mesh_subnet", "239.0.0.0/24")], "mesh_subnet", "clear of multicast"),
    ([put("mesh_subnet", "169.254.7.0/24")], "mesh_subnet", "clear of link-local"),
    ([put("transit_subnet6", "fe80::/64")], "transit_subnet6", "clear of link-local"),
    ([put("transit_subnet6", "ff05::/64")], "transit_subnet6", "clear of multicast"),
]


@pytest.mark.parametrize(("changes", "path", "words"), CROSS_CASES)
def test_values_that_contradict_each_other(
    changes: list[Callable[[Part], None]], path: str, words: str, problems_after: ProblemsAfter
) -> None:
    problems = problems_after(*changes)
    at_path = [p for p in problems if p.path == f"plugins.privacy_router.{path}"]
    assert [words in str(problem) for problem in at_path] == [True], problems


@pytest.mark.parametrize(
    "given",
    [
        policy("output:{port_name}", selector="port:internal_?00"),
        policy("mod_nw_ttl:64", "output:internal_201", selector="container:200-201"),
        policy(selector="port:*", description="about {port_name} of {bridge}"),
        policy(selector="container:200", description="about {container_id}"),
        policy(selector="port:internal_*", match_fields={"nw_dst": "10.0.0.{container_id}"}),
        policy(selector="port:*[x]*"),
        policy(match_fields={"in_port": "{port_name}", "tcp_dst": 80}),
    ],
    ids=lambda given: f"{given['selector']} {given['template']['actions']}",
)
def test_policies_that_may_stand(given: Part, problems_after: ProblemsAfter) -> None:
    assert not problems_after(policies(given))


def test_a_mesh_subnet_as_wide_as_advised_is_accepted(problems_after: ProblemsAfter) -> None:
    big = put("containers.1", {"id": 1000, "name": "big", "container_type": "big"})
    routing = put("openflow.function_routing", [])
    assert not problems_after(big, routing, put("mesh_subnet", "10.103.0.0/22"))


def test_flows_must_not_name_a_hop_that_is_off(problems_after: ProblemsAfter) -> None:
    problems = problems_after(put("xray.enabled", value=False))
    assert [problem.path.removeprefix("plugins.privacy_router.") for problem in problems] == [
        "openflow.privacy_flows[1].actions[0]",
        "openflow.privacy_flows[2].match_fields.in_port",
    ]
    assert all("the hop xray is not enabled" in problem.expected for problem in problems)


@pytest.mark.parametrize("hop", ["wireguard", "warp", "xray"])
def test_each_hop_can_be_disabled_when_the_flows_are_derived(
    hop: str, problems_after: ProblemsAfter
) -> None:
    assert not problems_after(
        put(f"{hop}.enabled", value=False), put("openflow.privacy_flows", None)
    )


def test_all_problems_come_at_once(problems_after: ProblemsAfter) -> None:
    problems = problems_after(
        put("bridg_name", "ovsbr0"),
        put("warp.mtu", 9000),
        put("xray.tproxy_port", 1080),
        put("xray.socket_port", "internal_999"),
        put("containers.0.socket_port", "internal_999"),
        put("transit_subnet", "10.101.0.0/24"),
        put("mesh_subnet", "10.101.0.0/24"),
    )
    paths = {problem.path.removeprefix("plugins.privacy_router.") for problem in problems}
    assert paths == {
        "bridg_name",
        "warp.mtu",
        "xray.tproxy_port",
        "xray.socket_port",
        "containers[0].socket_port",
        "transit_subnet",
        "mesh_subnet",
    }


def test_defaults_of_a_broken_part_cause_no_further_problems(
    problems_after: ProblemsAfter,
) -> None:
    # Without the rule, container 100 by default would collide with the mesh container.
    problems = problems_after(
        put("wireguard.container_id", "150"),
        put("wireguard.socket_port", "internal_150"),
        put("containers.0", {"id": 100, "name": "x", "container_type": "x"}),
    )
    assert [problem.found for problem in problems] == ['"150"']


def test_the_message_names_the_file_the_place_and_the_remedy() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document('{"version": 2, "plugins": {"privacy_router": {}}}', "node.json")
    error = caught.value
    assert error.exit_code == 2
    assert str(error) == "node.json: 1 problem\n  version: found 2; expected 1"
    assert "node.json" in error.remedy
    assert error.problems[0].as_json() == {
        "path": "version",
        "found": "2",
        "expected": "1",
        "nearest": None,
        "excerpt": "",
    }


@pytest.mark.parametrize("version", [True, 1.0, "1", None, 0])
def test_only_the_number_one_is_the_version(version: object) -> None:
    text = json.dumps({"version": version, "plugins": {"privacy_router": {}}})
    with pytest.raises(ConfigError, match=r"version: found .*; expected 1$"):
        parse_document(text, "node.json")


def test_other_plugins_are_not_configured_here() -> None:
    text = '{"version": 1, "plugins": {"privacy_router": {}, "privacy-router": {}}}'
    with pytest.raises(ConfigError, match="did you mean privacy_router") as caught:
        parse_document(text, "node.json")
    assert caught.value.problems[0].path == "plugins.privacy-router"


def test_a_part_at_the_wrong_level_is_sent_to_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document('{"version": 1, "privacy_router": {}}', "node.json")
    nearest = {problem.path: problem.nearest for problem in caught.value.problems}
    assert nearest == {"plugins": None, "privacy_router": "plugins.privacy_router"}


@pytest.mark.parametrize(
    ("host", "paths"),
    [
        ([], []),
        (["192.168.1.0/24", "fd00::/64"], []),
        (["0.0.0.0/0", "::/0"], []),
        (["10.102.0.0/16"], ["transit_subnet"]),
        (["10.101.0.7/32"], ["wireguard.client_subnet"]),
        (["10.0.0.0/8"], ["wireguard.client_subnet", "transit_subnet", "mesh_subnet"]),
        (["fd70:7276:6174::/48"], ["wireguard.client_subnet6", "transit_subnet6", "mesh_subnet6"]),
    ],
)
def test_subnets_that_the_host_already_has(host: list[str], paths: list[str]) -> None:
    problems = check_host(PrivacyRouterConfig(), [ip_network(text) for text in host])
    assert [p.path.removeprefix("plugins.privacy_router.") for p in problems] == paths
    for problem in problems:
        assert f"overlap {host[0]}, which this host already has" in problem.expected


def test_a_configuration_made_in_code_is_checked_the_same_way() -> None:
    config = PrivacyRouterConfig.model_validate({"xray": {"enabled": True}})
    assert [problem.path for problem in check(config)] == [
        "plugins.privacy_router.xray.vps_address"
    ]


def test_a_new_document_refuses_a_bad_address() -> None:
    with pytest.raises(ConfigError, match=r"xray\.vps_address"):
        default_document("vps.example.com:443")
