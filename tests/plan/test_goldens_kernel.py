"""nftables reads a golden's nft.txt as the ruleset that the node applies: the text leaves nothing
out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from privacy_router.host import namespaces, nftables
from privacy_router.values.rulesets import RulesetValue
from tests.plan.goldens import cases, node_of, rulesets_of
from tests.plan.nft_text import ruleset_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

NAMESPACE = f"pr-test-nft-{os.getpid()}"


@pytest.fixture(scope="module")
def namespace() -> Iterator[Path]:
    namespaces.create(NAMESPACE, lambda: None)
    yield namespaces.path_of(NAMESPACE)
    namespaces.delete(NAMESPACE)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_nftables_reads_the_text_as_the_ruleset(case: Path, namespace: Path) -> None:
    for key, objects in rulesets_of(node_of(case)).items():
        nftables.load(namespace, ruleset_text(key.name, objects))
        of_text = nftables.read(namespace, key.name)
        nftables.apply(namespace, key.name, objects)
        of_json = nftables.read(namespace, key.name)
        assert RulesetValue.of(of_text) == RulesetValue.of(of_json)
        assert RulesetValue.of(of_json) == RulesetValue.of(objects)
        nftables.delete(namespace, key.name)
