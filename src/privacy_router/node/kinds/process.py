"""Processes of the node: its own Open vSwitch, wireguard-go and XRay."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from privacy_router.errors import MissingPrerequisiteError
from privacy_router.host import namespaces, processes, tcp_sockets
from privacy_router.host.files import make_directory, write_private
from privacy_router.node.kinds.contract import Down, NodeKind, Role
from privacy_router.node.places import is_reachable
from privacy_router.node.remembered import forget_connections_of
from privacy_router.plan.compile import ovs_dir
from privacy_router.values.items import Kind
from privacy_router.values.processes import ProcessKey, ProcessState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from privacy_router.node.kinds.place import Look
    from privacy_router.node.kinds.session import Session
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.processes import ProcessSpec

_OVS_SCHEMA: Final = "/usr/share/openvswitch/vswitch.ovsschema"


def observe(look: Look) -> Iterator[tuple[ProcessKey, ProcessState]]:
    """All that carry this node's mark. A second one of the same name (two starts in a row, one
    killed halfway) is one too many."""
    seen: set[str] = set()
    bridge = look.desired.bridge.name
    for process in processes.running(look.machine.owner):
        key = ProcessKey(process.name, process.pid if process.name in seen else None)
        seen.add(process.name)
        spec = look.desired.processes.get(process.name)
        yield (
            key,
            ProcessState(
                process.fingerprint,
                is_elsewhere=spec is not None and not processes.is_inside(process, spec.namespace),
                is_unreachable=not is_reachable(
                    process, look.machine, bridge, lambda: look.bridge is not None
                ),
            ),
        )


def apply(
    session: Session, key: ProcessKey, before: ProcessState | None, after: ProcessState
) -> None:
    """Start it; one of that name that is outdated ends first."""
    del after
    if before is not None:
        _stop(session, key)
    spec = session.desired.processes[key.process]
    _prepare(session, spec)
    processes.start(spec, session.machine.owner, session.machine.paths.logs / f"{spec.name}.log")


def remove(session: Session, key: ProcessKey, before: ProcessState) -> None:
    """End it."""
    del before
    _stop(session, key)


def rank_within(desired: DesiredState, key: ProcessKey, value: ProcessState) -> int:
    """In the order in which they need each other."""
    del value
    return list(desired.processes).index(key.process)


def _stop(session: Session, key: ProcessKey) -> None:
    _reset_connections(session, key.process)
    for process in processes.running(session.machine.owner):
        if process.name == key.process and key.pid in (None, process.pid):
            processes.stop(process)


def _reset_connections(session: Session, program: str) -> None:
    """Have the peers of a hop's program, if it is one, hear that its connections end."""
    hop = session.machine.hops.of_program(program)
    if hop is None or not hop.resets_connections or hop.role.namespace is None:
        return
    if namespaces.exists(hop.role.namespace):
        tcp_sockets.reset_connections(namespaces.path_of(hop.role.namespace))


def _prepare(session: Session, spec: ProcessSpec) -> None:
    hop = session.machine.hops.of_program(spec.name)
    if hop is not None and hop.resets_connections:
        forget_connections_of(hop, session.desired, session.machine)
    if spec.input_file is not None:
        write_private(spec.input_file, spec.inputs)
    if spec.name == "ovsdb-server":
        _create_ovs_database(ovs_dir(session.machine.paths.run))
    elif spec.name == "ovs-vswitchd":
        # started any earlier, it would wait a whole second before its second try
        session.wait_for(
            session.machine.ovs_socket.is_socket, "ovsdb-server did not open its socket"
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


PROCESS: Final = NodeKind(
    kind=Kind.PROCESS,
    domain="privacy",
    role=Role.APART,
    down=Down.TAKEN,
    keys=(ProcessKey,),
    values=(ProcessState,),
    observe=observe,
    apply=apply,
    remove=remove,
    rank_within=rank_within,
)
