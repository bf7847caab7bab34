"""A device in the host is the node's by what it is and who holds it, not by its name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from privacy_router.host import processes
from privacy_router.host.processes import Process
from privacy_router.node import host_devices
from privacy_router.values.bridges import BridgeRow, PortRow, mac_of
from privacy_router.values.network import Link

if TYPE_CHECKING:
    from privacy_router.node.machine import NodeHost

BRIDGE = "ovsbr0"
OTHER_MAC = "52:54:00:00:00:01"


def link(name: str, kind: str, mac: str = OTHER_MAC) -> Link:
    return Link(name, 7, mac, 1500, True, True, kind, 0, 0, 0, 0)


def own(monkeypatch: pytest.MonkeyPatch, found: Link, *, private_ovs: bool) -> bool:
    """Whether it is the node's, whose wireguard-go holds wgcf and whose bridge has pr-exit."""
    held = {"wgcf": {"wgcf"}, "ovs-vswitchd": {"ovsbr0", "pr-exit"} if private_ovs else set()}
    row = BridgeRow(BRIDGE, True, {"pr-exit": PortRow("pr-exit", "internal", None, 1, None)})
    running = [Process(name, number, "") for number, name in enumerate(held)]
    monkeypatch.setattr(processes, "running", lambda _: running)
    monkeypatch.setattr(processes, "tun_devices", lambda one: held[one.name])
    monkeypatch.setattr(host_devices, "read_bridge", lambda *_: row)
    machine: Any = SimpleNamespace(owner="me", facts=SimpleNamespace(private_ovs=private_ovs))
    return found.name in host_devices.own_devices(
        {found.name: found}, BRIDGE, cast("NodeHost", machine)
    )


@pytest.mark.parametrize("private_ovs", [True, False])
def test_what_only_has_the_name_is_anothers(
    monkeypatch: pytest.MonkeyPatch, private_ovs: bool
) -> None:
    for name in ("wgcf", "pr-exit", BRIDGE, "warp0"):
        for kind in ("bridge", "veth", "dummy", "wireguard", ""):
            assert not own(monkeypatch, link(name, kind), private_ovs=private_ovs)
    assert not own(monkeypatch, link("wg100", "tun"), private_ovs=private_ovs)


def test_a_port_is_known_by_its_mac_and_by_who_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for private_ovs, kind in ((True, "tun"), (False, "openvswitch")):
        ours = link("pr-exit", kind, mac_of(BRIDGE, "pr-exit"))
        assert own(monkeypatch, ours, private_ovs=private_ovs)
        assert own(monkeypatch, link("pr-exit", kind), private_ovs=private_ovs), "a changed MAC"
    assert own(monkeypatch, link(BRIDGE, "openvswitch"), private_ovs=False)
    assert not own(monkeypatch, link("warp0", "openvswitch"), private_ovs=False)
    assert own(monkeypatch, link("wgcf", "tun"), private_ovs=True)
