"""What the node takes on the machine must be free, or the node's own from an earlier run."""

from __future__ import annotations

import errno
import socket
from functools import partial
from typing import TYPE_CHECKING, Final

from privacy_router.chain.stations import SWITCH_NAMESPACE
from privacy_router.config import ConfigError, check_host
from privacy_router.errors import ConflictError
from privacy_router.host import namespaces, processes
from privacy_router.host.netlink import Netlink
from privacy_router.node.host_devices import own_devices
from privacy_router.node.machine import host_networks
from privacy_router.node.ownership import is_own_namespace, is_there
from privacy_router.values.wireguard import UAPI_DIR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.node.machine import NodeHost

_CONNECT_S: Final = 1.0


def require_room(config: PrivacyRouterConfig, machine: NodeHost) -> None:
    """Raise ConfigError or ConflictError when another program, or the machine itself, has what the
    node takes: networks, names, the gateway's port. Touches nothing."""
    for look in looks_for_room(config, machine):
        look()


def looks_for_room(config: PrivacyRouterConfig, machine: NodeHost) -> Iterator[Callable[[], None]]:
    """The parts of `require_room`, so that all that is in the way can be told at once."""
    yield partial(_require_networks, config)
    yield partial(_require_namespaces, config, machine)
    yield partial(_require_devices, config, machine)
    if machine.wireguard.has_processes:
        yield partial(_require_sockets, machine)
    if config.wireguard.enabled and not is_there(machine):
        yield partial(require_free_port, config.wireguard.listen_port)


def _require_networks(config: PrivacyRouterConfig) -> None:
    problems = check_host(config, host_networks())
    if problems:
        raise ConfigError("the configuration", problems)


def _require_namespaces(config: PrivacyRouterConfig, machine: NodeHost) -> None:
    wanted = [
        one.namespace for one in machine.hops.segment(config).stations if one.namespace is not None
    ]
    if machine.switch_namespace is not None:
        wanted.append(SWITCH_NAMESPACE)
    for name in wanted:
        path = namespaces.path_of(name)
        if not (path.exists() or path.is_symlink()) or namespaces.is_leftover(name):
            continue
        if not is_own_namespace(name, machine.owner):
            raise ConflictError(
                f"the machine already has a network namespace named {name} ({path}), which is not"
                " this node's",
                remedy=f"see what it is for (ip -n {name} address); if for nothing: ip netns"
                f" delete {name}",
            )


def _require_devices(config: PrivacyRouterConfig, machine: NodeHost) -> None:
    """The host's guard names all of these, so that another's device of that name would be cut off,
    even where the node's own is born elsewhere."""
    ports = [station.port for station in machine.hops.segment(config).stations]
    with Netlink() as netlink:
        links, names = netlink.links(), netlink.names()
    taken = {*ports, config.bridge_name, *machine.hops.tunnels} & names
    if taken:
        taken -= own_devices(links, config.bridge_name, machine)
    if taken:
        raise ConflictError(
            f"the machine already has a network device named {', '.join(sorted(taken))}",
            remedy="rename or remove it, or choose another name in the configuration",
        )


def _require_sockets(machine: NodeHost) -> None:
    """A wireguard-go in another namespace has its socket in the same place."""
    own = {process.name for process in processes.running(machine.owner)}
    for name in machine.hops.tunnels:
        path = UAPI_DIR / f"{name}.sock"
        if name not in own and _is_served(path):
            raise ConflictError(
                f"another program already serves the WireGuard device {name} ({path})",
                remedy=f"end it or give it another name (fuser {path} says which program it is)",
            )


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_CONNECT_S)
        try:
            line.connect(str(path))
        except TimeoutError:
            return True
        except OSError:
            return False  # none, or one that an ended process left behind
    return True


def require_free_port(port: int) -> None:
    """Raise ConflictError when another program listens on that UDP port."""
    for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        if family == socket.AF_INET6 and not socket.has_dualstack_ipv6():
            continue
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((any_address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    continue  # this machine does without that version of IP
                raise ConflictError(
                    f"UDP port {port} is already in use on this machine",
                    remedy="stop the program that holds it, or set wireguard.listen_port",
                ) from error
