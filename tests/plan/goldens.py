"""A compiled node as files that a reviewer can read (`make goldens` writes them).

For each configuration in tests/golden/node/<case>/config.json:

* items.txt: what is compared with the machine, in the order in which it comes into being
* nft.txt: the rulesets of each namespace, as nft(8) writes them
* flows.txt: flows and meters of the bridge
* processes.txt: what runs, with which rights, and XRay's settings
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy_router.config import parse_document
from privacy_router.openflow.text import format_instructions, format_match
from privacy_router.pipeline.mesh import expected_ports
from privacy_router.pipeline.tables import name_of, number_of
from privacy_router.plan.compile import compile_node
from privacy_router.values.bridges import SwitchValue
from privacy_router.values.items import ItemValue, Kind
from privacy_router.values.rulesets import RulesetValue
from privacy_router.values.wireguard import SecretTag
from tests.plan.nft_text import ruleset_text
from tests.plan.node_keys import FACTS, KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.items import Key
    from privacy_router.values.processes import ProcessSpec
    from privacy_router.values.rulesets import Ruleset

CASES = Path(__file__).parents[1] / "golden/node"


def cases() -> list[Path]:
    """The directory of each configuration."""
    return sorted(path.parent for path in CASES.glob("*/config.json"))


def config_of(case: Path) -> PrivacyRouterConfig:
    """A case's configuration. Raises ConfigurationError."""
    text = (case / "config.json").read_text(encoding="utf-8")
    return parse_document(text, case.name).config


def node_of(case: Path) -> DesiredState:
    """A case's node, of keys and facts that are always the same."""
    return compile_node(config_of(case), KEYS, FACTS)


def texts_of(case: Path) -> dict[str, str]:
    """What is to be in which file of the case."""
    node = node_of(case)
    return {
        "items.txt": _lines(_items(node)),
        "nft.txt": "\n".join(_rulesets(node)),
        "flows.txt": _lines(_flows(node)),
        "processes.txt": _lines(_processes(node)),
    }


def rulesets_of(node: DesiredState) -> dict[Key, Ruleset]:
    """The rulesets of a node by their items."""
    return {
        key: value.objects
        for key, value in sorted(node.items.items(), key=lambda item: item[0])
        if isinstance(value, RulesetValue)
    }


def _lines(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _items(node: DesiredState) -> Iterator[str]:
    place = None
    for key, value in sorted(node.items.items(), key=lambda item: item[0]):
        if (key.kind, key.where) != place:
            place = (key.kind, key.where)
            yield f"{key.kind.name.lower()} in {key.where}"
        text = f"    {key.name}"
        yield text if _is_told_elsewhere(key) else f"{text} = {_value(value)}"


def _is_told_elsewhere(key: Key) -> bool:
    return key.kind in (Kind.FIREWALL, Kind.PROCESS)


def _value(value: Any) -> str:
    """A value with everything that is not at its default."""
    if isinstance(value, SecretTag):
        return "none" if value == SecretTag.of(None) else "secret"
    if isinstance(value, SwitchValue):
        return _value(value.value)
    if isinstance(value, ItemValue) and not isinstance(value.plain(), dict):
        return _value(value.plain())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__name__}({', '.join(_fields(value))})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_value(v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, (frozenset, set)):
        return "{" + ", ".join(sorted(map(_value, value))) + "}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(_value, value)) + ")"
    return str(value)


def _fields(value: Any) -> Iterator[str]:
    for one in dataclasses.fields(value):
        content = getattr(value, one.name)
        if content != one.default:
            yield f"{one.name}={_value(content)}"


def _rulesets(node: DesiredState) -> Iterator[str]:
    for key, objects in rulesets_of(node).items():
        yield f"# in {key.where}\n{ruleset_text(key.name, objects)}"


def _flows(node: DesiredState) -> Iterator[str]:
    program = node.pipeline.compile(expected_ports(node.pipeline.config))
    for rate in program.rates:
        yield f"meter {rate.meter_id}: {rate.packets_per_s} packets/s; {rate.reason}"
    names = {port.ofport: port.port for port in node.pipeline.segment.stations}
    table = None
    for flow in sorted(program.flows, key=lambda f: (number_of(f.table), -f.priority, f.key)):
        if flow.table != table:
            table = flow.table
            yield f"table {table}"
        match = format_match(flow.match, names.get) or "any"
        actions = format_instructions(flow.instructions, names.get, name_of)
        cookie = f"cookie={flow.cookie:#x}"
        yield f"    {flow.priority} {match} actions={actions} {cookie}  # {flow.reason}"


def _processes(node: DesiredState) -> Iterator[str]:
    for spec in node.processes.values():
        yield from _process(spec)


def _process(spec: ProcessSpec) -> Iterator[str]:
    """Without the places of this checkout, which `readable` and XRay's command begin with."""
    program, *arguments = spec.argv
    yield spec.name
    yield f"    argv {' '.join([Path(program).name, *arguments])}"
    yield f"    namespace {spec.namespace or 'the host, until its device is moved'}"
    for name, value in sorted(spec.env.items()):
        yield f"    env {name}={value}"
    for one in dataclasses.fields(spec.confinement):
        if one.name != "readable" and (content := getattr(spec.confinement, one.name)):
            yield f"    {one.name} {' '.join(map(str, content))}"
    if spec.inputs:
        settings = json.dumps(json.loads(spec.inputs), indent=2)
        yield from (f"    {line}" for line in settings.splitlines())


def main() -> None:
    """Write every file anew."""
    for case in cases():
        for name, text in texts_of(case).items():
            (case / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
