"""What systemd is told about a process: the properties of its transient unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from privacy_router.host import units
from privacy_router.values.confinement import Capability, Confinement
from privacy_router.values.processes import ProcessSpec

LOG = Path("/run/privacy-router/log/xray.log")
ENVIRONMENT = {"PATH": "/usr/bin", "PRIVACY_ROUTER_PROCESS": "xray"}


def told(spec: ProcessSpec, name: str, program: str = "/usr/bin/program") -> Any:
    """The value of a property, or None."""
    made = units.properties(spec, program, ENVIRONMENT, LOG)
    values = [value for key, _, value in made if key == name]
    assert len(values) <= 1, f"{name} is given twice"
    return values[0] if values else None


def confined(**what: Any) -> ProcessSpec:
    return ProcessSpec("xray", ("program", "--flag"), confinement=Confinement(**what))


def test_the_process_is_the_one_that_was_asked_for() -> None:
    spec = confined()
    assert told(spec, "ExecStart") == [["/usr/bin/program", ["program", "--flag"], False]]
    assert told(spec, "Environment") == ["PATH=/usr/bin", "PRIVACY_ROUTER_PROCESS=xray"]
    assert told(spec, "StandardOutputFileToAppend") == str(LOG)
    assert told(spec, "StandardErrorFileToAppend") == str(LOG)
    assert told(spec, "NetworkNamespacePath") is None


def test_a_namespace_is_entered_by_systemd() -> None:
    spec = ProcessSpec("xray", ("program",), namespace=Path("/run/netns/pr-xray"))
    assert told(spec, "NetworkNamespacePath") == "/run/netns/pr-xray"


def test_without_a_declaration_nothing_is_allowed() -> None:
    spec = confined()
    assert told(spec, "CapabilityBoundingSet") == 0
    assert told(spec, "RestrictAddressFamilies") == [True, ["AF_UNIX"]]
    assert told(spec, "PrivateDevices") is True
    for name in ("DeviceAllow", "ReadWritePaths", "BindPaths", "BindReadOnlyPaths"):
        assert told(spec, name) is None
    for name in ("NoNewPrivileges", "PrivateTmp", "MemoryDenyWriteExecute", "LockPersonality"):
        assert told(spec, name) is True
    assert told(spec, "ProtectSystem") == "strict"
    assert told(spec, "RestrictNamespaces") == 0


def test_capabilities_are_bits_of_the_kernels_numbers() -> None:
    spec = confined(capabilities=(Capability.NET_ADMIN, Capability.NET_RAW))
    assert told(spec, "CapabilityBoundingSet") == 1 << 12 | 1 << 13


def test_devices_are_opened_one_by_one() -> None:
    spec = confined(devices=("/dev/net/tun",))
    assert told(spec, "DeviceAllow") == [["/dev/net/tun", "rw"]]
    assert told(spec, "PrivateDevices") is False  # its /dev would not have the device
    assert told(spec, "DevicePolicy") == "closed"


def test_what_lies_where_the_unit_sees_nothing_is_brought_in() -> None:
    spec = confined(writable=("/run/node/ovs", "/srv/node"), readable=("/root/checkout", "/opt/x"))
    assert told(spec, "BindPaths") == [["/run/node/ovs", "/run/node/ovs", False, 0]]
    assert told(spec, "ReadWritePaths") == ["/srv/node"]
    assert told(spec, "BindReadOnlyPaths") == [["/root/checkout", "/root/checkout", False, 0]]


def test_a_program_in_somebodys_home_is_brought_in() -> None:
    brought = told(confined(), "BindReadOnlyPaths", program="/home/somebody/bin/program")
    assert [source for source, *_ in brought] == ["/home/somebody/bin/program"]


@pytest.mark.parametrize("name", ["BindPaths", "BindReadOnlyPaths"])
def test_no_list_is_empty(name: str) -> None:
    # to systemd an empty list of one of these two means to forget what the other said
    both = confined(writable=("/run/node",))
    assert told(both, name) != []


def test_systemd_neither_restarts_a_unit_nor_keeps_a_dead_one() -> None:
    assert told(confined(), "CollectMode") == "inactive-or-failed"
    assert told(confined(), "Restart") is None


def test_units_of_several_nodes_have_different_names() -> None:
    assert units.name_of("xray", "/run/privacy-router") == "privacy-router-xray.service"
    names = {units.name_of("xray", owner) for owner in ("/run/a", "/run/b", "/run/privacy-router")}
    assert len(names) == 3


def test_another_confinement_makes_a_running_process_outdated() -> None:
    assert confined().fingerprint != confined(devices=("/dev/net/tun",)).fingerprint


def test_a_secret_input_is_not_told() -> None:
    spec = ProcessSpec("xray", ("program",), inputs=b"hunter2")
    assert "hunter2" not in repr(units.properties(spec, "/usr/bin/program", ENVIRONMENT, LOG))
