"""What this machine offers the node, found out once a start, and what it lacks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.errors import FAILURES, ConflictError, MissingPrerequisiteError, PrivilegeError
from privacy_router.host import sysctl
from privacy_router.host.netlink import Netlink
from privacy_router.host.wireguard import (
    KernelWireGuard,
    UserspaceWireGuard,
    kernel_has_wireguard,
)
from privacy_router.node.borrowed import BorrowedSettings
from privacy_router.plan.chain import EXIT_PORT, GATEWAY_TUNNEL, WARP_TUNNEL
from privacy_router.plan.compile import ovs_dir
from privacy_router.plan.keys import NodeFacts

if TYPE_CHECKING:
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.host.topology import Network
    from privacy_router.host.wireguard import WireGuardBackend
    from privacy_router.node.paths import NodePaths

_SYSTEM_OVS_SOCKET = Path("/run/openvswitch/db.sock")
_KERNEL_DATAPATH = Path("/sys/module/openvswitch")
_TUN = Path("/dev/net/tun")
_TUNGETFEATURES = 0x800454CF  # linux/if_tun.h; no other device knows it


@dataclass(frozen=True)
class Machine:
    """How the node is run here."""

    paths: NodePaths
    facts: NodeFacts
    wireguard: WireGuardBackend
    ovs_socket: Path

    @property
    def owner(self) -> str:
        """What this node's processes are marked with."""
        return str(self.paths.run)

    @property
    def borrowed(self) -> BorrowedSettings:
        """The host's settings that were changed."""
        return borrowed_settings(self.paths)

    @property
    def management_socket_dir(self) -> Path:
        """Where vswitchd puts `<bridge>.mgmt`."""
        return self.ovs_socket.parent


def borrowed_settings(paths: NodePaths) -> BorrowedSettings:
    """The host's settings that the node of these paths changed."""
    return BorrowedSettings(paths.run / "borrowed.json")


def inspect(config: PrivacyRouterConfig, paths: NodePaths, *, to_run: bool = False) -> Machine:
    """Find out what there is; `to_run`: what is missing for running a node is an error.

    Raises PrivilegeError, MissingPrerequisiteError.
    """
    require_root()
    system = _use_system_ovs(config)
    kernel_wireguard = kernel_has_wireguard()
    if to_run:
        _require_programs(system_ovs=system, kernel_wireguard=kernel_wireguard)
    uplink = _uplink()
    facts = NodeFacts(
        datapath_type="system" if system else "netdev",
        kernel_wireguard=kernel_wireguard,
        private_ovs=not system,
        run_dir=str(paths.run),
        uplink=uplink,
        uplink_forwards=uplink is not None and _forwards(uplink, borrowed_settings(paths)),
    )
    return Machine(
        paths=paths,
        facts=facts,
        wireguard=KernelWireGuard() if kernel_wireguard else UserspaceWireGuard(),
        ovs_socket=_SYSTEM_OVS_SOCKET if system else ovs_dir(paths.run) / "db.sock",
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


def _forwards(device: str, borrowed: BorrowedSettings) -> bool:
    """Whether the machine itself forwards what comes in by the device: all of it, or this one's
    before the node changed it."""
    everything, own = "ipv4/ip_forward", f"ipv4/conf/{device}/forwarding"
    now = sysctl.read(None, (everything, own))
    return "1" in (now[everything], borrowed.before(own) or now[own])


def _require_programs(*, system_ovs: bool, kernel_wireguard: bool) -> None:
    if not system_ovs or not kernel_wireguard:
        _require_tun()
    wanted = {
        "ovs-vswitchd": "openvswitch-switch",
        "ovsdb-server": "openvswitch-common",
        "ovsdb-tool": "openvswitch-common",
    }
    needed = {} if system_ovs else wanted
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


def require_free_port(port: int) -> None:
    """Raise ConflictError when somebody else listens on that UDP port."""
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


def require_free_names(names: list[str]) -> None:
    """Raise ConflictError when the host has a device of a name that the node needs."""
    with Netlink() as netlink:
        taken = sorted(set(names) & set(netlink.links()))
    if taken:
        raise ConflictError(
            f"the machine already has a network device named {', '.join(taken)}",
            remedy="rename or remove it, or choose another name in the configuration",
        )


def remove_leftover_devices(bridge_name: str, *, private_ovs: bool) -> None:
    """Devices that outlive the processes which made them, and whose names only the node uses."""
    names = [GATEWAY_TUNNEL, WARP_TUNNEL]
    if private_ovs:
        names += [bridge_name, "ovs-netdev"]
    with Netlink() as netlink:
        for name in names:
            netlink.delete_link(name)
