"""Containers beside the tunnel: noticed by themselves, reached by function, and by nothing else."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.hops.warp.hop import WARP_ROLE
from privacy_router.lab import stage
from privacy_router.pipeline.tables import number_of
from tests.e2e import containers
from tests.e2e.containers import (
    BIRTHPLACE,
    DATABASE,
    PEER,
    Container,
    await_event,
    await_said,
    events,
    flows,
    must,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

POLICIES = [
    {
        "name": "no-telnet",
        "selector": "container:*",
        "template": {
            "priority": 200,
            "match_fields": {"tcp_dst": 23},
            "actions": ["drop"],
            "description": "nothing of {bridge} speaks telnet",
        },
    },
    {
        "name": "metrics",
        "selector": "container:200-299",
        "template": {
            "match_fields": {"in_port": "nm-privacy", "tcp_dst": 9100},
            "actions": ["output:{port_name}"],
            "description": "the mesh may read the metrics of container {container_id}",
        },
    },
]


@pytest.fixture(scope="module")
def lab(lab_prefix: str) -> Iterator[Lab]:
    try:
        yield stage.up(lab_prefix, overrides=containers.overrides(flow_policies=POLICIES))
    finally:
        stage.down(lab_prefix)


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Container:
    return containers.add_gateway(lab)


@pytest.fixture(scope="module")
def database(lab: Lab, gateway: Container) -> Iterator[Container]:
    """Container 200, which serves a function, and two ports more."""
    container = containers.add(lab, 200)
    serving = [
        container.popen("python3", "-m", "http.server", port, "--bind", "::", stderr=-3)
        for port in ("8080", "8081", "9100")
    ]
    deadline = time.monotonic() + 5
    while any(container.get(f"http://127.0.0.1:{port}/") != "200" for port in (8080, 8081, 9100)):
        assert time.monotonic() < deadline
    yield container
    for process in serving:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def bucket(lab: Lab, gateway: Container) -> Container:
    return containers.add(lab, 201)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.103.0.200:8080/",
        "http://[fd70:7276:6174:3::c8]:8080/",
        "http://10.103.0.1:8080/",
        "http://[fd70:7276:6174:3::1]:8080/",
        "http://10.103.77.77:8080/",
    ],
    ids=["its address", "its address, IPv6", "the node", "the node, IPv6", "any address"],
)
def test_a_function_answers_whatever_address_is_asked(
    database: Container, bucket: Container, url: str
) -> None:
    if "77" in url:  # nobody has it, so nobody says where: it goes by the way into the mesh
        bucket.run("ip", "route", "replace", "10.103.77.77/32", "via", "10.103.0.1")
    assert bucket.get(url) == "200"


def test_the_mesh_reaches_functions_and_policies_only(
    database: Container, gateway: Container
) -> None:
    assert gateway.get("http://10.103.0.200:8080/", "--interface", PEER) == "200"
    assert gateway.get("http://10.103.0.200:9100/", "--interface", PEER) == "200"
    assert gateway.get("http://10.103.0.200:8081/", "--interface", PEER) == ""


def test_containers_do_not_reach_each_other_but_by_function(
    database: Container, bucket: Container
) -> None:
    assert bucket.get("http://10.103.0.200:8081/") == ""
    assert bucket.get("http://10.103.0.200:9100/") == ""
    assert bucket.run("ping", "-c1", "-W1", "10.103.0.200").returncode != 0


def test_containers_may_ask_the_mesh(bucket: Container) -> None:
    assert bucket.run("ping", "-c1", "-W2", PEER).returncode == 0
    assert bucket.run("ping", "-c1", "-W2", "fd70:7276:6174:3::1").returncode == 0


@pytest.mark.parametrize("hop", ["10.102.0.1", "10.102.0.2", "10.102.0.3", "10.101.0.2"])
def test_no_container_reaches_the_tunnel(bucket: Container, hop: str) -> None:
    assert bucket.run("ping", "-c1", "-W1", hop).returncode != 0
    assert bucket.get(f"http://{hop}:1080/") == ""


def test_a_policy_drops_before_anything_else(
    lab: Lab, database: Container, bucket: Container
) -> None:
    bucket.get(f"http://{PEER}:23/")
    rows = [row for row in flows(lab) if "no-telnet" in row["reason"]]
    assert {row["origin"] for row in rows} == {"openflow.flow_policies[0]"}
    mine = [row for row in rows if "in_port=internal_201" in row["match"]]
    assert sum(row["packets"] for row in mine) > 0
    assert all("nothing of ovsbr0 speaks telnet" in row["reason"] for row in mine)


def test_proxmox_ports_are_known_by_their_name(lab: Lab, gateway: Container) -> None:
    since = len(events(lab))
    must(lab, "ip", "link", "add", "veth300i1", "type", "veth", "peer", "name", "eth300")
    must(lab, "ip", "link", "set", "veth300i1", "netns", "pr-switch")
    must(lab, "ovs-vsctl", DATABASE, "add-port", "ovsbr0", "veth300i1")
    await_event(lab, "port left out", "veth300i1", since)
    assert "attached-mac" in events(lab)[since:]
    since = len(events(lab))
    (link,) = json.loads(must(lab, "ip", "-j", "link", "show", "eth300"))
    known = f'external_ids:attached-mac="{link["address"]}"'
    must(lab, "ovs-vsctl", DATABASE, "set", "interface", "veth300i1", known)
    await_event(lab, "port has its flows", "veth300i1", since)
    must(lab, "ip", "netns", "add", "ct-300")
    must(lab, "ip", "link", "set", "eth300", "netns", "ct-300")
    must(lab, *BIRTHPLACE, "link", "set", "veth300i1", "up")
    must(lab, "ip", "-n", "ct-300", "address", "add", "10.103.1.44/16", "dev", "eth300")
    must(lab, "ip", "-n", "ct-300", "link", "set", "eth300", "up")
    must(lab, "ip", "netns", "exec", "ct-300", "ping", "-c1", "-W2", "10.103.0.1")


def test_a_stranger_on_the_bridge_gets_nothing_and_stays(lab: Lab, bucket: Container) -> None:
    since = len(events(lab))
    must(lab, "ovs-vsctl", DATABASE, "add-port", "ovsbr0", "eth7", "--",
         "set", "interface", "eth7", "type=internal")  # fmt: skip
    await_event(lab, "port left out", "eth7", since)
    assert "port eth7 gets no flows: neither a hop's port" in must(lab, "privacy-router", "status")
    assert "eth7" in must(lab, "ovs-vsctl", DATABASE, "list-ports", "ovsbr0")
    assert not [row for row in flows(lab) if "eth7" in row["match"]]


def test_a_limit_on_a_table_is_told_and_taken_away(lab: Lab, bucket: Container) -> None:
    room = sum(row["table"] == "rates" for row in flows(lab))
    limit = ("--id=@t", "create", "Flow_Table", f"flow_limit={room}", "overflow_policy=refuse")
    table = f"flow_tables:{number_of('rates')}=@t"
    port = ("add-port", "ovsbr0", "internal_250", "--", "set", "interface", "internal_250")
    since = len(events(lab))
    must(lab, "ovs-vsctl", DATABASE, "--", *limit, "--", "set", "Bridge", "ovsbr0", table,
         "--", *port, "type=internal")  # fmt: skip
    await_said(lab, "flow_tables of bridge ovsbr0", since)
    deadline = time.monotonic() + 15
    while lab["node"].run(("privacy-router", "flows", "diff")).returncode != 0:
        assert time.monotonic() < deadline
    assert any("internal_250" in row["match"] for row in flows(lab))
    must(lab, "ovs-vsctl", DATABASE, "del-port", "ovsbr0", "internal_250")


def test_everything_is_back_after_the_switch_was_killed(
    lab: Lab, database: Container, bucket: Container
) -> None:
    status: dict[str, Any] = json.loads(must(lab, "privacy-router", "status", "--json"))
    must(lab, "kill", "-KILL", str(status["processes"]["ovs-vswitchd"]))
    deadline = time.monotonic() + 10
    while True:
        shown = lab["node"].run(("privacy-router", "status", "--json", "--no-probe"))
        after = json.loads(shown.stdout)
        if (
            after["ok"]
            and after["processes"]["ovs-vswitchd"] != status["processes"]["ovs-vswitchd"]
        ):
            break
        assert time.monotonic() < deadline, after
    mesh = [row for row in flows(lab) if row["table"] == "functions"]
    assert {"function vector_db → internal_200"} <= {row["reason"] for row in mesh}
    # the userspace datapath's ports die with it; whoever made them puts them back in their place
    pinned = must(lab, "ovs-vsctl", DATABASE, "get", "interface", "internal_200", "mac")
    assert pinned.strip().strip('"') != "[]"


def test_a_port_that_goes_takes_its_flows_and_meters_along(lab: Lab, bucket: Container) -> None:
    def meters() -> int:
        switch = "unix:/run/privacy-router/ovs/ovsbr0.mgmt"
        dump = must(lab, "ovs-ofctl", "-O", "OpenFlow13", "dump-meters", switch)
        return dump.count("meter=")

    before = meters()
    since = len(events(lab))
    must(lab, "ovs-vsctl", DATABASE, "del-port", "ovsbr0", "internal_201")
    await_event(lab, "port gone", "internal_201", since)
    assert not [row for row in flows(lab) if "internal_201" in row["match"] + row["reason"]]
    assert meters() == before - 4
    assert "nothing to change" in must(lab, "privacy-router", "plan")


def test_another_controller_does_not_fight_unnoticed(lab: Lab) -> None:
    since = len(events(lab))
    switch = "unix:/run/privacy-router/ovs/ovsbr0.mgmt"
    flow = f"table=0,priority=10,in_port={WARP_ROLE.ofport}"
    for _ in range(4):
        must(lab, "ovs-ofctl", "-O", "OpenFlow13", "--strict", "del-flows", switch, flow)
        deadline = time.monotonic() + 5
        while "nothing to change" not in must(lab, "privacy-router", "plan"):
            assert time.monotonic() < deadline
    assert "another program keeps changing the flows of this bridge" in events(lab)[since:]
