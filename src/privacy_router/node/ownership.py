"""What on this machine is the node's own. A name does not tell: another program may have taken it.

Each kind has a mark of its own, which comes into being with the thing itself, so that a crash at
any moment leaves nothing of the node's unmarked:

* a network namespace has an alias on its loopback device before it has its name;
* a process carries the node's mark in its environment;
* a TUN device (wireguard-go's, and the ports of the node's own Open vSwitch) is held by a process
  of the node's, and goes with it;
* a kernel WireGuard device is made inside a namespace of the node's;
* a bridge and its ports have `external_ids` in Open vSwitch's database;
* a table of nftables has the node's prefix, and a file is in a directory of the node's.

What has a name of the node's and no mark is another's: it refuses `up`, and `down` leaves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.hops.firewall import TABLE
from privacy_router.host import marks, namespaces, nftables, processes

if TYPE_CHECKING:
    from privacy_router.node.machine import NodeHost


def create_namespace(name: str, owner: str) -> None:
    """Make a network namespace of this node's. Raises OSError."""
    namespaces.create(name, lambda: marks.put_here(_mark_of(owner)))


def is_own_namespace(name: str, owner: str) -> bool:
    """Whether a network namespace of that name is this node's. Raises OSError.

    One that a version without marks made, or that took the place of one while the node was kept,
    is known by the node's firewall in it.
    """
    path = namespaces.path_of(name)
    if not namespaces.exists(name):
        return False
    return marks.is_marked(path, _mark_of(owner)) or TABLE in nftables.tables(path, TABLE)


def own_namespaces(machine: NodeHost) -> list[str]:
    """The names of this node's network namespaces that are there. Raises OSError."""
    owner = machine.owner
    return [name for name in machine.hops.namespaces if is_own_namespace(name, owner)]


def _mark_of(owner: str) -> str:
    return f"privacy-router {owner}"


def is_there(machine: NodeHost) -> bool:
    """Whether anything of this node is on the machine. Raises OSError."""
    return bool(processes.running(machine.owner) or own_namespaces(machine))
