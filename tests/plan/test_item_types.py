"""Every item of a plan is of the types that its kind says, which an applier insists on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.node.kinds.registry import KINDS
from privacy_router.plan.compile import compile_node
from tests.plan.hop_sets import HOP_SETS, config_of

if TYPE_CHECKING:
    from privacy_router.hops.keys import NodeFacts, NodeKeys


@pytest.mark.parametrize("hops", HOP_SETS)
def test_every_item_is_of_the_types_of_its_kind(
    hops: str, keys: NodeKeys, facts: NodeFacts
) -> None:
    for key, value in compile_node(config_of(**HOP_SETS[hops]), keys, facts).items.items():
        kind: Any = KINDS.by_kind[key.kind]
        assert isinstance(key, kind.keys)
        assert isinstance(value, kind.values)
