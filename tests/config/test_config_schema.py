"""The JSON Schema says the same as the models."""

from __future__ import annotations

import json
from typing import Any

import pytest

from privacy_router.config import json_schema


def resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follow references and drop the `null` alternative."""
    while True:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        elif "anyOf" in node and any(one.get("type") == "null" for one in node["anyOf"]):
            node = next(one for one in node["anyOf"] if one.get("type") != "null")
        else:
            return node


def unknown_keys(schema: dict[str, Any], node: dict[str, Any], value: Any, path: str) -> list[str]:
    """Paths of a JSON value that the schema does not have."""
    node = resolve(schema, node)
    if isinstance(value, list):
        return [
            bad
            for i, entry in enumerate(value)
            for bad in unknown_keys(schema, node["items"], entry, f"{path}[{i}]")
        ]
    if not isinstance(value, dict) or "properties" not in node:
        return []
    bad = [f"{path}.{key}" for key in value if key not in node["properties"]]
    for key, inner in value.items():
        if key in node["properties"]:
            bad += unknown_keys(schema, node["properties"][key], inner, f"{path}.{key}")
    return bad


def test_the_schema_knows_every_key_of_the_seed(seed_text: str) -> None:
    schema = json_schema()
    assert unknown_keys(schema, schema, json.loads(seed_text), "") == []


def test_the_schema_names_its_draft_and_is_stable() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "Privacy Router node"
    assert list(schema)[:3] == ["$schema", "title", "description"]
    assert json.dumps(schema) == json.dumps(json_schema())


def test_the_schema_refuses_other_keys_and_describes_its_own() -> None:
    schema = json_schema()
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is False
        for name, field in part["properties"].items():
            assert field["description"].endswith("."), name
            assert "title" not in field


@pytest.mark.parametrize(
    ("section", "key", "expected"),
    [
        ("WireGuardConfig", "listen_port", {"minimum": 1, "maximum": 65535, "default": 51820}),
        ("OpenFlowConfig", "obfuscation_level", {"minimum": 0, "maximum": 3, "default": 2}),
        ("PrivacyRouterConfig", "datapath", {"enum": ["auto", "system", "netdev"]}),
        ("PrivacyRouterConfig", "transit_subnet", {"default": "10.102.0.0/24"}),
        ("WarpConfig", "wgcf_config", {"default": None}),
    ],
)
def test_the_schema_tells_ranges_and_defaults(
    section: str, key: str, expected: dict[str, Any]
) -> None:
    field = json_schema()["$defs"][section]["properties"][key]
    assert expected.items() <= field.items()
