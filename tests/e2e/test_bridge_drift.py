"""Somebody with access to Open vSwitch's database or OpenFlow socket changes the bridge.

Whatever it is, it is gone within seconds, told by its name, and what it was to send left by no
link: Open vSwitch runs where nothing leads out.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import IO, TYPE_CHECKING

import pytest

from privacy_router.lab import internet
from privacy_router.lab.capture import Captures
from privacy_router.lab.check import new_token, rules_for
from tests.e2e.containers import DATABASE, events, must

if TYPE_CHECKING:
    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

GONE_WITHIN_S = 10.0  # far below the controller's full pass every 30 s; make storm measures it
SWITCH = "unix:/run/privacy-router/ovs/ovsbr0.mgmt"
COLLECTOR = internet.address_of("web", 4)

BRIDGE = "-- set bridge ovsbr0"
SFLOW = f"--id=@x create sflow agent=lo targets='\"{COLLECTOR}:6343\"' sampling=1 header=128"
IPFIX = f"--id=@x create ipfix targets='\"{COLLECTOR}:4739\"' sampling=1"
NETFLOW = f"--id=@x create netflow targets='\"{COLLECTOR}:2055\"' active_timeout=1"
MIRROR = "--id=@p get port internal_100 -- --id=@x create mirror name=m select_all=1 output_port=@p"
SAMPLES = "--id=@b get bridge ovsbr0 -- create Flow_Sample_Collector_Set id=1 bridge=@b"
UNMARKED = "-- clear bridge ovsbr0 external_ids"
LIMIT = "--id=@x create Flow_Table flow_limit=5 overflow_policy=evict"

# what is done with ovs-vsctl, and the name under which it is told
IN_DATABASE = {
    "sflow of bridge ovsbr0": f"{SFLOW} {BRIDGE} sflow=@x",
    "ipfix of bridge ovsbr0": f"{IPFIX} {BRIDGE} ipfix=@x",
    "netflow of bridge ovsbr0": f"{NETFLOW} {BRIDGE} netflow=@x",
    "mirrors of bridge ovsbr0": f"{MIRROR} {BRIDGE} mirrors=@x",
    "flow_tables of bridge ovsbr0": f"{LIMIT} {BRIDGE} flow_tables:5=@x",
    "Flow_Sample_Collector_Set of bridge ovsbr0": f"{SAMPLES}",
    "controller of bridge ovsbr0": f"set-controller ovsbr0 tcp:{COLLECTOR}:6653",
    "manager_options of Open_vSwitch": f"set-manager tcp:{COLLECTOR}:6640 ptcp:6640",
    "other_config of Open_vSwitch": "set open . other_config:flow-restore-wait=true",
    "fail_mode of bridge ovsbr0": "set-fail-mode ovsbr0 standalone",
    "protocols of bridge ovsbr0": "set bridge ovsbr0 protocols=OpenFlow10",
    "other_config of bridge ovsbr0": "set bridge ovsbr0 other_config:forward-bpdu=true",
    "external_ids of bridge ovsbr0": "clear bridge ovsbr0 external_ids",
    "mcast_snooping_enable of bridge ovsbr0": "set bridge ovsbr0 mcast_snooping_enable=true",
    "tag of port internal_100": "set port internal_100 tag=7",
    "external_ids of port warp0": f"clear port warp0 external_ids {UNMARKED}",
    "ingress_policing_rate of interface warp0": "set interface warp0 ingress_policing_rate=9",
    "lldp of interface internal_101": "set interface internal_101 lldp:enable=true",
    "mtu_request of interface ovsbr0": "set interface ovsbr0 mtu_request=1400",
}

OVER_OPENFLOW = {
    "no-forward of port warp0": "mod-port {} warp0 no-forward",
    "no-receive of port internal_100": "mod-port {} internal_100 no-receive",
    "no-packet-in of port internal_101": "mod-port {} internal_101 no-packet-in",
    # ovs-ofctl reads it back, and may find it put right already
    "fragment handling of bridge ovsbr0": "set-frags {} drop || true",
}


def do(lab: Lab, line: str) -> None:
    must(lab, "sh", "-c", line)


def await_told_and_gone(lab: Lab, label: str, since: int) -> None:
    deadline = time.monotonic() + GONE_WITHIN_S
    while label not in events(lab)[since:]:
        assert time.monotonic() < deadline, f"{label} is not put right"
        time.sleep(0.05)
    while "nothing to change" not in must(lab, "privacy-router", "plan"):
        assert time.monotonic() < deadline + GONE_WITHIN_S


@pytest.mark.parametrize("label", IN_DATABASE)
def test_what_is_set_in_the_database_is_gone(lab: Lab, label: str) -> None:
    since = len(events(lab))
    do(lab, f"ovs-vsctl {DATABASE} --no-wait -- {IN_DATABASE[label]}")
    await_told_and_gone(lab, label, since)


@pytest.mark.parametrize("label", OVER_OPENFLOW)
def test_what_is_set_over_openflow_is_gone(lab: Lab, label: str) -> None:
    since = len(events(lab))
    do(lab, f"ovs-ofctl -O OpenFlow13 {OVER_OPENFLOW[label].format(SWITCH)}")
    await_told_and_gone(lab, label, since)


def test_a_bridge_that_was_made_anew_by_hand_is_the_nodes_again(lab: Lab) -> None:
    do(lab, f"ovs-vsctl {DATABASE} --no-wait -- del-br ovsbr0 -- add-br ovsbr0")
    deadline = time.monotonic() + 10
    while lab["node"].run(("privacy-router", "plan")).stdout.count("nothing to change") == 0:
        assert time.monotonic() < deadline
    ports = must(lab, "ovs-vsctl", DATABASE, "list-ports", "ovsbr0").split()
    assert ports == ["internal_100", "internal_101", "warp0"]


def test_what_samples_the_tunnel_sends_nothing_anywhere(lab: Lab) -> None:
    """Under traffic, again and again, and with captures on every link."""
    token = new_token()
    argv = ("python", "-P", "-m", "privacy_router.lab.traffic", token, "6", "50")
    with (
        Captures(lab.hosts, rules_for(lab.config, token)) as captures,
        lab["client"].popen(argv) as sender,
    ):
        while sender.poll() is None:
            since = len(events(lab))
            do(lab, f"ovs-vsctl {DATABASE} --no-wait -- {SFLOW} {BRIDGE} sflow=@x")
            await_told_and_gone(lab, "sflow of bridge ovsbr0", since)
    assert captures.dropped == 0
    assert captures.cleartext_packets == 0, captures.examples
    assert captures.foreign_packets == 0, captures.examples
    # the same captures do see the payload where it belongs, so they would have seen a leak
    assert captures.evidence[internet.cable("vps", "web").name].payload_packets > 30


def test_open_vswitch_runs_where_nothing_leads_out(lab: Lab) -> None:
    of_a_process = "readlink /proc/$(pgrep -o -x {})/ns/net;"
    asked = [of_a_process.format(name) for name in ("ovs-vswitchd", "ovsdb-server")]
    inodes = must(lab, "sh", "-c", f"{' '.join(asked)} readlink /proc/self/ns/net")
    switch, database, host = inodes.split()
    assert switch == database != host
    assert must(lab, "ip", "-n", "pr-switch", "-4", "route", "show", "default").startswith(
        "unreachable"
    )


# fetches so many bytes of the web over one connection for each line that it reads, and answers
# with how many came
ONE_CONNECTION = f"""
import http.client, sys
web = http.client.HTTPConnection("{internet.WEB[0]}", timeout={GONE_WITHIN_S:g})
for line in sys.stdin:
    web.request("GET", f"/bytes?n={{int(line)}}")
    print(len(web.getresponse().read()), flush=True)
