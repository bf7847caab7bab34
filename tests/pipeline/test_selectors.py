"""Which ports a policy is for, and what its template says of one of them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.config import FlowPolicy
from privacy_router.pipeline.notation import FlowRefusedError
from privacy_router.pipeline.selectors import (
    container_of,
    fill,
    network_index_of,
    selects,
)


def policy(*actions: str, selector: str = "container:*", **template: Any) -> FlowPolicy:
    body = {"actions": actions or ("drop",), **template}
    return FlowPolicy.model_validate({"name": "one", "selector": selector, "template": body})


@pytest.mark.parametrize(
    ("port", "container_id", "index"),
    [
        ("internal_100", 100, None),
        ("internal_999999", 999999, None),
        ("veth200i0", 200, 0),
        ("veth999999999i9", 999999999, 9),
        ("veth100i31", 100, 31),
        *(
            (port, None, None)
            for port in (
                *("internal_99", "internal_0100", "internal_1000000000", "internal_", "internal_x"),
                *("internal_100 ", "Internal_100", "xinternal_100", "internal_100i0"),
                *("veth100", "veth100i", "veth100i00", "veth99i0", "veth100i100", "fwpr100p0"),
                *("warp0", "nm-privacy", "", "internal_١٠٠", "internal_100\n"),
            )
        ),
    ],
)
def test_ports_tell_their_container(port: str, container_id: int | None, index: int | None) -> None:
    assert container_of(port) == container_id
    assert network_index_of(port) == index


@pytest.mark.parametrize(
    ("selector", "selected", "others"),
    [
        ("container:*", ["internal_100", "veth999999999i0"], ["warp0", "internal_99", "veth1i0"]),
        ("container:200", ["internal_200", "veth200i0", "veth200i1"], ["internal_201"]),
        (
            "container:100-199",
            ["internal_100", "internal_199", "veth150i0"],
            ["internal_200", "internal_1000", "port"],
        ),
        ("port:internal_*", ["internal_100", "internal_", "internal_x"], ["xinternal_1", "int"]),
        ("port:internal_?0?", ["internal_100", "internal_909"], ["internal_110", "internal_10"]),
        ("port:*", ["warp0", "internal_100", "a[b]{c}"], []),
        ("port:a[b]*", ["a[b]c"], ["ab", "abc"]),
        ("port:warp0", ["warp0"], ["warp00", "WARP0", "warp0\n"]),
        ("port:w.rp+", ["w.rp+"], ["warp0", "w.rpp"]),
    ],
)
def test_selectors_select(selector: str, selected: list[str], others: list[str]) -> None:
    assert [selects(selector, port) for port in selected] == [True] * len(selected)
    assert [selects(selector, port) for port in others] == [False] * len(others)


@pytest.mark.parametrize("selector", ["", "container:", "container:99", "container:2-1", "port:"])
def test_other_words_are_no_selectors(selector: str) -> None:
    with pytest.raises(ValueError, match="not"):
        selects(selector, "internal_100")


@given(st.text("ab[]!-*?", min_size=1, max_size=8), st.text("ab[]!-", max_size=8))
def test_patterns_have_two_wild_characters_only(pattern: str, name: str) -> None:
    assert selects(f"port:{pattern}", name) == fnmatchcase(name, pattern.replace("[", "[[]"))


@given(st.integers(100, 999999), st.integers(100, 999999), st.integers(100, 999999))
def test_ranges_have_both_ends(first: int, last: int, container_id: int) -> None:
    first, last = min(first, last), max(first, last)
    for port in (f"internal_{container_id}", f"veth{container_id}i0"):
        found = selects(f"container:{first}-{last}", port)
        assert found == (first <= container_id <= last)


def test_a_template_is_filled_in() -> None:
    given = policy(
        "output:{port_name}",
        priority=70,
        match_fields={"nw_dst": "10.0.0.{container_id}", "tcp_dst": 80},
        description="{bridge}: {port_name} is container {container_id}",
    )
    found = fill(given, port_name="veth200i0", bridge="vmbr0")
    assert found.name == "one"
    assert found.priority == 70
    assert found.match_fields == {"nw_dst": "10.0.0.200", "tcp_dst": 80}
    assert found.actions == ("output:veth200i0",)
    assert found.description == "vmbr0: veth200i0 is container 200"


@pytest.mark.parametrize(
    ("actions", "fields", "in_port"),
    [
        (["drop"], {}, "internal_200"),
        (["output:warp0"], {"tcp_dst": 25}, "internal_200"),
        (["output:internal_200"], {}, "internal_200"),
        (["drop"], {"in_port": "warp0"}, "warp0"),
        (["output:warp0"], {"in_port": "{port_name}"}, "internal_200"),
        (["output:{port_name}"], {}, None),
        (["dec_ttl", "output:{port_name}"], {"in_port": "warp0"}, "warp0"),
    ],
)
def test_a_template_that_does_not_say_so_is_about_what_the_port_sends(
    actions: list[str], fields: dict[str, str | int], in_port: str | None
) -> None:
    found = fill(policy(*actions, match_fields=fields), port_name="internal_200", bridge="b")
    assert found.match_fields.get("in_port") == in_port
    assert set(found.match_fields) - {"in_port"} == set(fields) - {"in_port"}


def test_what_is_filled_in_is_not_filled_again() -> None:
    found = fill(policy(description="{port_name}"), port_name="{bridge}", bridge="b")
    assert found.description == "{bridge}"


def test_a_port_without_container_cannot_stand_for_one() -> None:
    given = policy(selector="port:*", description="{container_id}")
    with pytest.raises(FlowRefusedError, match="the port warp0, which is not a container's") as bad:
        fill(given, port_name="warp0", bridge="ovsbr0")
    assert "container:*" in bad.value.remedy
