"""The sections of the machine's own plugins, and what sections must not say to each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from privacy_router.config import ConfigError, parse_document
from privacy_router.config.syntax import DOCUMENT_MAX_BYTES

EXAMPLES = Path(__file__).parents[2] / "examples"


def parse(**plugins: Any) -> Any:
    return parse_document(json.dumps({"version": 1, "plugins": plugins}), "a test").plugins


def problems(**plugins: Any) -> list[tuple[str, str, str | None]]:
    with pytest.raises(ConfigError) as caught:
        parse(**plugins)
    return [(one.path, one.expected, one.nearest) for one in caught.value.problems]


def test_the_example_has_one_of_each() -> None:
    text = (EXAMPLES / "machine.json").read_text()
    plugins = parse_document(text, "the example").plugins
    assert plugins.model_fields_set == set(type(plugins).model_fields)


def test_a_document_may_declare_nothing() -> None:
    plugins = parse()
    assert {getattr(plugins, name) for name in type(plugins).model_fields} == {None}


def test_a_node_is_asked_for_where_there_is_none() -> None:
    document = parse_document('{"version": 1, "plugins": {}}', "a test")
    with pytest.raises(ConfigError, match=r"plugins\.privacy_router: found nothing"):
        _ = document.config


def test_a_typing_error_below_a_name_is_found() -> None:
    found = problems(systemd={"units": {"a.service": {"actve": True}}})
    path = 'plugins.systemd.units["a.service"].actve'
    assert found == [(path, "a key that belongs here", "active")]


def test_a_key_that_is_missing_below_a_name_is_described() -> None:
    ((path, expected, _),) = problems(pcidecl={"devices": {"0000:00:03.0": {"vendor": "0x8086"}}})
    assert path == 'plugins.pcidecl.devices["0000:00:03.0"].device'
    assert expected.startswith("this key: ")


def test_the_nodes_own_bridge_and_ports_are_nobody_elses() -> None:
    found = problems(
        privacy_router={"bridge_name": "ovsbr9"},
        net={"bridges": {"ovsbr9": {}}, "interfaces": {"warp0": {"up": False}, "eth0": {}}},
    )
    assert [path for path, _, _ in found] == [
        "plugins.net.bridges.ovsbr9",
        "plugins.net.interfaces.warp0",
    ]


def test_the_nodes_own_devices_are_of_the_node_in_every_place() -> None:
    uplink = {"uplink": "wgcf", "ports": {"warp0": {}, "mgmt0": {}}}
    route = {"to": "203.0.113.0/24", "dev": "internal_100"}
    found = problems(
        privacy_router={},
        net={"bridges": {"wg100": {}, "vmbr0": uplink}, "routes": [route]},
    )
    assert [path for path, _, _ in found] == [
        "plugins.net.bridges.wg100",
        "plugins.net.bridges.vmbr0.ports.warp0",
        "plugins.net.bridges.vmbr0.uplink",
        "plugins.net.routes[0].dev",
    ]


def test_a_part_of_the_node_is_no_section_of_its_own() -> None:
    assert problems(openflow={}) == [
        ("plugins.openflow", "a key that belongs here", "plugins.privacy_router.openflow")
    ]


def test_a_text_that_is_too_large_is_not_even_read() -> None:
    with pytest.raises(ConfigError, match="8"):
        parse_document(" " * (DOCUMENT_MAX_BYTES + 1), "a test")
