"""A real Open vSwitch for the benchmarks, apart from the machine's own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
TIMEOUT_S = 120


class Switch:
    """A private Open vSwitch with the bridge br0, in a network namespace of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mgmt = directory / "br0.mgmt"
        self._database = directory / "switch.sock"
        self._pids: list[int] = []
        places = {f"OVS_{kind}DIR": str(directory) for kind in ("RUN", "DB", "LOG", "SYSCONF")}
        self._environment = {**os.environ, **places}

    def start(self) -> None:
        """Start both daemons and add the bridge."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends them, too
        self.serve_database("switch.db", self._database)
        self.vsctl("--no-wait", "init")
        self._daemon("ovs-vswitchd", f"unix:{self._database}", "--disable-system")
        settings = ("datapath_type=netdev", "fail_mode=secure")
        self.vsctl("add-br", "br0", "--", "set", "bridge", "br0", *settings)

    def serve_database(self, name: str, socket: Path) -> None:
        """Start an ovsdb-server with an empty database."""
        self.run("ovsdb-tool", "create", str(self.directory / name), str(SCHEMA))
        self._daemon("ovsdb-server", str(self.directory / name), f"--remote=punix:{socket}")

    def stop(self) -> None:
        """End both daemons."""
        for pid in reversed(self._pids):
            os.kill(pid, signal.SIGKILL)

    def run(self, *command: str) -> str:
        """Run to the end; gives what it printed."""
        done = subprocess.run(
            command,
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        return done.stdout

    def vsctl(self, *words: str) -> None:
        """ovs-vsctl, waiting for vswitchd."""
        self.run("ovs-vsctl", f"--timeout={TIMEOUT_S}", f"--db=unix:{self._database}", *words)

    def ofctl(self, *arguments: str) -> None:
        """ovs-ofctl on the bridge; the bridge's place comes after the command."""
        *options, command, file = arguments
        self.run("ovs-ofctl", "-O", "OpenFlow13", *options, command, f"unix:{self.mgmt}", file)

    def _daemon(self, program: str, *arguments: str) -> None:
        name = f"{program}-{len(self._pids)}"
        pid_file = self.directory / f"{name}.pid"
        places = (f"--unixctl={self.directory / name}.ctl", f"--pidfile={pid_file}")
        log = ("-vconsole:off", f"--log-file={self.directory / name}.log")
        self.run("unshare", "--net", program, *arguments, "--detach", *places, *log)
        self._pids.append(int(pid_file.read_text()))
