"""Carry out changes on the machine, one kind of item after the other.

Every step can be done twice: a controller that was killed in the middle starts again with what it
then finds.
"""

from __future__ import annotations

import subprocess
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from privacy_router.errors import (
    FAILURES,
    ConflictError,
    MachineError,
    MissingPrerequisiteError,
    PrivacyRouterError,
)
from privacy_router.hops.settings import is_everywhere
from privacy_router.host import foreign, namespaces, nftables, processes, sysctl, tcp_sockets
from privacy_router.host.files import make_directory, write_private
from privacy_router.host.netlink import Netlink
from privacy_router.node import ownership
from privacy_router.node.host_devices import TUN, own_devices
from privacy_router.node.remembered import forget_connections_of
from privacy_router.node.tunnels import TunnelApplier
from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.plan.compile import ovs_dir
from privacy_router.plan.stages import is_guard
from privacy_router.values import rulesets
from privacy_router.values.items import HOST, Change, Device, Key, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.processes import ProcessSpec

_OVS_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_FIRST, _REMOVAL, _LAST = -2, -1, max(Kind) + 1
_APPEAR_TIMEOUT_S = 5.0
_POLL_S = 0.005
_GUARDS = frozenset({Kind.NAMESPACE, Kind.SETTING, Kind.FIREWALL, Kind.RULE})
_OPENING = frozenset(
    {
        Kind.DEVICE,
        Kind.DEVICE_SETTING,
        Kind.ADDRESS,
        Kind.NEIGHBOUR,
        Kind.ROUTE,
        Kind.TUNNEL,
    }
)
_NAMED_FAILURES = 5


class ApplyError(PrivacyRouterError):
    """A change could not be made."""


class _StoppedError(ApplyError):
    """Told to make no further change."""


