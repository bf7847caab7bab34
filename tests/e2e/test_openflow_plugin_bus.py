"""plugins.openflow by busctl, on a machine of the lab without a privacy router."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.lab import stage
from privacy_router.lab.hosts import NODE_CONFIG
from tests.e2e.bus import ENV, MANAGER, await_true, busctl, call, on_the_bus, read, start_bus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

OVS = "/run/openvswitch"
DATABASE = f"unix:{OVS}/db.sock"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
MAIL = {"priority": 200, "match_fields": {"tcp_dst": 25}, "actions": ["drop"]}


@pytest.fixture(scope="module")
def site(lab_prefix: str) -> Iterator[Lab]:
    """A lab whose machine has an Open vSwitch with a bridge, a bus and op-dbus: no node."""
    try:
        lab = stage.up(lab_prefix, with_node=False)
        _start_ovs(lab)
        start_bus(lab["node"])
        lab["node"].write(NODE_CONFIG, b'{"version": 1, "plugins": {}}')
        up = lab["node"].run(("privacy-router", "up", "--detach"), 60.0, env=ENV)
        assert up.returncode == 0, up.stderr
        await_true(lambda: on_the_bus(lab))
        yield lab
    finally:
        stage.down(lab_prefix)


def run(lab: Lab, *command: str) -> str:
    done = lab["node"].run(command, env={"OVS_RUNDIR": OVS, "OVS_DBDIR": OVS})
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def _start_ovs(lab: Lab) -> None:
    run(lab, "mkdir", "-p", OVS)
    run(lab, "ovsdb-tool", "create", f"{OVS}/conf.db", SCHEMA)
    for name, *arguments in (
        ("ovsdb-server", f"{OVS}/conf.db", f"--remote=p{DATABASE}"),
        ("ovs-vswitchd", DATABASE, "--disable-system"),
    ):
        log = (f"--pidfile={OVS}/{name}.pid", f"--log-file={OVS}/{name}.log")
        control = ("--detach", "-vconsole:off", f"--unixctl={OVS}/{name}.ctl")
        run(lab, name, *arguments, *control, *log)
        if name == "ovsdb-server":
            run(lab, "ovs-vsctl", f"--db={DATABASE}", "--no-wait", "init")
    made = ("add-br", "vmbr0", "--", "set", "bridge", "vmbr0", "datapath_type=netdev")
    run(lab, "ovs-vsctl", f"--db={DATABASE}", *made, "fail_mode=secure")


def flows(lab: Lab) -> list[str]:
    place = f"unix:{OVS}/vmbr0.mgmt"
    shown = run(lab, "ovs-ofctl", "-O", "OpenFlow13", "dump-flows", "--no-stats", place)
    return [line.strip() for line in shown.splitlines() if "actions=" in line]


def document(**parts: Any) -> str:
    plugins = {"openflow": {"bridges": {"vmbr0": parts}}} if parts else {}
    return json.dumps({"version": 1, "plugins": plugins})


def apply(lab: Lab, text: str) -> list[Any]:
    return call(lab, MANAGER, "Apply", "ssd", text, "", "0")


def test_flows_on_a_bridge_by_busctl(site: Lab) -> None:
    changes = call(site, MANAGER, "Plan", "ss", document(flows=[MAIL]), "")[0]
    assert {(row[0], row[2]) for row in changes} == {("add", "flow")}
    assert flows(site) == []
    apply(site, document(flows=[MAIL], meters={"1": {"packets_per_s": 10}}))
    assert len([one for one in flows(site) if "tp_dst=25 actions=drop" in one]) == 2
    assert read(site, "/org/opdbus/plugin/openflow", "org.opdbus.Plugin", "State") == "kept"
    queried = call(site, MANAGER, "Query", "s", "openflow")[0]
    assert "vmbr0/000 00200 tcp,tp_dst=25" in json.dumps(queried)
    run(site, "ovs-ofctl", "-O", "OpenFlow13", "del-flows", f"unix:{OVS}/vmbr0.mgmt")
    await_true(lambda: len(flows(site)) == 3)
    apply(site, document())
    assert flows(site) == []


def test_a_bad_flow_is_an_error_that_names_its_key(site: Lab) -> None:
    for flow, words in (
        ({"table": 253}, "plugins.openflow.bridges.vmbr0.flows[0].table"),
        ({"actions": ["outptu:p1"]}, "plugins.openflow.bridges.vmbr0.flows[0].actions[0]"),
        ({"match_fields": {"tcp_dts": 1}}, "plugins.openflow.bridges.vmbr0.flows[0].match_fields"),
        ({"actions": ["output:p9"]}, "plugins.openflow.bridges.vmbr0.flows[0]: vmbr0 has no port"),
    ):
        text = document(flows=[MAIL | flow])
        answer = busctl(site, "call", "org.opdbus", *MANAGER, "Apply", "ssd", text, "", "0")
        assert answer.returncode != 0
        assert words in answer.stderr
        assert flows(site) == []
