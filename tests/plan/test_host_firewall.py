"""Other programs' firewalls: which of their chains may drop what the node needs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.hops.exit.hop import EXIT_PORT
from privacy_router.plan.host_firewall import keeps_in_chain, keeps_out_clients

PORT = 51820
DROP, REJECT = {"drop": None}, {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}
ACCEPT, COUNTER, LOG = {"accept": None}, {"counter": None}, {"log": None}


def base(hook: str, policy: str, *rules: list[Any], table: str = "filter") -> list[dict[str, Any]]:
    """A table with one base chain, as libnftables lists it."""
    chain = {"family": "ip", "table": table, "name": hook.upper(), "hook": hook, "policy": policy}
    place = {"family": "ip", "table": table, "chain": hook.upper()}
    return [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "ip", "name": table}},
        {"chain": {**chain, "type": "filter", "prio": 0}},
        *({"rule": {**place, "expr": expressions}} for expressions in rules),
    ]


def dport(right: Any, protocol: str = "udp") -> dict[str, Any]:
    left = {"payload": {"protocol": protocol, "field": "dport"}}
    return {"match": {"op": "==", "left": left, "right": right}}


def device(name: str) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": name}}


@pytest.mark.parametrize(
    ("ruleset", "expected"),
    [
        (base("input", "accept"), []),
        (base("input", "drop"), ["chain ip filter INPUT"]),
        (base("input", "accept", [COUNTER, REJECT]), ["chain ip filter INPUT"]),
        (base("input", "accept", [dport(22, "tcp"), DROP]), []),
        (base("input", "accept", [COUNTER, LOG]), []),
        (base("input", "accept", [COUNTER, LOG, DROP]), ["chain ip filter INPUT"]),
        (base("input", "accept", [COUNTER, DROP], [COUNTER]), []),
        (base("input", "drop", [dport(22, "tcp"), ACCEPT]), ["chain ip filter INPUT"]),
        (base("input", "drop", [dport(PORT), ACCEPT]), []),
        (base("input", "drop", [dport({"set": [53, PORT]}), ACCEPT]), []),
        (base("input", "drop", [dport({"range": [50000, 60000]}), ACCEPT]), []),
        (base("input", "drop", [dport({"range": [1, 1023]}), ACCEPT]), ["chain ip filter INPUT"]),
        (base("forward", "drop"), []),
        (base("input", "drop", table="privacy_router_guard_1"), []),
    ],
)
def test_what_keeps_clients_out(ruleset: Any, expected: list[str]) -> None:
    assert [str(chain) for chain in keeps_out_clients([ruleset], PORT)] == expected


@pytest.mark.parametrize(
    ("ruleset", "expected"),
    [
        (base("forward", "accept"), []),
        (base("forward", "drop", [device("docker0"), ACCEPT]), ["chain ip filter FORWARD"]),
        (base("forward", "drop", [device("pr-exit"), ACCEPT]), []),
        (base("input", "drop"), []),
    ],
)
def test_what_keeps_xray_in(ruleset: Any, expected: list[str]) -> None:
    assert [str(chain) for chain in keeps_in_chain([ruleset], EXIT_PORT)] == expected


def test_a_table_that_lets_in_does_not_open_another() -> None:
    """Each base chain has to accept a packet."""
    closed, open_ = base("input", "drop"), base("input", "accept", [dport(PORT), ACCEPT])
    assert len(keeps_out_clients([closed, open_], PORT)) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["chain", "rule", "expr", "hook", "policy", "range", "name", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.lists(json_values, max_size=5))
def test_any_listing_is_judged(ruleset: Any) -> None:
    assert keeps_out_clients([ruleset], PORT) is not None
    assert keeps_in_chain([ruleset], EXIT_PORT) is not None
