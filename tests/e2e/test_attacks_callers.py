"""A member of the group, who may only look, attacks the daemon over the bus.

While each attack goes on, a flow that somebody deletes is put back within three seconds, and
afterwards SIGTERM ends the daemon within five.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from privacy_router.lab import stage
from tests.e2e.bus import BUS, ENV, MANAGER, await_true, busctl, on_the_bus, start_bus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

SWITCH = "unix:/run/privacy-router/ovs/ovsbr0.mgmt"
STATE = "/var/lib/privacy-router"
REPAIR_S, END_S = 10.0, 10.0
MEMBER = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")

# Calls a method over and over, many at once, on several connections, and counts the errors.
FLOOD = """
import asyncio, json, sys
from collections import Counter
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus
bus, connections, at_once, calls = sys.argv[1], *map(int, sys.argv[2:5])
what = dict(json.loads(sys.stdin.read()), destination="org.opdbus")
seen = Counter()
async def one(connection):
    for _ in range(calls):
        reply = await connection.call(Message(**what))
        seen[reply.error_name if reply.message_type is MessageType.ERROR else "answered"] += 1
async def main():
    found = [await MessageBus(bus_address=bus).connect() for _ in range(connections)]
    await asyncio.gather(*(one(c) for c in found for _ in range(at_once)))
    print(json.dumps(seen))
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def bus_lab(lab_prefix: str) -> Iterator[Lab]:
    """A lab whose node is on a bus of its own."""
    try:
        lab = stage.up(lab_prefix, with_node=False)
        start_bus(lab["node"])
        start(lab)
        yield lab
    finally:
        stage.down(lab_prefix)


def start(lab: Lab) -> None:
    up = lab["node"].run(("privacy-router", "up", "--detach"), 60.0, env=ENV)
    assert up.returncode == 0, up.stderr
    await_true(lambda: on_the_bus(lab))


def plan(document: object) -> dict[str, object]:
    body = [json.dumps({"version": 1, "plugins": {"privacy_router": document}}), "/"]
    return {
        "path": MANAGER[0],
        "interface": MANAGER[1],
        "member": "Plan",
        "signature": "ss",
        "body": body,
    }


