"""A machine of its own for the plugin net: an uplink, a neighbour, and an Open vSwitch.

Two hosts of the lab with a cable between them. The machine's own Open vSwitch is where the
system's would be, with the kernel's datapath where that is loaded (`tests/vm/run`).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.config.models import Plugins
from privacy_router.engine.errors import RefusedError
from privacy_router.host.dbus import Bus
from privacy_router.host.namespaces import run_in
from privacy_router.host.netlink import Netlink
from privacy_router.host.sysctl import write
from privacy_router.lab.hosts import LabHost, create_hosts, end
from privacy_router.plugins.net import NetPlugin, dhcp
from privacy_router.plugins.target import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from privacy_router.engine.model import Change, Desired, Value

OVS_DIR = "/run/openvswitch"
DATABASE = f"{OVS_DIR}/db.sock"
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17

NEIGHBOUR, NEIGHBOUR6 = "192.0.2.1", "2001:db8::1"
ADDRESS, ADDRESS6 = "192.0.2.2", "2001:db8::2"
UPLINK = {"bridges": {"vmbr0": {"uplink": "eth0"}}}


class NetMachine:
    """The machine (with eth0, eth1 and others) and whoever is at the other end of eth0."""

    def __init__(self, machine: LabHost, outside: LabHost) -> None:
        self.host = machine
        self.outside = outside

    @property
    def socket(self) -> Path:
        return self.host.file(DATABASE)

    def plugin(self, **paths: Any) -> NetPlugin:
        place = Machine(Bus(None), self.host.file("/"))
        options = {"namespace": self.host.network, "ovs_socket": self.socket, **paths}
        return NetPlugin(place, **options)

    def ip(self, *arguments: str) -> str:
        return self.run("ip", *arguments)

    def vsctl(self, *arguments: str) -> str:
        return self.run("ovs-vsctl", "--timeout=10", f"--db=unix:{DATABASE}", *arguments)

    def run(self, *command: str) -> str:
        return succeed(self.host, *command)

    def start_ovs(self) -> None:
        self.run("mkdir", "-p", OVS_DIR)
        self.run("ovsdb-tool", "create", f"{OVS_DIR}/conf.db", _SCHEMA)
        self.start_ovsdb()
        self.run("ovs-vsctl", f"--db=unix:{DATABASE}", "--no-wait", "init")
        self.start_vswitchd()

    def start_ovsdb(self) -> None:
        self._daemon("ovsdb-server", f"{OVS_DIR}/conf.db", f"--remote=punix:{DATABASE}")

    def start_vswitchd(self) -> None:
        kernel = Path("/sys/module/openvswitch").exists()
        options = [] if kernel else ["--disable-system"]
        self._daemon("ovs-vswitchd", f"unix:{DATABASE}", *options)

    def kill(self, daemon: str) -> None:
        self.run("sh", "-c", f"kill -9 $(cat {OVS_DIR}/{daemon}.pid)")

    def _daemon(self, name: str, *arguments: str) -> None:
        self.run(
            *(name, *arguments, "--detach", "-vconsole:off", f"--pidfile={OVS_DIR}/{name}.pid"),
            *(f"--unixctl={OVS_DIR}/{name}.ctl", f"--log-file={OVS_DIR}/{name}.log"),
        )


def succeed(host: LabHost, *command: str) -> str:
    done = host.run(command, env={"OVS_RUNDIR": OVS_DIR, "OVS_DBDIR": OVS_DIR})
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@contextmanager
def net_machine(*, with_ovs: bool = True) -> Iterator[NetMachine]:
    born: list[LabHost] = []
    try:
        hosts = create_hosts(["machine", "outside"], note=born.extend)
        machine = NetMachine(hosts["machine"], hosts["outside"])
        _wire(machine)
        if with_ovs:
            machine.start_ovs()
        yield machine
    finally:
        for host in born:
            if host.alive:
                dhcp.end(dhcp.processes(host.network))  # those that were started again are ours
        end(host for host in born if host.pid)


def _wire(machine: NetMachine) -> None:
    for host in (machine.host, machine.outside):
        write(host.network, {"ipv6/conf/all/disable_ipv6": "0"})
        write(host.network, {f"ipv6/conf/{name}/accept_dad": "0" for name in ("all", "default")})
    far = os.open(machine.outside.network, os.O_RDONLY)
    try:
        with Netlink(machine.host.network) as netlink:
            for number in (0, 1):
                netlink.add_veth(f"eth{number}", f"far{number}", far)
    finally:
        os.close(far)
    for number in (0, 1):
        _fill_in_checksums(machine.host, f"eth{number}")
        _fill_in_checksums(machine.outside, f"far{number}")
        machine.ip("link", "set", f"eth{number}", "up")
        succeed(machine.outside, "ip", "link", "set", f"far{number}", "up")
    machine.ip("link", "set", "lo", "up")
    for address in (f"{NEIGHBOUR}/24", f"{NEIGHBOUR6}/64"):
        succeed(machine.outside, "ip", "address", "add", address, "dev", "far0")
    machine.ip("address", "add", f"{ADDRESS}/24", "brd", "+", "dev", "eth0")
    machine.ip("address", "add", "192.0.2.22/24", "dev", "eth0", "label", "eth0:two")
    machine.ip("address", "add", "198.51.100.2/25", "dev", "eth0")
    machine.ip("address", "add", f"{ADDRESS6}/64", "dev", "eth0")
    machine.ip("address", "add", "2001:db8::22/64", "dev", "eth0")
    machine.ip("route", "add", "default", "via", NEIGHBOUR, "dev", "eth0", "proto", "boot")
    machine.ip(
        *("route", "add", "203.0.113.0/24", "metric", "7", "proto", "static", "mtu", "1400"),
        *("nexthop", "via", NEIGHBOUR, "dev", "eth0", "nexthop", "via", "192.0.2.9", "dev", "eth0"),
    )
    machine.ip("route", "add", "default", "via", NEIGHBOUR, "dev", "eth0", "table", "1000")
    machine.ip("route", "add", "unreachable", "10.0.0.0/8")
    by_router = ("proto", "ra", "expires", "1800")
    machine.ip("-6", "route", "add", "default", "via", NEIGHBOUR6, "dev", "eth0", *by_router)


def _fill_in_checksums(host: LabHost, device: str) -> None:
    """Have a veth compute checksums, as what comes in by a real cable has them: the userspace
    datapath reads packets as they are, and hands them on so."""

    def work() -> None:
        value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
        request = struct.pack("16sP", device.encode(), ctypes.addressof(value))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            fcntl.ioctl(line, _SIOCETHTOOL, request.ljust(40, b"\0"))

    run_in(host.network, work)


def section(data: Any) -> Any:
    return Plugins.model_validate({"net": data}).net


def said(_: str) -> None:
    """Takes a line of progress, for nobody."""


async def plan(plugin: NetPlugin, data: Any) -> tuple[Desired, Sequence[Change]]:
    desired = plugin.declare(section(data))
    return desired, plugin.diff(desired, await plugin.query(list(desired.resources)))


async def put(plugin: NetPlugin, data: Any) -> Value:
    """Apply a section as the engine does; the checkpoint of before."""
    desired, changes = await plan(plugin, data)
    await plugin.check(desired, changes)
    checkpoint = await plugin.checkpoint(changes)
    await plugin.apply(desired, changes, said)
    assert await plugin.verify(desired) == []
    return checkpoint


async def seen(machine: NetMachine) -> bytes:
    return (await machine.plugin().query()).canonical()


def dump(machine: NetMachine, *, labels: bool = True) -> list[Any]:
    """What the kernel has, by another program than ours."""
    commands = (
        ("-d", "address", "show"),
        *(("route", "show", "table", "all"), ("-6", "route", "show", "table", "all")),
    )
    moving = {"nodad"} if labels else {"nodad", "label"}
    return [_stable(json.loads(machine.ip("-j", *words) or "[]"), moving) for words in commands]


def _stable(value: Any, moving: set[str]) -> Any:
    if isinstance(value, list):
        return sorted((_stable(item, moving) for item in value), key=json.dumps)
    if isinstance(value, dict):
        return {key: _stable(item, moving) for key, item in value.items() if key not in moving} | (
            {"expires": value["expires"] > 0} if "expires" in value else {}
        )
    return value


async def refused(machine: NetMachine, data: Any) -> RefusedError:
    """The refusal of a section; by then nothing was touched."""
    before = await seen(machine)
    with pytest.raises(RefusedError) as caught:
        await put(machine.plugin(), data)
    assert await seen(machine) == before
    assert caught.value.remedy
    return caught.value