class Applier:
    """Applies one list of changes; made anew for each.

    Netlink sessions are kept for as long as that takes: opening one costs more than using it.
    """

    def __init__(self, desired: DesiredState, machine: NodeHost) -> None:
        self._desired = desired
        self._machine = machine
        self._ports_settled = False
        self._bridge_job: Future[None] | None = None
        self._tunnels = TunnelApplier(desired, machine)
        self._sessions: dict[Path | None, Netlink] = {}
        self._failures: list[PrivacyRouterError] = []
        self._shut: dict[str, Kind] = {}
        self._background = ThreadPoolExecutor(1, "bridge")
        self._stopped = threading.Event()

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes in the order given, but for the guard and what needs each other.

        A change that cannot be made does not hold up the others, except where it guards them: a
        namespace whose settings, firewall or rules are not right gets no device, address or route.
        What it would get is left for the next time; what is to be taken out of it, is.
        Raises ApplyError that names what could not be made, and when told to stop before all was;
        for a single failure that is not the machine's (a program is missing …) the error itself.
        """
        try:
            self._apply(changes)
            self._try(self._join_bridge_job)
        finally:
            self._background.shutdown()
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()
        if self._failures:
            raise _one_error(self._failures)

    def stop(self) -> None:
        """Make no further change; for another thread to say."""
        self._stopped.set()

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError("stopped before all changes were made")

    def _await(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + _APPEAR_TIMEOUT_S
        while not condition():
            self._go_on()
            if time.monotonic() > deadline:
                raise ApplyError(complaint, remedy="look into the logs in the run directory")
            time.sleep(_POLL_S)

    def _netlink(self, path: Path | None) -> Netlink:
        if path not in self._sessions:
            self._sessions[path] = Netlink(path)
        return self._sessions[path]

    def _apply(self, changes: Sequence[Change]) -> None:
        steps: dict[Kind, Callable[[Change], None]] = {
            Kind.NAMESPACE: self._namespace,
            Kind.SETTING: self._setting,
            Kind.FIREWALL: self._firewall,
            Kind.RULE: self._rule,
            Kind.PROCESS: self._process,
            Kind.BRIDGE: self._bridge,
            Kind.PORT: self._bridge,
            Kind.DEVICE: self._device,
            Kind.DEVICE_SETTING: self._setting,
            Kind.ADDRESS: self._address,
            Kind.NEIGHBOUR: self._neighbour,
            Kind.ROUTE: self._route,
            Kind.TUNNEL: self._tunnels.apply,
            Kind.FOREIGN: self._foreign,
        }
        for change in self._ordered(changes):
            self._go_on()
            if change.after is not None and self._is_held(change):
                continue
            if not self._try(steps[change.key.kind], change) and change.key.kind in _GUARDS:
                self._shut.setdefault(change.key.where, change.key.kind)

    def _is_held(self, change: Change) -> bool:
        """Whether what guards this item, or its namespace itself, could not be made."""
        guard = self._shut.get(change.key.where)
        return guard is not None and (guard is Kind.NAMESPACE or change.key.kind in _OPENING)

    def _try(self, step: Callable[..., None], *change: Change) -> bool:
        """Whether it could be done; what went wrong is told at the end, each thing once."""
        try:
            step(*change)
        except _StoppedError:
            raise
        except FAILURES as error:
            told = _told(error, *change)
            if told not in self._failures:
                self._failures.append(told)
            return False
        return True

    def _ordered(self, changes: Sequence[Change]) -> list[Change]:
        """As given, but the guard around all else, processes in the order in which they need each
        other, and the bridge's ports, which have to be waited for, behind the other devices."""
        start_order = list(self._desired.processes)

        def rank(change: Change) -> tuple[int, int]:
            if is_guard(change):  # in force before all else, and the last to go
                return (_FIRST, 0) if change.after is not None else (_LAST, 0)
            if change.after is None:  # what forbids goes last
                return (_REMOVAL, int(change.key.kind is Kind.FIREWALL))
            if change.key.kind is Kind.PROCESS:
                return (change.key.kind, start_order.index(change.key.name))
            is_port = change.key.kind is Kind.DEVICE and change.after.mac is not None
            return (change.key.kind, int(is_port))

        return sorted(changes, key=rank)

    # --- namespaces ------------------------------------------------------------------------------

    def _namespace(self, change: Change) -> None:
        if change.after is None:
            namespaces.delete(change.key.name)
        else:
            ownership.create_namespace(change.key.name, self._machine.owner)

    def _setting(self, change: Change) -> None:
        if change.after is None:
            if change.key.where == HOST:
                self._machine.borrowed.give_one_back(change.key.name)
            return
        if change.key.where == HOST:
            self._machine.borrowed.note(change.key.name, change.before)
        try:
            sysctl.write(self._path(change), {change.key.name: change.after})
        except FileNotFoundError:
            if is_everywhere(change.key.name):
                raise

    def _foreign(self, change: Change) -> None:
        foreign.remove(namespaces.path_of(change.key.where), change.before)

    def _firewall(self, change: Change) -> None:
        if isinstance(change.before, nftables.Table):
            nftables.delete(self._path(change), change.before.name, change.before.family)
        elif change.after is None:
            nftables.delete(self._path(change), change.key.name)
        else:
            nftables.apply(self._path(change), change.key.name, rulesets.parse(change.after))

    def _rule(self, change: Change) -> None:
        netlink = self._netlink(self._path(change))
        if change.before is not None:
            netlink.delete_rule(change.before)
        if change.after is not None:
            netlink.add_rule(change.after)

    def _path(self, change: Change) -> Path | None:
        return None if change.key.where == HOST else namespaces.path_of(change.key.where)

    # --- processes -------------------------------------------------------------------------------

    def _process(self, change: Change) -> None:
        if change.before is not None:
            self._stop(change)
        if change.after is None:
            return
        spec = self._desired.processes[change.key.name]
        self._prepare(spec)
        log = self._machine.paths.logs / f"{spec.name}.log"
        processes.start(spec, self._machine.owner, log)

    def _stop(self, change: Change) -> None:
        self._reset_connections(change.key.name)
        name, _, extra = change.key.name.partition(" (pid ")
        for process in processes.running(self._machine.owner):
            if process.name == name and (not extra or process.pid == int(extra.rstrip(")"))):
                processes.stop(process)

    def _reset_connections(self, program: str) -> None:
        """Have the peers of a hop's program, if it is one, hear that its connections end."""
        hop = self._machine.hops.of_program(program)
        if hop is None or not hop.resets_connections or hop.role.namespace is None:
            return
        if namespaces.exists(hop.role.namespace):
            tcp_sockets.reset_connections(namespaces.path_of(hop.role.namespace))

    def _prepare(self, spec: ProcessSpec) -> None:
        hop = self._machine.hops.of_program(spec.name)
        if hop is not None and hop.resets_connections:
            forget_connections_of(hop, self._desired, self._machine)
        if spec.input_file is not None:
            write_private(spec.input_file, spec.inputs)
        if spec.name == "ovsdb-server":
            _create_ovs_database(ovs_dir(self._machine.paths.run))
        elif spec.name == "ovs-vswitchd":
            # started any earlier, it would wait a whole second before its second try
            self._await(self._machine.ovs_socket.is_socket, "ovsdb-server did not open its socket")

    # --- bridge and devices ----------------------------------------------------------------------

    def _bridge(self, change: Change) -> None:
        if change.key == Key(Kind.BRIDGE, "node", change.key.name) and change.after is None:
            with OvsDatabase(self._machine.ovs_socket) as database:
                database.delete_bridge(change.key.name)
        elif self._bridge_job is None:
            # vswitchd takes its time to start; the tunnels' devices are brought in meanwhile
            self._bridge_job = self._background.submit(self._ensure_bridge)

    def _ensure_bridge(self) -> None:
        self._await(self._machine.ovs_socket.is_socket, "Open vSwitch does not run")
        with OvsDatabase(self._machine.ovs_socket) as database:
            database.ensure_bridge(self._desired.bridge)

    def _join_bridge_job(self) -> None:
        if self._bridge_job is not None:
            self._bridge_job.result()
            self._ports_settled = True

    def _device(self, change: Change) -> None:
        name, wanted = change.key.name, change.after
        path = self._path(change)
        inside = self._netlink(path)
        if wanted is None:
            inside.delete_link(name)
            return
        if name != "lo":
            self._bring(name, path, wanted)
        inside.set_link(name, mtu_bytes=wanted.mtu_bytes, mac=wanted.mac)
        if wanted.offloads_checksums is not None:
            inside.set_offloading(name, wanted=wanted.offloads_checksums)
        inside.set_link(name, up=True)

    def _bring(self, name: str, path: Path | None, wanted: Device) -> None:
        """Have the device in its namespace, taking it from where it was born if need be."""
        if wanted.mac is not None:
            self._bring_port(name, path)
        elif path is not None and not self._tunnels.make(name, path, self._netlink(path)):
            self._bring_tunnel(name, path)

    def _bring_tunnel(self, name: str, path: Path) -> None:
        """One that a process makes, here in the host's namespace, where its UDP socket is to stay.

        Another program's of that name is left: ours is held by our process.
        """
        if not self._has_tun(name, path):
            self._await(lambda: self._has_come(name), f"the device {name} did not appear")
            self._move(name, None, path)

    def _bring_port(self, name: str, path: Path | None) -> None:
        self._settle_ports()
        birth = self._machine.switch_namespace
        if path is None:
            self._require_own_port(name)
        if not self._is_in(birth, name):
            if path != birth and self._is_alive(name, path):
                return
            self._remake_port(name)
        if path != birth:
            self._move(name, birth, path)

    def _is_in(self, path: Path | None, name: str) -> bool:
        return self._netlink(path).index(name) is not None

    def _has_come(self, name: str) -> bool:
        """Whether the device of a tunnel's process is there. One that ends makes none any more, and
        one whose device was renamed or taken elsewhere is ended, with it."""
        found = [one for one in processes.running(self._machine.owner) if one.name == name]
        if not found:
            raise ApplyError(f"the process of the device {name} has ended", retryable=True)
        held = {device for process in found for device in processes.tun_devices(process)}
        if name in held and self._has_tun(name, None):
            return True
        if held:
            for process in found:
                processes.stop(process)
            raise ApplyError(f"the device {name} was taken away from its process", retryable=True)
        return False

    def _has_tun(self, name: str, path: Path | None) -> bool:
        """Whether there is a TUN device of that name which a process holds."""
        link = self._netlink(path).links().get(name)
        return link is not None and link.kind == TUN and self._is_alive(name, path)

    def _is_alive(self, name: str, path: Path | None) -> bool:
        link = self._netlink(path).links().get(name)
        return link is not None and (link.carrier or not link.up)

    def _move(self, name: str, birth: Path | None, path: Path | None) -> None:
        self._netlink(path).delete_link(name)  # a dead one that vswitchd left behind
        with namespaces.opened(path) as target:
            self._netlink(birth).move(name, target)

    def _require_own_port(self, name: str) -> None:
        """Raise ConflictError when the host's device of that name is another program's."""
        links = self._netlink(None).links()
        own = own_devices(links, self._desired.bridge.name, self._machine)
        if name in links and name not in own:
            raise ConflictError(
                f"the machine has a network device named {name} that is not the node's",
                remedy="rename or remove it",
            )

    def _settle_ports(self) -> None:
        """After vswitchd was started anew, its ports exist once it has read the database."""
        self._join_bridge_job()
        if not self._ports_settled:
            with OvsDatabase(self._machine.ovs_socket) as database:
                database.await_applied()
            self._ports_settled = True

    def _remake_port(self, name: str) -> None:
        """vswitchd does not notice that a port's device went with its namespace: make it anew."""
        with OvsDatabase(self._machine.ovs_socket) as database:
            database.delete_ports(self._desired.bridge.name, [name])
            database.ensure_bridge(self._desired.bridge)

    # --- addresses, neighbours, routes -----------------------------------------------------------

    def _address(self, change: Change) -> None:
        device, address = change.after or change.before
        netlink = self._netlink(self._path(change))
        if change.after is not None:
            netlink.replace_address(device, address)
        elif netlink.index(device) is not None:
            netlink.delete_address(device, address)

    def _neighbour(self, change: Change) -> None:
        netlink = self._netlink(self._path(change))
        if change.after is not None:
            netlink.replace_neighbour(change.after)
        else:
            netlink.delete_neighbour(change.before)

    def _route(self, change: Change) -> None:
        netlink = self._netlink(self._path(change))
        if change.before is not None:
            netlink.delete_route(change.before)
        if change.after is not None:
            netlink.replace_route(change.after)


