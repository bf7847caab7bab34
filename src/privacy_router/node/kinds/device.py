"""Network devices: the bridge's ports, and the tunnels, each brought to where it should be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from privacy_router.chain.stations import SWITCH_NAMESPACE
from privacy_router.errors import ConflictError
from privacy_router.host import namespaces, processes
from privacy_router.host.wireguard_uapi import UapiError
from privacy_router.node.host_devices import TUN, own_devices
from privacy_router.node.kinds.contract import Down, PlacedKind, Role
from privacy_router.node.kinds.place import path_of
from privacy_router.node.kinds.session import ApplyError
from privacy_router.values.items import Kind
from privacy_router.values.network import Device, DeviceKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from privacy_router.host.netlink import Netlink
    from privacy_router.node.kinds.place import Place
    from privacy_router.node.kinds.session import Session
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.network import Link

_LOOPBACK: Final = "lo"
_KERNELS_WIREGUARD: Final = "wireguard"


def observe(place: Place) -> Iterator[tuple[DeviceKey, Device]]:
    """The desired ones, and of a hop all that are up. Raises OSError, NetlinkError.

    Some kernels put idle fallback devices into every namespace, and the switch's own has the ports
    of containers.
    """
    for link in place.links.values():
        key = DeviceKey(place.where, link.name)
        wanted = place.desired.items.get(key)
        if wanted is None and (not link.up or place.where == SWITCH_NAMESPACE):
            continue
        device = Device(None, link.mtu_bytes, link.up, link.carrier)
        yield key, _as_wanted(device, wanted, link, place) if isinstance(wanted, Device) else device


def _as_wanted(device: Device, wanted: Device, link: Link, place: Place) -> Device:
    """With those of its parts that the plan has an opinion of."""
    if wanted.mac is not None:
        device = replace(device, mac=link.mac)
    if wanted.offloads_checksums is not None:
        found = place.netlink.offloads_checksums(link.name)
        device = replace(device, offloads_checksums=found)
    return device


def apply(session: Session, key: DeviceKey, before: Device | None, after: Device) -> None:
    """Bring it here, with MTU and MAC, and have it up."""
    del before
    name, path = key.device, path_of(key.where)
    inside = session.netlink(path)
    if after.mac is not None:
        _bring_port(session, name, path)
    elif name != _LOOPBACK and path is not None:
        _bring_tunnel(session, name, path)
    inside.set_link(name, mtu_bytes=after.mtu_bytes, mac=after.mac)
    if after.offloads_checksums is not None:
        inside.set_offloading(name, wanted=after.offloads_checksums)
    inside.set_link(name, up=True)


def remove(session: Session, key: DeviceKey, before: Device) -> None:
    """Delete it."""
    del before
    session.netlink(path_of(key.where)).delete_link(key.device)


def rank_within(desired: DesiredState, key: DeviceKey, value: Device) -> int:
    """The bridge's ports, which have to be waited for, come behind the others."""
    del desired, key
    return int(value.mac is not None)


# --- tunnels --------------------------------------------------------------------------------------


def _bring_tunnel(session: Session, name: str, path: Path) -> None:
    """Have the kernel make it, or take it from the process that does.

    That one makes it here in the host's namespace, where its UDP socket is to stay. Another
    program's of that name is left: ours is held by our process.
    """
    if not session.machine.wireguard.has_processes:
        _make_in_kernel(session, name, path)
    elif not _has_tun(session, name, path):
        session.wait_for(lambda: _has_come(session, name), f"the device {name} did not appear")
        _move(session, name, None, path)


def _make_in_kernel(session: Session, name: str, path: Path) -> None:
    """In its namespace at once, where it cannot be taken for another program's; its UDP socket is
    in the host's, where it is made from."""
    inside = session.netlink(path)
    link = inside.links().get(name)
    if link is not None and link.kind == _KERNELS_WIREGUARD:
        return
    if link is not None:
        inside.delete_link(name)
    with namespaces.opened(path) as target:
        session.netlink(None).add_wireguard(name, target)


def _has_come(session: Session, name: str) -> bool:
    """Whether the device of a tunnel's process is there. One that ends makes none any more, and
    one whose device was renamed or taken elsewhere is ended, with it."""
    found = [one for one in processes.running(session.machine.owner) if one.name == name]
    if not found:
        raise ApplyError(f"the process of the device {name} has ended", retryable=True)
    held = {device for process in found for device in processes.tun_devices(process)}
    if name in held and _has_tun(session, name, None):
        return _serves(session, name)
    if held:
        for process in found:
            processes.stop(process)
        raise ApplyError(f"the device {name} was taken away from its process", retryable=True)
    return False


def _serves(session: Session, name: str) -> bool:
    """Whether the process of a tunnel has done all that it does to its device while it makes it: it
    answers from then on. One whose device is moved before finds it no more, and ends."""
    try:
        return session.machine.wireguard.read(name, None) is not None
    except UapiError:
        return False


def _has_tun(session: Session, name: str, path: Path | None) -> bool:
    """Whether there is a TUN device of that name which a process holds."""
    netlink = session.netlink(path)
    link = netlink.links().get(name)
    return link is not None and link.kind == TUN and _is_alive(netlink, name)


# --- ports of the bridge --------------------------------------------------------------------------


def _bring_port(session: Session, name: str, path: Path | None) -> None:
    session.switch.settle_ports()
    birth = session.machine.switch_namespace
    if path is None:
        _require_own_port(session, name)
    if session.netlink(birth).index(name) is None:
        if path != birth and _is_alive(session.netlink(path), name):
            return
        session.switch.remake_port(name)
    if path != birth:
        _move(session, name, birth, path)


def _require_own_port(session: Session, name: str) -> None:
    """Raise ConflictError when the host's device of that name is another program's."""
    links = session.netlink(None).links()
    own = own_devices(links, session.desired.bridge.name, session.machine)
    if name in links and name not in own:
        raise ConflictError(
            f"the machine has a network device named {name} that is not the node's",
            remedy="rename or remove it",
        )


def _is_alive(netlink: Netlink, name: str) -> bool:
    link = netlink.links().get(name)
    return link is not None and (link.carrier or not link.up)


def _move(session: Session, name: str, birth: Path | None, path: Path | None) -> None:
    session.netlink(path).delete_link(name)  # a dead one that vswitchd left behind
    with namespaces.opened(path) as target:
        session.netlink(birth).move(name, target)


DEVICE: Final = PlacedKind(
    kind=Kind.DEVICE,
    domain="net",
    role=Role.OPENS,
    down=Down.WITH_NAMESPACE,
    keys=(DeviceKey,),
    values=(Device,),
    observe=observe,
    apply=apply,
    remove=remove,
    rank_within=rank_within,
)