@contextmanager
def flood(
    lab: Lab, what: Mapping[str, object], connections: int, at_once: int, calls: int
) -> Iterator[subprocess.Popen[bytes]]:
    size = tuple(map(str, (connections, at_once, calls)))
    python = lab["node"].run(("sh", "-c", "command -v python")).stdout.strip()
    command = (*MEMBER, python, "-c", FLOOD, BUS, *size)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, True)
    attack = lab["node"].popen(
        command, stdin=read_end, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.close(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        pipe.write(json.dumps(what).encode())
    try:
        yield attack
    finally:
        attack.kill()
        attack.communicate()


def flows(lab: Lab) -> int:
    dump = ("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", SWITCH, "table=8,in_port=1")
    return lab["node"].run(dump).stdout.count("in_port")


def is_repaired(lab: Lab) -> None:
    before = flows(lab)
    drop = ("ovs-ofctl", "-O", "OpenFlow13", "del-flows", SWITCH, "table=8,in_port=1")
    assert lab["node"].run(drop).returncode == 0
    began = time.monotonic()
    while flows(lab) != before:
        assert time.monotonic() - began < REPAIR_S


def ends(lab: Lab) -> None:
    pid = lab["node"].file("/run/privacy-router/controller.lock").read_text().strip()
    assert lab["node"].run(("kill", "-TERM", pid)).returncode == 0
    began = time.monotonic()
    while lab["node"].run(("kill", "-0", pid)).returncode == 0:
        assert time.monotonic() - began < END_S


def named(path: str, section: str, key: str) -> dict[str, object]:
    more = {"zero_config": False} if section == "wireguard" else {}
    return {section: {key: path, **more}}


FILES = (("wireguard", "private_key_file"), ("warp", "wgcf_config"))


@pytest.mark.parametrize(("section", "key"), FILES)
def test_a_pipe_does_not_hold_up_the_daemon(bus_lab: Lab, section: str, key: str) -> None:
    node = bus_lab["node"]
    pipe = node.file("/run/attack.fifo")
    if not pipe.exists():
        assert node.run(("mkfifo", "-m", "0666", "/run/attack.fifo")).returncode == 0
    what = plan(named("/run/attack.fifo", section, key))
    with flood(bus_lab, what, connections=4, at_once=2, calls=1000):
        for _ in range(3):
            is_repaired(bus_lab)
        planned = node.run(("privacy-router", "plan"), env=ENV)
        assert planned.returncode == 0, planned.stderr
        ends(bus_lab)
    start(bus_lab)


@pytest.mark.parametrize(("section", "key"), FILES)
def test_plan_tells_nothing_about_files(bus_lab: Lab, section: str, key: str) -> None:
    """Files that are there, that are not, that are odd: all look alike, and none is opened."""
    node = bus_lab["node"]
    node.write(Path("/run/secret"), b"line one\n[Interface]\nsomething = else\n")
    answers = set()
    for path in ("/run/secret", "/run/none", "/etc/shadow", "/proc/kmsg", "/dev/tty", "/run"):
        document = plan(named(path, section, key))["body"]
        assert isinstance(document, list)
        asked = busctl(
            bus_lab, "call", "org.opdbus", *MANAGER, "Plan", "ss", *document, user="nobody"
        )
        assert asked.returncode == 0, asked.stderr
        rows = json.loads(asked.stdout)["data"][0]
        notes = {row[4]["note"]["data"] for row in rows if "note" in row[4]}
        assert any(f"{section}.{key} is not opened" in note for note in notes), rows
        answers.add(
            json.dumps(
                sorted(
                    (row[1:4], str(row[4].get("note")))
                    for row in rows
                    if not row[3].startswith("host/")
                )
            )
        )
    assert len(answers) == 1


def test_plan_looks_no_name_up_and_writes_nothing(bus_lab: Lab) -> None:
    node = bus_lab["node"]
    profile = node.file(f"{STATE}/wgcf-profile.conf").read_text()
    lines = [
        "Endpoint = attacker.example.net:2408" if line.startswith("Endpoint") else line
        for line in profile.splitlines()
    ]
    node.write(Path("/run/named.conf"), "\n".join(lines).encode())
    kept = {path.name for path in node.file(STATE).iterdir()}
    capture = node.popen(
        ("tcpdump", "-lnni", "any", "port", "53"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert capture.stderr is not None
        while b"istening" not in capture.stderr.readline():
            assert capture.poll() is None
        document = plan(named("/run/named.conf", "warp", "wgcf_config"))["body"]
        assert isinstance(document, list)
        for user in ("nobody", None):  # nor for root, who may read the file: it is only a plan
            asked = busctl(
                bus_lab, "call", "org.opdbus", *MANAGER, "Plan", "ss", *document, user=user
            )
            assert asked.returncode == 0, asked.stderr
    finally:
        capture.terminate()
        heard, _ = capture.communicate()
    assert b"attacker" not in heard
    assert {path.name for path in node.file(STATE).iterdir()} == kept


def test_a_huge_document_is_refused(bus_lab: Lab) -> None:
    huge = ("call", "org.opdbus", *MANAGER, "Plan", "ss", "x" * 100_000, "y" * 100_000)
    for _ in range(3):
        refused = busctl(bus_lab, *huge, user="nobody")
        assert refused.returncode != 0
        assert "131072 characters" in refused.stderr
    is_repaired(bus_lab)


@pytest.mark.parametrize(
    ("path", "interface", "member", "signature", "body"),
    [
        (*MANAGER, "Plan", "ss", ["", ""]),
        (*MANAGER, "Status", "", []),
        ("/org/opdbus/openflow", "org.opdbus.OpenFlow", "Dump", "", []),
        ("/org/opdbus/openflow", "org.opdbus.OpenFlow", "Explain", "s", [""]),
        ("/org/opdbus", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "", []),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "",
)
def test_many_calls_hold_up_nothing(
    bus_lab: Lab, path: str, interface: str, member: str, signature: str, body: list[str]
) -> None:
    """More connections give no more: the limits are the user's."""
    what = {
        "path": path,
        "interface": interface,
        "member": member,
        "signature": signature,
        "body": body,
    }
    with flood(bus_lab, what, connections=8, at_once=8, calls=20) as attack:
        is_repaired(bus_lab)
        out, err = attack.communicate(timeout=60)
    assert json.loads(out)["org.freedesktop.DBus.Error.LimitsExceeded"] > 0, err
    with flood(bus_lab, what, connections=8, at_once=8, calls=1000):
        is_repaired(bus_lab)
    refused = busctl(bus_lab, "call", "org.opdbus", *MANAGER, "Plan", "ss", "", "")
    assert refused.returncode == 0, refused.stderr  # root's own calls go on


def test_a_long_text_is_refused_by_name_of_the_limit(bus_lab: Lab) -> None:
    where = ("/org/opdbus/openflow", "org.opdbus.OpenFlow")
    long = ("call", "org.opdbus", *where, "Explain", "s", "x" * 5000)
    refused = busctl(bus_lab, *long, user="nobody")
    assert refused.returncode != 0
    assert "4096 characters" in refused.stderr
