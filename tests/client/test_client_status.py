"""A status is the same after the bus, where D-Bus has no null."""

from __future__ import annotations

import pytest

from privacy_router.client.status import (
    ClientStatus,
    FileNote,
    FileState,
    HopStatus,
    NodeStatus,
    status_from,
)
from privacy_router.daemon.bus.values import variant
from privacy_router.host.dbus_messages import unwrapped

HEALTH = {"state": "up", "reason": "", "since": 5.5, "evidence": "a client was answered"}
SPARSE = NodeStatus(
    ok=False,
    state="degraded",
    controller_pid=None,
    probed=False,
    hops=[HopStatus("xray", "down", "no process", "internal_101", 0, 0, None, None, [])],
    clients=[ClientStatus("phone", None, None, 0, 0)],
    exit_ip=None,
    warp_trace=None,
    processes={},
    pending=[],
    left_out={},
)
FULL = NodeStatus(
    ok=True,
    state="up",
    controller_pid=7,
    probed=True,
    hops=[HopStatus("warp", "up", "", "warp0", 5, 2**40, 1.5, 6.25, ["a → b"], HEALTH, 1.0, 2.0)],
    clients=[ClientStatus("phone", "198.18.1.2:51820", 20.0, 1000, 2000)],
    exit_ip="198.18.200.1",
    warp_trace="on",
    processes={"xray": 8},
    pending=["route x missing"],
    left_out={"veth1": "it has no number"},
    trouble=["odd"],
    firewalls=["ufw"],
    listen_port=51820,
    file=FileNote("/etc/c.json", FileState.WAITING, 1.0, "no answer", "wait", 31.0),
    exit_ipv4="198.18.200.1",
    obfuscation_level=2,
    document="/etc/c.json",
)


@pytest.mark.parametrize("status", [SPARSE, FULL], ids=["sparse", "full"])
def test_a_status_is_the_same_after_the_bus(status: NodeStatus) -> None:
    arrived = status_from(unwrapped(variant(status.as_dict())))
    assert arrived == status
    assert arrived.as_dict() == status.as_dict()