def _told(error: Exception, *change: Change) -> PrivacyRouterError:
    """The error as the caller is told of it: those of the machine with what was tried."""
    if isinstance(error, PrivacyRouterError) and not isinstance(error, MachineError):
        return error
    tried = "".join(
        f"could not {one.verb} {one.key.kind.name.lower()} {one.key.name} in {one.key.where}: "
        for one in change
    )
    told = ApplyError(f"{tried}{error}", retryable=True)
    told.__cause__ = error
    return told


def _one_error(failures: Sequence[PrivacyRouterError]) -> PrivacyRouterError:
    if len(failures) == 1:
        return failures[0]
    named = "; ".join(error.message for error in failures[:_NAMED_FAILURES])
    more = len(failures) - _NAMED_FAILURES
    return ApplyError(
        f"{named}; and {more} more" if more > 0 else named,
        remedy=next((error.remedy for error in failures if error.remedy), ""),
        retryable=all(error.retryable for error in failures),
    )


def _create_ovs_database(home: Path) -> None:
    make_directory(home)
    database = home / "conf.db"
    (home / "db.sock").unlink(missing_ok=True)
    if database.exists():
        return
    result = subprocess.run(
        ["ovsdb-tool", "create", str(database), _OVS_SCHEMA],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise MissingPrerequisiteError(
            f"the Open vSwitch database could not be made: {result.stderr.strip()}",
            remedy="apt-get install --reinstall openvswitch-common",
        )
