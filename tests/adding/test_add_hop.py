"""The list "Add a hop" of CONTRIBUTING.md, followed to the letter with the relay of tests/plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.adding.checkout import ROOT, Checkout, files_of_list

if TYPE_CHECKING:
    from pathlib import Path

SECTION: Final = """class RelayConfig(Section):
    \"\"\"A hop that hands packets on.\"\"\"

    enabled: kind.Flag = Field(False, description="Whether the chain passes through the relay.")


class WarpConfig(Section):
"""
FIELD: Final = """    relay: RelayConfig = Field(
        default_factory=RelayConfig, description="The relay."
    )
    warp: WarpConfig = Field(
"""
WALK: Final = """
import json
from privacy_router.config import parse_document
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.keys import NodeFacts, NodeKeys
from privacy_router.plan.compile import compile_node
from privacy_router.values.items import Kind
section = {"relay": {"enabled": True}}
text = json.dumps({"version": 1, "plugins": {"privacy_router": section}})
config = parse_document(text, "test").config
facts = NodeFacts("netdev", False, True, "/run/privacy-router")
state = compile_node(config, NodeKeys(None, None, None, ()), facts)
assert config.chain_hops == tuple(one.hop for one in state.pipeline.segment.stations)
print(*config.chain_hops)
print(sum(key.kind is Kind.FIREWALL and key.where == "pr-relay" for key in state.items))
print("pr-relay" in CATALOGUE.namespaces)
"""


def relay() -> dict[str, str]:
    """The hop and its rules as modules of the package, wanted where the document says so."""
    hop, rules = ((ROOT / f"tests/plan/relay_{name}.py").read_text() for name in ("hop", "rules"))
    for old, new in (
        ("from tests.plan.relay_rules import ", "from privacy_router.hops.relay.firewall import "),
        ("is_wanted(self, _: ", "is_wanted(self, config: "),
        ("return True\n", "return config.relay.enabled\n"),
    ):
        assert hop.count(old) == 1, old
        hop = hop.replace(old, new)
    return {"hop": hop, "firewall": rules}


def followed(directory: Path) -> Checkout:
    """A checkout after the list."""
    checkout = Checkout(directory)
    source = "src/privacy_router"
    for name, text in relay().items():
        checkout.add(f"{source}/hops/relay/{name}.py", text)
    catalogue = f"{source}/hops/catalogue.py"
    imports = "from privacy_router.hops.relay.hop import Relay\n"
    first = "from privacy_router.hops.warp.hop import Warp\n"
    checkout.edit(catalogue, first, imports + first)
    checkout.edit(catalogue, "(Gateway(), Warp()", "(Gateway(), Relay(), Warp()")
    models = f"{source}/config/models.py"
    checkout.edit(f"{source}/config/sections.py", "class WarpConfig(Section):\n", SECTION)
    checkout.edit(
        models,
        "    OpenFlowConfig,\n    Section,",
        "    OpenFlowConfig,\n    RelayConfig,\n    Section,",
    )
    checkout.edit(models, "    warp: WarpConfig = Field(\n", FIELD)
    checkout.edit(models, 'Literal["gateway", "warp"', 'Literal["gateway", "relay", "warp"')
    row = '            "warp": (self.warp.enabled'
    checkout.edit(models, row, '            "relay": (self.relay.enabled, "relay0"),\n' + row)
    return checkout


def test_a_hop_that_follows_the_list_is_in_the_chain(tmp_path: Path) -> None:
    done = followed(tmp_path).python(WALK)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["gateway relay warp", "1", "True"]


def test_the_list_names_each_file_to_touch(tmp_path: Path) -> None:
    named = {name.replace("<hop>", "relay") for name in files_of_list("a hop")}
    assert followed(tmp_path).touched <= named


def test_a_number_of_another_hop_is_refused(tmp_path: Path) -> None:
    """Its packets would take the other's way while the chain changes."""
    checkout = followed(tmp_path)
    path = "src/privacy_router/hops/relay/hop.py"
    checkout.edit(path, 'Role("relay", 5', 'Role("relay", 3')
    done = checkout.python(WALK)
    assert done.returncode != 0
    assert "more than one hop has 3" in done.stderr


def test_a_hop_without_a_port_is_refused(tmp_path: Path) -> None:
    checkout = followed(tmp_path)
    checkout.edit("src/privacy_router/hops/relay/hop.py", "def port(", "def its_port(")
    done = checkout.python(WALK)
    assert done.returncode != 0
    assert "abstract" in done.stderr
