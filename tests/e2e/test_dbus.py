"""The controller on a bus, asked by another project's client, while it has one and while not."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import pytest

from privacy_router.hops.warp.hop import WARP_ROLE
from privacy_router.lab import stage
from privacy_router.lab.hosts import NODE_CONFIG
from tests.e2e.bus import (
    BUS,
    ENV,
    MANAGER,
    OPENFLOW,
    await_true,
    busctl,
    call,
    on_the_bus,
    read,
    start_bus,
)
from tests.e2e.gateway import wireguard_peers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

LOG = "/run/privacy-router/log/controller.log"
SWITCH = "unix:/run/privacy-router/ovs/ovsbr0.mgmt"
HTTPS = "in_port=internal_100,tcp,nw_src=10.101.0.2,nw_dst=198.18.0.1,tp_dst=443"


def start_node(lab: Lab, env: dict[str, str]) -> None:
    up = lab["node"].run(("privacy-router", "up", "--detach"), 60.0, env=env)
    assert up.returncode == 0, up.stderr


@pytest.fixture(scope="module")
def bus_lab(lab_prefix: str) -> Iterator[Lab]:
    """A lab whose node is on a bus of its own."""
    try:
        lab = stage.up(lab_prefix, with_node=False)
        start_bus(lab["node"])
        start_node(lab, ENV)
        stage.connect_client(lab)
        await_true(lambda: on_the_bus(lab))
        yield lab
    finally:
        stage.down(lab_prefix)


def log_of(lab: Lab) -> str:
    return lab["node"].file(LOG).read_text()


# --- looking --------------------------------------------------------------------------------------


def test_the_tree_is_the_node(bus_lab: Lab) -> None:
    listed = busctl(bus_lab, "tree", "--list", "org.opdbus").stdout.split()
    assert set(listed) >= {
        "/org/opdbus",
        "/org/opdbus/client/phone",
        "/org/opdbus/hop/gateway",
        "/org/opdbus/hop/warp",
        "/org/opdbus/hop/xray",
        "/org/opdbus/openflow",
    }


def test_the_manager_says_how_the_node_is(bus_lab: Lab) -> None:
    deadline = time.monotonic() + 10  # a node that has just been started proves itself first
    while read(bus_lab, *MANAGER, "State") != "up":
        assert time.monotonic() < deadline
    assert read(bus_lab, *MANAGER, "Bridge") == "ovsbr0"
    assert read(bus_lab, *MANAGER, "Clients") == ["/org/opdbus/client/phone"]
    assert call(bus_lab, MANAGER, "Plan", "ss", "", "") == [[]]
    (status,) = call(bus_lab, MANAGER, "Status")
    assert [hop[:2] for hop in status["Hops"]["data"]] == [
        ["gateway", "quiet"],  # no client sends, and the node's own question starts behind it
        ["warp", "up"],
        ["xray", "up"],
    ]


def test_hops_and_clients_have_counters(bus_lab: Lab) -> None:
    hop, client = "/org/opdbus/hop/warp", "/org/opdbus/client/phone"
    assert read(bus_lab, hop, "org.opdbus.Hop", "Port") == "warp0"
    await_true(lambda: read(bus_lab, hop, "org.opdbus.Hop", "RxBytes") > 0)  # once read anew
    assert 0 <= read(bus_lab, hop, "org.opdbus.Hop", "HandshakeAge") < 180
    assert read(bus_lab, client, "org.opdbus.Client", "Address")[0] == "10.101.0.2"


def test_every_object_is_managed_by_the_root_and_shows_no_key(bus_lab: Lab) -> None:
    where = ("/org/opdbus", "org.freedesktop.DBus.ObjectManager")
    (objects,) = call(bus_lab, where, "GetManagedObjects")
    assert "/org/opdbus/client/phone" in objects
    assert not re.search(r"[A-Za-z0-9+/]{43}=", json.dumps(objects))


def test_flows_can_be_asked_about(bus_lab: Lab) -> None:
    (flows,) = call(bus_lab, OPENFLOW, "Dump")
    assert {flow[0] for flow in flows} >= {"classify", "privacy", "functions"}
    (words,) = call(bus_lab, OPENFLOW, "Explain", "s", "privacy")
    assert any("leave by warp0" in line for line in words)
    verdict, steps, different = call(bus_lab, OPENFLOW, "Trace", "sb", HTTPS, "true")
    assert (verdict, different) == ("sent out of warp0", [])
    assert steps[-1].startswith("privacy 100")
    back = call(bus_lab, OPENFLOW, "TraceTracked", "sasb", HTTPS, "1", "inv", "true")
    assert (back[0].startswith("dropped in table state"), back[2]) == (True, [])
    unknown = busctl(bus_lab, "call", "org.opdbus", *OPENFLOW, "Explain", "s", "no-such-thing")
    assert "no flow has to do with 'no-such-thing'" in unknown.stderr
    assert call(bus_lab, OPENFLOW, "Counters")[0]["flows"] == len(flows)
    assert call(bus_lab, OPENFLOW, "Diff") == [[]]


def test_a_wrong_question_gets_an_error_with_a_name_and_a_remedy(bus_lab: Lab) -> None:
    asked = bus_lab["node"].run(
        (
            *("dbus-send", f"--bus={BUS}", "--print-reply", "--dest=org.opdbus"),
            *("/org/opdbus/openflow", "org.opdbus.OpenFlow.Trace"),
            *("string:nonsense", "boolean:false"),
        )
    )
    assert asked.returncode != 0
    assert "org.opdbus.Error.Packet" in asked.stderr
    assert "remedy: " in asked.stderr


def test_a_property_is_read_within_a_millisecond(bus_lab: Lab) -> None:
    """As busctl is started anew for each, so many at once are asked for by one process."""
    script = (
        "import asyncio, time, statistics\n"
        "from dbus_fast import Message\n"
        "from dbus_fast.aio import MessageBus\n"
        "async def main():\n"
        f"    bus = await MessageBus(bus_address={BUS!r}).connect()\n"
        "    times = []\n"
        "    for _ in range(200):\n"
        "        began = time.perf_counter()\n"
        "        await bus.call(Message(destination='org.opdbus', path='/org/opdbus/hop/warp',\n"
        "            interface='org.freedesktop.DBus.Properties', member='Get', signature='ss',\n"
        "            body=['org.opdbus.Hop', 'RxBytes']))\n"
        "        times.append(time.perf_counter() - began)\n"
        "    print(statistics.median(times) * 1000)\n"
        "asyncio.run(main())\n"
    )
    asked = bus_lab["node"].run(("python", "-c", script))
    assert asked.returncode == 0, asked.stderr
    assert float(asked.stdout) < 5.0  # 1 ms on a machine that has nothing else to do


# --- who may --------------------------------------------------------------------------------------


def test_the_group_may_look_but_not_change(bus_lab: Lab) -> None:
    may = busctl(bus_lab, "call", "org.opdbus", *MANAGER, "Plan", "ss", "", "", user="nobody")
    assert may.returncode == 0, may.stderr
    for where, method, *arguments in (
        (MANAGER, "Apply", "ssd", '{"version": 1, "plugins": {}}', "", "0"),
        (MANAGER, "Repair"),
        (MANAGER, "Reload"),
        (OPENFLOW, "Restore"),
        (OPENFLOW, "Delete", "qa{ss}", "1", "0"),
    ):
        may_not = busctl(bus_lab, "call", "org.opdbus", *where, method, *arguments, user="nobody")
        assert may_not.returncode != 0
        assert "denied" in may_not.stderr.lower()


# --- changing -------------------------------------------------------------------------------------


@contextmanager
def listening(lab: Lab) -> Iterator[Iterator[dict[str, Any]]]:
    """What `busctl monitor` says of our messages, one after the other.

    With JSON, newer ones do not say that they have begun: what is asked meanwhile is told then.
    """
    command = ("busctl", f"--address={BUS}", "--json=short", "monitor", "org.opdbus")
    monitor = lab["node"].popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        output = monitor.stdout
        assert output is not None

        def has_begun() -> bool:
            read(lab, *MANAGER, "LastRepair")
            return bool(select.select([output], [], [], 0.2)[0])

        await_true(has_begun)
        yield messages(output)
    finally:
        monitor.kill()
        monitor.communicate()


def messages(output: IO[bytes]) -> Iterator[dict[str, Any]]:
    for line in output:
        yield json.loads(line)


def test_drift_is_put_right_and_told(bus_lab: Lab) -> None:
    with listening(bus_lab) as told:
        flows = f"table=8,in_port={WARP_ROLE.ofport}"
        drop = ("ovs-ofctl", "-O", "OpenFlow13", "del-flows", SWITCH, flows)
        assert bus_lab["node"].run(drop).returncode == 0
        drift = next(one for one in told if one.get("member") == "Drift")
        changed = next(one for one in told if "LastRepair" in json.dumps(one))
    plugin, rows, was_repaired = drift["payload"]["data"]
    assert (plugin, was_repaired) == ("privacy_router", True)
    assert {tuple(row[:3]) for row in rows} == {("add", "openflow", "flow")}
    values = [row[4]["after"]["data"] for row in rows]
    assert any(value["match"]["data"].startswith("in_port=warp0") for value in values)
    assert "LastRepair" in changed["payload"]["data"][1]
    at_s, again = read(bus_lab, *MANAGER, "LastRepair")
    assert at_s > time.time() - 60
    assert [repair[:2] for repair in again] == [["add", "flow"]] * len(rows)
    assert any("privacy" in name for _, _, name in again)


def test_a_flow_is_added_kept_and_deleted(bus_lab: Lab) -> None:
    """As one of openflow.additional_flows: kept against drift, and refused where it leaks."""
    match = ("2", "in_port", "internal_100", "tcp_dst", "25")
    flow = ("qa{ss}ass", "150", *match, "1", "drop", "no mail from clients")
    (made,) = call(bus_lab, OPENFLOW, "Add", *flow)
    assert [row[0] for row in made if "tp_dst=25" in row[3]] == ["add"] * 2  # IPv4 and IPv6
    assert [one[3] for one in call(bus_lab, OPENFLOW, "Added")[0]] == ["no mail from clients"]
    assert call(bus_lab, OPENFLOW, "Diff") == [[]]
    mail = HTTPS.replace("tp_dst=443", "tp_dst=25")
    verdict, steps, different = call(bus_lab, OPENFLOW, "Trace", "sb", mail, "true")
    assert ("drop" in verdict, different) == (True, [])
    assert any("no mail from clients" in step for step in steps)
    assert call(bus_lab, MANAGER, "Plan", "ss", "", "") == [[]]
    refused = busctl(
        bus_lab,
        *("call", "org.opdbus", *OPENFLOW, "Add", "qa{ss}ass", "150"),
        *("1", "in_port", "internal_100", "1", "output:internal_200", ""),
    )
    assert refused.returncode != 0
    assert len(call(bus_lab, OPENFLOW, "Added")[0]) == 1
    (gone,) = call(bus_lab, OPENFLOW, "Delete", "qa{ss}", "150", *match)
    assert [row[0] for row in gone if "tp_dst=25" in row[3]] == ["remove"] * 2
    assert call(bus_lab, OPENFLOW, "Added") == [[]]


def test_ports_that_come_and_go_are_told(bus_lab: Lab) -> None:
    vsctl = ("ovs-vsctl", "--db=unix:/run/privacy-router/ovs/db.sock")
    with listening(bus_lab) as told:
        port = ("internal_250", "--", "set", "interface", "internal_250", "type=internal")
        assert bus_lab["node"].run((*vsctl, "add-port", "ovsbr0", *port)).returncode == 0
        came = next(one for one in told if one.get("member") == "PortAdded")
        (ports,) = call(bus_lab, OPENFLOW, "Ports")
        removed = bus_lab["node"].run((*vsctl, "del-port", "ovsbr0", "internal_250"))
        assert removed.returncode == 0, removed.stderr
        went = next(one for one in told if one.get("member") == "PortRemoved")
    assert came["payload"]["data"] == went["payload"]["data"] == ["internal_250"]
    assert [(name, reason) for name, number, reason in ports if number] == [("internal_250", "")]


def test_a_client_is_added_when_the_gateway_has_it(bus_lab: Lab) -> None:
    row, configuration, _ = call(bus_lab, MANAGER, "AddClient", "s", "tablet")
    name, v4, _, public_key, *_ = row
    assert name == "tablet"
    assert public_key in wireguard_peers(bus_lab)
    assert f"Address = {v4}" in configuration
    assert call(bus_lab, MANAGER, "ShowClient", "s", "tablet")[0][:5] == row[:5]
    assert [one[0] for one in call(bus_lab, MANAGER, "ListClients")[0]] == ["phone", "tablet"]
    call(bus_lab, MANAGER, "RemoveClient", "s", "tablet")
    assert public_key not in wireguard_peers(bus_lab)
    again = busctl(bus_lab, "call", "org.opdbus", *MANAGER, "RemoveClient", "s", "tablet")
    assert "there is no client named tablet" in again.stderr


def test_the_command_adds_over_the_bus_and_says_what_was_read_back(bus_lab: Lab) -> None:
    command = ("privacy-router", "client")
    added = bus_lab["node"].run((*command, "add", "laptop", "--json"), 30.0, env=ENV)
    assert added.returncode == 0, added.stderr
    assert "its device was read back" in added.stderr
    assert json.loads(added.stdout)["name"] == "laptop"
    twice = bus_lab["node"].run((*command, "add", "laptop"), 30.0, env=ENV)
    assert (twice.returncode, "there is a client named laptop" in twice.stderr) == (5, True)
    listed = bus_lab["node"].run((*command, "list", "--json"), 30.0, env=ENV)
    assert [one["name"] for one in json.loads(listed.stdout)] == ["phone", "laptop"]
    assert bus_lab["node"].run((*command, "remove", "laptop"), 30.0, env=ENV).returncode == 0


def test_the_whole_can_be_repaired_and_read_again(bus_lab: Lab) -> None:
    assert call(bus_lab, MANAGER, "Repair") == [[]]
    assert call(bus_lab, OPENFLOW, "Restore") == [[]]
    added = bus_lab["node"].run(
        ("privacy-router", "client", "add", "my-tablet", "--conf", "/run/t")
    )
    assert added.returncode == 0, added.stderr
    call(bus_lab, MANAGER, "Reload")
    path = "/org/opdbus/client/my_2dtablet"
    await_true(lambda: path in read(bus_lab, *MANAGER, "Clients"))
    assert read(bus_lab, path, "org.opdbus.Client", "HandshakeAge") == -1


def test_a_broken_configuration_is_the_callers_to_know(bus_lab: Lab) -> None:
    file = bus_lab["node"].file(NODE_CONFIG)
    good = file.read_bytes()
    try:
        file.write_bytes(b"{")
        refused = busctl(bus_lab, "call", "org.opdbus", *MANAGER, "Reload")
    finally:
        file.write_bytes(good)
    assert refused.returncode != 0
    assert read(bus_lab, *MANAGER, "State") == "up"


# --- buses that come and go -----------------------------------------------------------------------


def test_a_bus_that_is_started_again_has_the_name_again(bus_lab: Lab) -> None:
    node = bus_lab["node"]
    pid = node.run(("pidof", "dbus-daemon")).stdout.strip()
    for _ in range(2):
        assert node.run(("kill", "-KILL", *pid.split())).returncode == 0
        assert not on_the_bus(bus_lab)
        assert node.run(("privacy-router", "plan")).returncode == 0
        start_bus(node)
        await_true(lambda: on_the_bus(bus_lab))
        pid = node.run(("pidof", "dbus-daemon")).stdout.strip()
    assert call(bus_lab, MANAGER, "Plan", "ss", "", "") == [[]]


@pytest.mark.parametrize(
    "address",
    [
        "none",
        "unix:path=/run/no-bus",
        "unix:path=/run/privacy-router",
        "nonsense",
        "unix:abstract=x",
    ],
)
def test_without_a_bus_the_node_is_up(lab_prefix: str, address: str, bus_lab: Lab) -> None:
    node = bus_lab["node"]
    assert node.run(("privacy-router", "down")).returncode == 0
    node.file(LOG).unlink(missing_ok=True)
    start_node(bus_lab, {"PRIVACY_ROUTER_BUS": address})
    assert node.run(("privacy-router", "plan")).returncode == 0
    assert not on_the_bus(bus_lab)
    await_true(lambda: log_of(bus_lab).count("not on D-Bus") == (0 if address == "none" else 1))


def test_a_name_that_is_taken_is_waited_for(bus_lab: Lab) -> None:
    node = bus_lab["node"]
    take = (
        "import asyncio\n"
        "from dbus_fast.aio import MessageBus\n"
        "async def main():\n"
        f"    bus = await MessageBus(bus_address={BUS!r}).connect()\n"
        "    await bus.request_name('org.opdbus')\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    assert node.run(("privacy-router", "down")).returncode == 0
    node.file(LOG).unlink(missing_ok=True)
    squatter = node.spawn("squatter", ("python", "-c", take))
    await_true(lambda: on_the_bus(bus_lab))
    start_node(bus_lab, ENV)
    await_true(lambda: "another process is org.opdbus" in log_of(bus_lab))
    assert squatter.alive
    os.kill(squatter.pid, signal.SIGKILL)
    await_true(lambda: read_or_nothing(bus_lab) == "up")


def read_or_nothing(lab: Lab) -> Any:
    answer = busctl(lab, "get-property", "org.opdbus", *MANAGER, "State")
    return json.loads(answer.stdout)["data"] if answer.returncode == 0 else None
