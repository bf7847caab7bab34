"""The sections of the machine's own plugins, and what sections must not say to each other."""

from __future__ import annotations

import json
import re
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
    assert plugins.model_fields_set == set(type(plugins).model_fields) - {"privacy"}
    text = (EXAMPLES / "privacy.json").read_text()
    assert parse_document(text, "the example").plugins.model_fields_set == {"privacy"}


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
    assert problems(netmaker={}) == [
        ("plugins.netmaker", "a key that belongs here", "plugins.privacy_router.netmaker")
    ]


FLOW: dict[str, Any] = {"match_fields": {"tcp_dst": 25}, "actions": ["drop"]}


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        ("flows[0].table", [FLOW | {"table": 253}], "the number of a flow table, 0 to 252"),
        ("flows[0].priority", [FLOW | {"priority": 65536}], "a flow priority, 0 to 65535"),
        ("flows[0].actions", [FLOW | {"actions": []}], "a list of at least 1"),
        ('groups["0"]', {"0": {}}, 'the number of a group as a text, "1" to "4294967040"'),
        (
            'groups["1"].type',
            {"1": {"type": "ff", "buckets": []}},
            "'all', 'select', 'indirect' or 'fast_failover'",
        ),
        (
            'groups["1"]',
            {"1": {"type": "indirect", "buckets": []}},
            "exactly one bucket for a group of type indirect",
        ),
        (
            'groups["1"]',
            {"1": {"type": "all", "buckets": [{"actions": ["drop"], "weight": 1}]}},
            "no weight but with type select",
        ),
        (
            'groups["1"]',
            {"1": {"type": "fast_failover", "buckets": [{"actions": ["drop"]}]}},
            "a watch_port for each bucket of fast_failover",
        ),
        ('meters["1"]', {"1": {}}, "either packets_per_s or kbit_per_s"),
        ('meters["200001"]', {"200001": {}}, 'the number of a meter as a text, "1" to "200000"'),
        (
            "policies[0].selector",
            [{"name": "x", "selector": "all", "template": {"actions": ["drop"]}}],
            (
                "a selector: container:*, container:200, container:100-199 (from 100 up, the lower"
                " id first) or port: with a pattern of '*' and '?' such as port:internal_*"
            ),
        ),
        (
            "policies[0].template.actions[0]",
            [{"name": "x", "selector": "port:*", "template": {"actions": ["output:{port}"]}}],
            "{container_id} or {port_name} or {bridge}",
        ),
    ],
)
def test_each_problem_of_flows_on_a_bridge_names_its_key(
    where: str, value: Any, expected: str
) -> None:
    key = re.split(r"[.\[]", where)[0]
    found = problems(openflow={"bridges": {"vmbr0": {key: value}}})
    assert (f"plugins.openflow.bridges.vmbr0.{where}", expected) in [one[:2] for one in found]


def test_two_policies_of_a_bridge_have_two_names() -> None:
    policy = {"name": "x", "selector": "port:*", "template": {"actions": ["drop"]}}
    (found,) = problems(openflow={"bridges": {"vmbr0": {"policies": [policy, policy]}}})
    assert found[0] == "plugins.openflow.bridges.vmbr0.policies[1].name"
    assert "plugins.openflow.bridges.vmbr0.policies[0] has it" in found[1]


def test_flows_of_the_nodes_bridge_stand_in_its_own_section() -> None:
    section = {"bridges": {"ovsbr7": {"flows": [FLOW]}}}
    assert parse(openflow=section, privacy_router={"bridge_name": "ovsbr8"}).openflow is not None
    (found,) = problems(openflow=section, privacy_router={"bridge_name": "ovsbr7"})
    assert found[0] == "plugins.openflow.bridges.ovsbr7"
    assert "plugins.privacy_router.openflow" in found[1]


def test_a_text_that_is_too_large_is_not_even_read() -> None:
    with pytest.raises(ConfigError, match="8"):
        parse_document(" " * (DOCUMENT_MAX_BYTES + 1), "a test")
