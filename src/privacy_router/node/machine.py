"""What this machine offers the node, found out once a start, and what it lacks."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from privacy_router.chain.stations import SWITCH_NAMESPACE
from privacy_router.errors import (
    FAILURES,
    MissingPrerequisiteError,
    PrivilegeError,
    StorageError,
)
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.exit.hop import EXIT_PORT
from privacy_router.hops.keys import NodeFacts
from privacy_router.host import namespaces, sysctl
from privacy_router.host.netlink import Netlink
from privacy_router.host.wireguard import (
    KernelWireGuard,
    UserspaceWireGuard,
    kernel_has_wireguard,
)
from privacy_router.node.saved_sysctls import SavedSysctls
from privacy_router.plan.compile import ovs_dir
from privacy_router.values.bridges import USERSPACE_DATAPATH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.catalogue import Catalogue
    from privacy_router.host.wireguard import WireGuardBackend
    from privacy_router.node.paths import NodePaths
    from privacy_router.values.network import Network

_log = structlog.get_logger()
_SYSTEM_OVS_SOCKET = Path("/run/openvswitch/db.sock")
_KERNEL_DATAPATH = Path("/sys/module/openvswitch")
_TUN = Path("/dev/net/tun")
_TUNGETFEATURES = 0x800454CF  # linux/if_tun.h; no other device knows it


@dataclass(frozen=True)
class NodeHost:
    """How the node is run here; `hops` are those that it may have, or may have had."""

    paths: NodePaths
    facts: NodeFacts
    wireguard: WireGuardBackend
    ovs_socket: Path
    hops: Catalogue = CATALOGUE

    @property
    def owner(self) -> str:
        """What this node's processes are marked with."""
        return str(self.paths.run)

    @property
    def switch_namespace(self) -> Path | None:
        """The network namespace in which the bridge's ports are born; None for the host's own."""
        return namespaces.path_of(SWITCH_NAMESPACE) if self.facts.private_ovs else None

    @property
    def borrowed(self) -> SavedSysctls:
        """The host's settings that were changed."""
        return borrowed_settings(self.paths)

    @property
    def management_socket_dir(self) -> Path:
        """Where vswitchd puts `<bridge>.mgmt`."""
        return self.ovs_socket.parent


def borrowed_settings(paths: NodePaths) -> SavedSysctls:
    """The host's settings that the node of these paths changed."""
    return SavedSysctls(paths.borrowed, paths.run / "borrowed.json")


def inspect(
    config: PrivacyRouterConfig,
    paths: NodePaths,
    *,
    to_run: bool = False,
    hops: Catalogue = CATALOGUE,
) -> NodeHost:
    """Find out what there is; `to_run`: what is missing for running a node is an error.

    Raises PrivilegeError, MissingPrerequisiteError.
    """
    require_root()
    system = _use_system_ovs(config)
    kernel_wireguard = kernel_has_wireguard()
    if to_run:
        of_hops = {k: v for hop in hops.wanted(config) for k, v in hop.packages.items()}
        _require_programs(of_hops, system_ovs=system, kernel_wireguard=kernel_wireguard)
    uplink = _uplink()
    facts = NodeFacts(
        datapath_type="system" if system else USERSPACE_DATAPATH,
        kernel_wireguard=kernel_wireguard,
        private_ovs=not system,
        run_dir=str(paths.run),
        uplink=uplink,
        uplink_forwards=uplink is not None and _forwards(uplink, borrowed_settings(paths)),
    )
    return NodeHost(
        paths=paths,
        facts=facts,
        wireguard=KernelWireGuard() if kernel_wireguard else UserspaceWireGuard(),
        ovs_socket=_SYSTEM_OVS_SOCKET if system else ovs_dir(paths.run) / "db.sock",
        hops=hops,
    )


def require_root() -> None:
    """Raise PrivilegeError unless the caller is root."""
    if os.geteuid() != 0:
        raise PrivilegeError(
            "this command has to run as root: what it reads or changes is only root's",
            remedy="run it again with sudo",
        )


def _use_system_ovs(config: PrivacyRouterConfig) -> bool:
    available = _SYSTEM_OVS_SOCKET.is_socket() and _KERNEL_DATAPATH.exists()
    if config.datapath == "system" and not available:
        raise MissingPrerequisiteError(
            "the kernel datapath of Open vSwitch is not available here",
            remedy='modprobe openvswitch and start openvswitch-switch, or set datapath to "auto"',
        )
    return available and config.datapath != "netdev"


def _uplink() -> str | None:
    with Netlink() as netlink:
        return netlink.default_device()


def _forwards(device: str, borrowed: SavedSysctls) -> bool:
    """Whether the machine itself forwards what comes in by the device: all of it, or this one's
    before the node changed it. Where that cannot be read, no."""
    everything, own = "ipv4/ip_forward", f"ipv4/conf/{device}/forwarding"
    now = sysctl.read(None, (everything, own))
    try:
        before = borrowed.before(own)
    except StorageError as error:
        _log.warning("taken for one that forwards nothing", device=device, reason=error.message)
        return False
    return "1" in (now[everything], before or now[own])


def _require_programs(
    of_hops: Mapping[str, str], *, system_ovs: bool, kernel_wireguard: bool
) -> None:
    """Raise MissingPrerequisiteError unless they are there; `of_hops` are what the hops need."""
    if not system_ovs or not kernel_wireguard:
        _require_tun()
    wanted = {
        "ovs-vswitchd": "openvswitch-switch",
        "ovsdb-server": "openvswitch-common",
        "ovsdb-tool": "openvswitch-common",
    }
    needed = {**of_hops, **({} if system_ovs else wanted)}
    if not kernel_wireguard:
        needed = {**needed, "wireguard-go": "wireguard-go"}
    missing = {program: package for program, package in needed.items() if not _find(program)}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise MissingPrerequisiteError(
            f"not installed here: {', '.join(sorted(missing))}",
            remedy=f"apt-get install {packages}",
        )


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _require_tun() -> None:
    try:
        descriptor = os.open(_TUN, os.O_RDWR)
        try:
            fcntl.ioctl(descriptor, _TUNGETFEATURES, bytes(4))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise MissingPrerequisiteError(
            f"the TUN device {_TUN} cannot be opened ({error.strerror})",
            remedy="modprobe tun; in a container, allow the device in the container's settings:"
            " lxc.cgroup2.devices.allow = c 10:200 rwm",
        ) from error


def host_networks() -> list[Network]:
    """The networks that the host's own devices are in, without what the node itself put there."""
    with Netlink() as netlink:
        found = []
        for name in netlink.links().keys() - {EXIT_PORT}:
            try:
                found += [ip_network(address.network) for address in netlink.addresses(name)]
            except FAILURES:
                continue  # the device went away while it was looked at
        return found
