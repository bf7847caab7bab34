"""Observing and applying go by what a kind says of itself, here by a kind of this file.

Its items are lamps: each has a name and a colour, and they hang in a dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from privacy_router.node.apply import Applier
from privacy_router.node.kinds.contract import Down, PlacedKind, Role
from privacy_router.node.kinds.registry import Kinds
from privacy_router.node.kinds.session import ApplyError
from privacy_router.node.observe import observe
from privacy_router.plan.stages import in_stages
from privacy_router.values.items import HOST, Change, ItemValue, Key, Kind, diff, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Place
    from privacy_router.node.kinds.session import Session
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState


@dataclass(frozen=True)
class LampKey(Key, kind=Kind.FOREIGN):
    lamp: str

    @property
    def name(self) -> str:
        return self.lamp


@dataclass(frozen=True)
class Lamp(ItemValue):
    colour: str


HANGING: dict[tuple[str, str], str] = {}


def observe_lamps(place: Place) -> Iterator[tuple[LampKey, Lamp]]:
    for (where, lamp), colour in HANGING.items():
        if where == place.where:
            yield LampKey(where, lamp), Lamp(colour)


def apply(session: Session, key: LampKey, before: Lamp | None, after: Lamp) -> None:
    if after.colour == "no such colour":
        raise OSError(22, "Invalid argument")
    HANGING[key.where, key.lamp] = after.colour


def remove(session: Session, key: LampKey, before: Lamp) -> None:
    del HANGING[key.where, key.lamp]


LAMPS = PlacedKind(
    kind=Kind.FOREIGN,
    domain="net",
    role=Role.OPENS,
    down=Down.WITH_NAMESPACE,
    keys=(LampKey,),
    values=(Lamp,),
    observe=observe_lamps,
    apply=apply,
    remove=remove,
    knows_own=True,
)

ONLY_LAMPS = Kinds(of_node=(), placed=(LAMPS,))
MACHINE = cast("NodeHost", None)


def state(items: Items) -> DesiredState:
    return cast("DesiredState", SimpleNamespace(items=items, processes={}))


Items = dict[Key, ItemValue]
GREEN: Items = {LampKey(HOST, "a"): Lamp("green"), LampKey(HOST, "b"): Lamp("green")}


@pytest.fixture(autouse=True)
def _nothing_hangs() -> None:
    HANGING.clear()


def changes(desired: Items, kinds: Kinds = ONLY_LAMPS) -> list[Change]:
    return diff(desired, observe(state(desired), MACHINE, kinds))


def converge(desired: Items, kinds: Kinds = ONLY_LAMPS) -> None:
    Applier(state(desired), MACHINE, kinds).apply(changes(desired, kinds))


def test_it_is_added_read_back_and_changed() -> None:
    assert [change.verb for change in changes(GREEN)] == ["add", "add"]
    converge(GREEN)
    assert changes(GREEN) == []
    red: Items = {**GREEN, LampKey(HOST, "b"): Lamp("red")}
    assert [(change.verb, change.key.name) for change in changes(red)] == [("change", "b")]
    converge(red)
    assert HANGING == {(HOST, "a"): "green", (HOST, "b"): "red"}


def test_drift_is_seen_and_what_is_not_wanted_goes() -> None:
    converge(GREEN)
    HANGING[HOST, "a"] = "red"
    HANGING[HOST, "c"] = "blue"
    assert [(c.verb, c.key.name) for c in changes(GREEN)] == [("remove", "c"), ("change", "a")]
    converge(GREEN)
    assert changes(GREEN) == []


def test_a_failure_names_it_and_holds_up_no_other() -> None:
    wanted: Items = {LampKey(HOST, "a"): Lamp("no such colour"), LampKey(HOST, "b"): Lamp("red")}
    with pytest.raises(ApplyError, match=r"could not add foreign a in host: .*Invalid argument"):
        converge(wanted)
    assert HANGING == {(HOST, "b"): "red"}


def test_of_the_hosts_only_what_is_desired_counts_unless_the_kind_knows_its_own() -> None:
    HANGING[HOST, "theirs"] = "blue"
    kinds = Kinds((), (replace(LAMPS, knows_own=False),))
    assert changes({}, kinds) == []
    assert [change.key.name for change in changes(GREEN, kinds)] == ["a", "b"]


def test_it_is_told_of_as_any_other() -> None:
    assert summary(changes(GREEN)) == "foreign a (host), b (host)"
    assert ONLY_LAMPS.domains[Kind.FOREIGN] == "net"
    assert Lamp("green").plain() == {"colour": "green"}


def test_in_a_change_of_the_chain_it_is_changed_with_the_tunnel_closed() -> None:
    stages = in_stages(changes(GREEN))
    assert (len(stages.during), stages.before, stages.after) == (2, (), ())
