"""Which of the bridge's ports are containers', as rows of the database come and go."""

from __future__ import annotations

from typing import Any

import pytest

from privacy_router.pipeline.mesh import Mesh
from privacy_router.values.bridges import PortRow
from tests.pipeline.compiled_pipelines import HOP_SETS, MESH, SEED_SECTIONS, compiled

MAC = "02:00:00:00:02:00"
CONFIG = compiled(**SEED_SECTIONS, **MESH).config


def row(name: str, **given: Any) -> PortRow:
    usual = {"kind": "internal", "mac": None, "ofport": 9, "error": None, "mac_in_use": MAC}
    return PortRow(name, **{**usual, **given})


def test_a_port_of_ours_has_the_address_of_its_id() -> None:
    mesh = Mesh(CONFIG)
    assert mesh.put(row("internal_1000"), None) == {"internal_1000"}
    port = mesh.ports["internal_1000"]
    assert (str(port.v4), str(port.v6)) == ("10.103.3.232", "fd70:7276:6174:3::3e8")
    assert (port.mac, port.ofport, port.container_id) == (MAC, 9, 1000)
    assert mesh.put(row("internal_1000"), None) == set()
    assert mesh.remove("internal_1000") == {"internal_1000"}
    assert mesh.remove("internal_1000") == set()


def test_the_way_into_the_mesh_has_the_first_address() -> None:
    mesh = Mesh(CONFIG)
    mesh.put(row("nm-privacy"), None)
    assert str(mesh.ports["nm-privacy"].v4) == "10.103.0.1"
    assert mesh.ports["nm-privacy"].container_id is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (row("eth0"), "neither a hop's port nor a container's"),
        (row("veth100i0", attached_mac=MAC), "the id of a hop"),
        (row("internal_70000"), "no address for the id 70000"),
        (row("veth200i0", kind=""), "MAC of the container is not known"),
        (row("fwln200o0"), "MAC of the container is not known"),
        (row("internal_200", mac_in_use=None), "MAC of the container is not known"),
        (row("internal_200", ofport=-1, error="no such device"), "no such device"),
    ],
)
def test_what_is_no_container_or_not_enough_is_left_out_with_a_reason(
    given: PortRow, reason: str
) -> None:
    mesh = Mesh(CONFIG)
    assert mesh.put(given, None) == set()
    assert reason in mesh.left_out[given.name]


@pytest.mark.parametrize("name", ["ovsbr0", "warp0", "internal_100", "internal_101"])
def test_the_nodes_own_ports_are_none_of_the_meshs(name: str) -> None:
    mesh = Mesh(CONFIG)
    assert mesh.put(row(name), None) == set()
    assert (mesh.ports, mesh.left_out) == ({}, {})


@pytest.mark.parametrize("now", HOP_SETS)
@pytest.mark.parametrize("before", HOP_SETS)
def test_a_hops_port_is_no_stranger_and_no_container_in_any_chain(before: str, now: str) -> None:
    """While the chain changes the bridge has ports of hops that the new chain is without, and
    without WARP it has the host's exit."""
    mesh = Mesh(compiled(**HOP_SETS[now], **MESH).config)
    for station in compiled(**HOP_SETS[before], **MESH).segment.stations:
        assert mesh.put(row(station.port, ours=True), None) == set()
    assert (mesh.ports, mesh.left_out) == ({}, {})


def test_a_port_without_a_number_is_waited_for() -> None:
    mesh = Mesh(CONFIG)
    assert mesh.put(row("internal_200", ofport=None), None) == set()
    assert mesh.left_out == {}
    assert mesh.put(row("internal_200"), None) == {"internal_200"}


@pytest.mark.parametrize(
    "given",
    [
        row("veth200i0", kind="", attached_mac=MAC),
        row("internal_200", mac=MAC, mac_in_use="02:00:00:00:00:99"),
        row("internal_200", attached_mac=MAC, mac_in_use="02:00:00:00:00:99"),
    ],
    ids=["attached", "asked for", "attached to an internal port"],
)
def test_the_mac_is_that_of_whoever_is_behind_the_port(given: PortRow) -> None:
    mesh = Mesh(CONFIG)
    mesh.put(given, None)
    assert mesh.ports[given.name].mac == MAC


def test_a_mac_from_proxmox_counts_before_all() -> None:
    mesh = Mesh(CONFIG)
    mesh.put(row("fwln200o0"), MAC)
    assert mesh.ports["fwln200o0"].mac == MAC


def test_of_two_ports_of_one_container_the_first_network_is_served() -> None:
    mesh = Mesh(CONFIG)
    second, first = (row(f"veth200i{n}", attached_mac=MAC, kind="") for n in (1, 0))
    assert mesh.put(second, None) == {"veth200i1"}
    assert mesh.put(first, None) == {"veth200i0", "veth200i1"}
    assert set(mesh.ports) == {"veth200i0"}
    assert "served by veth200i0" in mesh.left_out["veth200i1"]
    assert mesh.remove("veth200i0") == {"veth200i0", "veth200i1"}
    assert set(mesh.ports) == {"veth200i1"}
    assert mesh.left_out == {}


def test_a_port_that_can_no_longer_be_served_is_taken_away() -> None:
    mesh = Mesh(CONFIG)
    mesh.put(row("internal_200"), None)
    assert mesh.put(row("internal_200", ofport=-1, error="gone"), None) == {"internal_200"}
    assert mesh.ports == {}
    assert "gone" in mesh.left_out["internal_200"]
