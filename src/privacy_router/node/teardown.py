"""Take a node off the machine and leave that as it was found."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.errors import FAILURES, PrivacyRouterError
from privacy_router.hops.firewall import TABLE
from privacy_router.host import namespaces, nftables, processes
from privacy_router.host.netlink import Netlink
from privacy_router.node import made, ownership
from privacy_router.node.supervision import words
from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.plan.compile import OVS_PROCESSES, ovs_dir
from privacy_router.plan.guard import GUARD_PREFIX
from privacy_router.values.items import Kind
from privacy_router.values.wireguard import UAPI_DIR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from privacy_router.host.processes import Process
    from privacy_router.node.machine import NodeHost

TAKEN: Final = frozenset(
    {
        Kind.PROCESS,
        Kind.TUNNEL,
        Kind.BRIDGE,
        Kind.NAMESPACE,
        Kind.DEVICE_SETTING,
        Kind.FIREWALL,
    }
)
"""The kinds of items that a step of `tear_down` takes away; all others go with one of these."""

_log = structlog.get_logger()
_DATABASE_S: Final = 5.0
_PRIVATE_DATABASE_S: Final = 2.0  # one that hangs is stopped next


class LeftoverError(PrivacyRouterError):
    """All was taken down but what it names."""


def together(errors: Sequence[PrivacyRouterError]) -> PrivacyRouterError:
    """One error that says what all of these say; its exit code is the first one's."""
    first, *more = errors
    if not more:
        return first
    said = LeftoverError(
        "; ".join(error.message for error in errors),
        remedy="; then ".join(filter(None, (error.remedy for error in errors))),
        retryable=all(error.retryable for error in errors),
    )
    said.exit_code = first.exit_code
    return said


class _Steps:
    """Steps that each go as far as they do: what failed does not keep the others from being
    taken."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self._remedies: list[str] = []

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Take a step; `what` is left when it fails."""
        try:
            yield
        except Exception as error:  # also a defect: the steps behind it close the node
            if not isinstance(error, FAILURES):
                _log.error("a step of taking down failed", what=what, exc_info=error)
            self.left.append(f"{what} ({words(error)})")
            self._remedies.append(getattr(error, "remedy", ""))

    def require_all(self) -> None:
        """Raise LeftoverError when something is left."""
        if self.left:
            remedies = [*dict.fromkeys(filter(None, self._remedies)), "privacy-router down, again"]
            raise LeftoverError(
                f"the node is down, but this is left: {'; '.join(self.left)}",
                remedy="; then ".join(remedies),
                retryable=True,
            )


def tear_down(machine: NodeHost, bridge_name: str) -> None:
    """Take processes, bridge, namespaces and run-time files away. Keys and clients stay.

    The encrypted tunnels go first, so that nothing can leave while the rest is dismantled. A step
    that fails does not hold up the others; at the end LeftoverError says which did.
    """
    steps = _Steps()
    found = processes.running(machine.owner)
    own = _own_namespaces(steps, machine)
    _stop(steps, [process for process in found if process.name not in OVS_PROCESSES])
    _delete_tunnels(steps, own, machine.hops.tunnels)
    bridges = {bridge_name}
    with steps.step("bridges of other names"):
        bridges.update(_our_bridges(machine))
    for bridge in bridges:
        with steps.step(f"the bridge {bridge}"):
            _delete_bridge(machine, bridge)
    for name in reversed(OVS_PROCESSES):  # the switch before its database
        _stop(steps, [process for process in found if process.name == name])
    for name in own:
        with steps.step(f"the namespace {name}"):
            namespaces.delete(name)
    _clear_host(steps, machine)
    with steps.step(f"files in {machine.paths.run}"):
        _clear_files(machine)
    with steps.step("what was only begun"):
        for name in machine.hops.namespaces:
            namespaces.remove_leftovers(name)
    if found or own:
        with steps.step("empty directories"):
            _remove_empty_directories()
    steps.require_all()


def _stop(steps: _Steps, found: list[Process]) -> None:
    for process in found:
        with steps.step(f"the process {process.name}"):
            processes.stop(process)
            if not processes.is_ended(process):
                raise PrivacyRouterError(
                    f"process {process.pid} does not end",
                    remedy="see what it waits for; if it hangs in the kernel, restart the machine",
                )


def _own_namespaces(steps: _Steps, machine: NodeHost) -> list[str]:
    own = []
    for name in machine.hops.namespaces:
        with steps.step(f"the namespace {name}"):
            if ownership.is_own_namespace(name, machine.owner):
                own.append(name)
    return own


def _delete_tunnels(steps: _Steps, own: Sequence[str], tunnels: Sequence[str]) -> None:
    """The kernel's WireGuard devices, which no process holds.

    They would go with their namespaces, but only some time later, and keep their UDP ports so long.
    """
    for name in own:
        with steps.step(f"tunnels in {name}"), Netlink(namespaces.path_of(name)) as netlink:
            for tunnel in tunnels:
                netlink.delete_link(tunnel)


def _database(machine: NodeHost) -> OvsDatabase:
    private = machine.facts.private_ovs
    return OvsDatabase(machine.ovs_socket, _PRIVATE_DATABASE_S if private else _DATABASE_S)


def _our_bridges(machine: NodeHost) -> list[str]:
    """Also one that the configuration called by another name when it was made."""
    if not machine.ovs_socket.is_socket():
        return []
    try:
        with _database(machine) as database:
            return database.our_bridges()
    except PrivacyRouterError:
        if machine.facts.private_ovs:
            return []  # its processes are stopped next, and the bridges go with them
        raise


def _delete_bridge(machine: NodeHost, bridge_name: str) -> None:
    if not machine.ovs_socket.is_socket():
        return
    try:
        with _database(machine) as database:
            database.delete_bridge(bridge_name)
    except PrivacyRouterError as error:
        if machine.facts.private_ovs:
            return  # as above
        raise PrivacyRouterError(error.message, remedy=f"ovs-vsctl del-br {bridge_name}") from error


def _remove_empty_directories() -> None:
    """Those of namespaces and of wireguard-go's sockets, unless another program uses them."""
    namespaces.remove_directory()
    if UAPI_DIR.is_dir() and not any(UAPI_DIR.iterdir()):
        UAPI_DIR.rmdir()


def _clear_host(steps: _Steps, machine: NodeHost) -> None:
    with steps.step(f"settings of the host, and its firewall table {TABLE}"):
        machine.borrowed.give_back()  # before the table goes that names what may be forwarded
        if nftables.read(None, TABLE):
            nftables.delete(None, TABLE)
    with steps.step("the host's guard"):
        for guard in nftables.tables(None, GUARD_PREFIX):
            nftables.delete(None, guard)


def _clear_files(machine: NodeHost) -> None:
    """What a node makes in the run directory, which may be a directory of others too; not the lock,
    which tells that it is held."""
    paths = machine.paths
    for path in _made_in_run(machine):
        for entry in (path, *path.parent.glob(f".{path.name}.*")):  # what a crash left half written
            _remove(entry)
    for directory in (paths.logs, paths.runtime_flows.parent / made.DIRECTORY):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def _made_in_run(machine: NodeHost) -> Iterator[Path]:
    paths, hops = machine.paths, machine.hops
    yield from (paths.endpoints, paths.health, paths.runtime_flows, paths.controller_log)
    yield made.marker_of(paths.runtime_flows)
    yield from (paths.logs / f"{name}.log" for name in (*OVS_PROCESSES, *hops.processes))
    yield from (*hops.run_files(paths.run), ovs_dir(paths.run))
    yield paths.run / "borrowed.json"  # of earlier versions


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)
