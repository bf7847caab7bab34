"""A lab under load and under watch, in which faults are made; one that does not heal is left."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from privacy_router.lab import stage
from privacy_router.lab.check import new_token

from .judge import rules_for
from .load import KEPT
from .parts import PARTS, script_of
from .shell import Shell
from .watch import Ears, Load, WatchError

if TYPE_CHECKING:
    from privacy_router.lab.stage import Lab

_WARM_S = 10.0
_STATE_BYTES = 8 * 1024 * 1024
_RESTART_S = 0.5
_READ_S = 30.0  # of everything, on a machine that has much else to do
_SECTION = "## "
_WHOLE = tuple(PARTS)
_SIZES = (
    "for p in ovsdb-server ovs-vswitchd wg100 wgcf xray controller; do for i in $(pid $p); do "
    "echo $p $(ps -o rss= -p $i) $(ls /proc/$i/fd | wc -l); done; done"
)


@dataclass
class Supervisor:
    """Starts the node's controller again when it has ended, as a service manager would."""

    lab: Lab
    starts: int = 0
    said: list[str] = field(default_factory=list)
    _starting: subprocess.Popen[bytes] | None = None
    _not_before: float = 0.0

    def look(self, controllers: int) -> None:
        """Do what is to be done when that many controllers run."""
        if self._starting is not None:
            if self._starting.poll() is None:
                return
            _, complaint = self._starting.communicate()
            if self._starting.returncode != 0:
                self.said.append(complaint.decode(errors="replace").strip()[-300:])
            self._starting = None
            self._not_before = time.monotonic() + _RESTART_S
        elif controllers == 0 and time.monotonic() > self._not_before:
            self.starts += 1
            argv = ("privacy-router", "up", "--detach", "--wait", "0")
            self._starting = self.lab["node"].popen(
                argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )

    def close(self) -> None:
        """Start nothing any more."""
        if self._starting is not None:
            self._starting.kill()
            self._starting.communicate()


class Session:
    """A lab of that name from its start to its end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._exits = ExitStack()
        self._shells: dict[str, Shell] = {}

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            exits.callback(stage.down, self._name)
            self.lab = stage.up(self._name, state_size_bytes=_STATE_BYTES)
            token = new_token()
            self.ears = exits.enter_context(Ears(self.lab, rules_for(self.lab.config, token)))
            self.load = exits.enter_context(Load(self.lab, token))
            self.supervisor = Supervisor(self.lab)
            exits.callback(self.supervisor.close)
            exits.callback(self._close_shells)
            if late := self.load.wait(time.monotonic(), _WARM_S):
                raise WatchError(f"before the first fault there is no {', '.join(late)}")
            self.baseline = self.read(_WHOLE)
            self.sizes_before = self.sizes()
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _close_shells(self) -> None:
        for shell in self._shells.values():
            shell.close()

    def shell(self, host: str) -> Shell:
        """The shell of a host."""
        return self._shells.setdefault(host, Shell(self.lab[host]))

    def read(self, parts: tuple[str, ...]) -> dict[str, str]:
        """These parts of the node, as they are now. Raises ShellError."""
        if not parts:
            return {}
        text = self.shell("node").run(script_of(parts), _READ_S)
        found: dict[str, str] = {}
        for section in text.split(_SECTION)[1:]:
            name, _, rest = section.partition("\n")
            found[name] = rest
        return found

    def altered(self, parts: tuple[str, ...] = _WHOLE) -> dict[str, str]:
        """Those of the parts that are not as they were at the start, as they are now."""
        now = self.read(parts)
        return {name: text for name, text in now.items() if text != self.baseline[name]}

    def supervise(self) -> int:
        """Look after the controller; how many there are. Raises ShellError."""
        found = self.shell("node").run("pgrep -f 'privacy-router up|op-dbus' | wc -l")
        self.supervisor.look(int(found))
        return int(found)

    def late(self, since: float, within_s: float) -> dict[str, float]:
        """Kinds of traffic that do not work within that time; kept connections apart."""
        return self.load.wait(since, within_s, KEPT)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """KiB of memory and open descriptors of each of the node's processes."""
        lines = [line.split() for line in self.shell("node").run(_SIZES).splitlines()]
        return {line[0]: (int(line[1]), int(line[2])) for line in lines if len(line) == 3}