"""
BEYOND_A_WINDOW_BYTES = 16 * 1024 * 1024  # the largest receive window that Linux offers is 6 MiB


def test_a_connection_outlives_a_time_without_connection_tracking(lab: Lab) -> None:
    """What ran past the switch's connection tracking was out of its window afterwards: dropped, and
    dead for as long as both ends tried."""
    node = lab["node"]
    status = json.loads(node.run(("privacy-router", "status", "--json", "--no-probe")).stdout)
    controller = str(status["controller_pid"])
    asking = ("python3", "-c", ONE_CONNECTION)
    with lab["client"].popen(asking, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None

        def fetch(size: int, to: IO[bytes] = client.stdin, back: IO[bytes] = client.stdout) -> int:
            to.write(f"{size}\n".encode())
            to.flush()
            return int(back.readline() or 0)

        assert fetch(1000) == 1000
        must(lab, "kill", "-STOP", controller)
        try:
            do(lab, f"ovs-vsctl {DATABASE} set-fail-mode ovsbr0 standalone")
            assert fetch(BEYOND_A_WINDOW_BYTES) == BEYOND_A_WINDOW_BYTES
        finally:
            must(lab, "kill", "-CONT", controller)
        deadline = time.monotonic() + GONE_WITHIN_S
        while "nothing to change" not in must(lab, "privacy-router", "plan"):
            assert time.monotonic() < deadline
        assert fetch(1000) == 1000
        client.stdin.close()
