"""A private Open vSwitch: its own database, run directory and network namespace, dummy ports."""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.host import namespaces
from privacy_router.openflow import (
    ApplyActions,
    ClearActions,
    Clone,
    Conjunction,
    Ct,
    DecMplsTtl,
    DecNwTtl,
    FlowMod,
    FlowModCommand,
    FlowModFlag,
    FlowOptions,
    GotoTable,
    Group,
    Learn,
    Learned,
    Load,
    Meter,
    Move,
    Nat,
    Note,
    Output,
    PopMpls,
    PopVlan,
    PortNumber,
    PushMpls,
    PushVlan,
    Resubmit,
    SendToController,
    SetFieldMasked,
    SetMplsTtl,
    SetNwTtl,
    SetQueue,
    TableId,
    WriteActions,
    WriteMetadata,
    load,
    set_field,
    to_controller,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
DELETE_ALL = FlowMod(table_id=TableId.ALL, options=FlowOptions(command=FlowModCommand.DELETE))
IPV4, IPV6 = {"eth_type": 0x0800}, {"eth_type": 0x86DD}
TCP, UDP, ICMPV6 = {**IPV4, "ip_proto": 6}, {**IPV4, "ip_proto": 17}, {**IPV6, "ip_proto": 58}
ADDRESS = ipaddress.ip_address("10.0.0.1")


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class Ovs:
    """One private Open vSwitch with bridge br0 and ports p1 and p2."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mgmt = directory / "br0.mgmt"
        self._env = {
            **os.environ,
            **{f"OVS_{kind}DIR": str(directory) for kind in ("RUN", "DB", "LOG", "SYSCONF")},
        }
        self._database = directory / "db.sock"
        self._pids: list[int] = []

    def start(self) -> None:
        self.run("ovsdb-tool", "create", str(self.directory / "conf.db"), str(SCHEMA))
        self._daemon(
            "ovsdb-server", str(self.directory / "conf.db"), f"--remote=punix:{self._database}"
        )
        self.vsctl("--no-wait", "init")
        self.start_vswitchd()
        self.vsctl(
            *("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy"),
            "fail_mode=secure",
            *("--", "add-port", "br0", "p1", "--", "set", "interface", "p1", "type=dummy"),
            *("ofport_request=1", "--", "add-port", "br0", "p2"),
            *("--", "set", "interface", "p2", "type=dummy", "ofport_request=2"),
        )

    def stop(self) -> None:
        for pid in reversed(self._pids):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(_is_running(pid) for pid in self._pids):
            assert time.monotonic() < deadline

    def start_vswitchd(self) -> None:
        self._daemon(
            *("ovs-vswitchd", f"unix:{self._database}", "--enable-dummy=override"),
            "--disable-system",
        )

    @property
    def vswitchd(self) -> int:
        """The process id of ovs-vswitchd, the last daemon that was started."""
        return self._pids[-1]

    @contextmanager
    def namespace(self) -> Iterator[None]:
        """In it, what this thread opens is on the switch's own network, with a loopback."""
        place = f"/proc/{self.vswitchd}/ns/net"
        self.run("nsenter", f"--net={place}", "ip", "link", "set", "lo", "up")
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            namespaces.enter(Path(place))
            yield
        finally:
            namespaces.enter(Path(f"/proc/self/fd/{own}"))
            os.close(own)

    def kill_vswitchd(self) -> None:
        os.kill(self._pids.pop(), signal.SIGKILL)

    def vsctl(self, *arguments: str) -> str:
        return self.run("ovs-vsctl", "--timeout=10", f"--db=unix:{self._database}", *arguments)

    def ofctl(self, command: str, *arguments: str) -> str:
        return self.run("ovs-ofctl", "-O", "OpenFlow13", command, f"unix:{self.mgmt}", *arguments)

    def dump(self) -> list[str]:
        lines = self.ofctl("dump-flows", "--no-stats").splitlines()
        return sorted(line.strip() for line in lines if "actions=" in line)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self._env, check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout

    def _daemon(self, name: str, *arguments: str) -> None:
        pid_file = self.directory / f"{name}.pid"
        self.run(
            *("unshare", "--net", name, *arguments, f"--pidfile={pid_file}", "--detach"),
            *(f"--unixctl={self.directory / name}.ctl", "-vconsole:off"),
            f"--log-file={self.directory / name}.log",
        )
        self._pids.append(int(pid_file.read_text()))


LEARN = Learn(
    1,
    (
        Learned(48, "eth_src", "eth_dst"),
        Learned(16, 0x800, "eth_type"),
        Learned(16, "reg0", "reg1", 16, 8, loads=True),
        Learned(17, 1 << 16, "reg2", loads=True),
        Learned(16, "reg0", None, 16),
    ),
    priority=7,
    cookie=9,
    idle_timeout_s=30,
    flags=FlowModFlag.SEND_FLOW_REM,
)
INSTRUCTIONS = [
    *(
        (ApplyActions((action,)),)
        for action in (
            *(Output(2), Output(1, 128), Output(PortNumber.IN_PORT), Output(PortNumber.LOCAL)),
            *(to_controller(), to_controller(128), SetQueue(3), Group(5)),
            *(SetNwTtl(64), DecNwTtl(), PushVlan(), Note(b"hello"), Note(b"")),
            *(set_field("nw_ttl", 64), set_field("eth_dst", "aa:bb:cc:dd:ee:ff")),
            *(set_field("ipv4_dst", "10.0.0.1"), set_field("tcp_dst", 80), set_field("reg0", 5)),
            *(set_field("xreg0", 5), set_field("xxreg0", 5), set_field("metadata", 5)),
            *(set_field("tun_id", 5), set_field("pkt_mark", 5), set_field("ip_dscp", 5)),
            *(load("reg0", 5), Load("reg0", 5, 16, 8), load("eth_src", 5), load("tcp_dst", 5)),
            *(
                Load("metadata", 1, 8),
                SetFieldMasked("reg0", 0x50, 0xF0),
                Move("eth_src", "eth_dst", 48),
            ),
            *(Move("reg0", "reg1", 16, 16), Move("ipv4_src", "ipv4_dst", 32)),
            *(Resubmit(3), Resubmit(3, 2), Ct(), Ct(zone=5, table_id=3), Ct(1, alg=21)),
            Ct(1, 5, 3, (set_field("ct_mark", 3), load("ct_mark", 1))),
            Ct(1, 5, 3, (Nat(1, ADDRESS, ADDRESS + 3, 1000, 2000),)),
            Ct(1, 15, 3, (Nat(),), zone_field="reg0"),
            *(
                SendToController(),
                SendToController(128, 3, 2),
                SendToController(128, 3, 2, b"for the controller", pause=True),
            ),
            *(SendToController(userdata=b"x"), SendToController(pause=True)),
            Clone((DecNwTtl(), Output(1))),
            LEARN,
        )
    ),
    (ApplyActions((PushVlan(), set_field("vlan_vid", 0x1005), PopVlan(), Output(1), Output(2))),),
    (ApplyActions((PushMpls(), SetMplsTtl(64), DecMplsTtl(), PopMpls(0x800))),),
    (ApplyActions((SetNwTtl(64), Output(2))), GotoTable(4)),
    (GotoTable(3), ApplyActions((DecNwTtl(),))),  # out of order, as sent
    (WriteMetadata(5, 15), GotoTable(1)),
    (ClearActions(), WriteActions((Output(1), SetNwTtl(3)))),
    (ApplyActions((Conjunction(7, 0, 2), Conjunction(9, 2, 3))),),
    (ApplyActions(()), GotoTable(2)),  # reads back without the empty list
    (Meter(9), ApplyActions((Output(2),))),
    (),
]
