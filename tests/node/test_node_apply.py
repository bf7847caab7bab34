"""One change that cannot be made does not hold up the others, unless it is what guards them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

from privacy_router.errors import MissingPrerequisiteError
from privacy_router.node.apply import Applier
from privacy_router.node.kinds.registry import KINDS, Kinds
from privacy_router.node.kinds.session import ApplyError
from privacy_router.values.items import Change, ItemValue, Key, Kind, Present

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState

GATEWAY, WARP = "pr-gateway", "pr-warp"
THERE = Present()


class Nothing:
    """A desired state without processes."""

    processes: ClassVar[dict[str, Any]] = {}


class Recorder:
    """An applier whose steps are noted down instead of made; those of `failing` keys fail."""

    def __init__(
        self, failing: dict[Key, Exception], then: Callable[[Applier], None] = lambda _: None
    ) -> None:
        self.made: list[Key] = []
        self._failing = failing
        self._then = then
        machine: Any = None
        kinds = Kinds(
            tuple(self._noting(one) for one in KINDS.of_node),
            tuple(self._noting(one) for one in KINDS.placed),
        )
        self.applier = Applier(cast("DesiredState", Nothing()), cast("NodeHost", machine), kinds)

    def _noting(self, kind: Any) -> Any:
        def apply(session: object, key: Key, before: object, after: object) -> None:
            self._step(key)

        def remove(session: object, key: Key, before: object) -> None:
            self._step(key)

        every: Any = {"keys": (Key,), "values": (ItemValue,), "apply": apply, "remove": remove}
        return replace(kind, **every, rank_within=lambda *_: 0)

    def _step(self, key: Key) -> None:
        if key in self._failing:
            raise self._failing[key]
        self.made.append(key)
        self._then(self.applier)

    def apply(self, *keys: Key) -> None:
        self.applier.apply([Change(key, None, THERE) for key in keys])


def class_of(kind: Kind) -> Callable[[str, str], Key]:
    """Keys of that kind that have any name."""

    @dataclass(frozen=True)
    class NamedKey(Key, kind=kind):
        label: str

        @property
        def name(self) -> str:
            return self.label

    return NamedKey


CLASSES = {kind: class_of(kind) for kind in Kind}


def key(kind: Kind, where: str = WARP, name: str = "one") -> Key:
    return CLASSES[kind](where, name)


def test_what_does_not_depend_on_a_failure_is_made() -> None:
    broken = key(Kind.ADDRESS, name="::1 on lo")
    rest = [key(Kind.ADDRESS), key(Kind.ROUTE), key(Kind.ROUTE, GATEWAY)]
    recorder = Recorder({broken: PermissionError(13, "Permission denied")})
    with pytest.raises(ApplyError, match=r"add address ::1 on lo in pr-warp: .*denied") as caught:
        recorder.apply(broken, *rest)
    assert recorder.made == rest
    assert caught.value.retryable


@pytest.mark.parametrize("guard", [Kind.SETTING, Kind.FIREWALL, Kind.RULE])
def test_a_namespace_that_is_not_closed_gets_nothing_to_leak(guard: Kind) -> None:
    broken = key(guard, name="broken")
    opening = [key(kind) for kind in (Kind.ADDRESS, Kind.NEIGHBOUR, Kind.ROUTE)]
    elsewhere = [key(Kind.ADDRESS, GATEWAY), key(Kind.ROUTE, GATEWAY)]
    recorder = Recorder({broken: OSError(1, "no")})
    with pytest.raises(ApplyError):
        recorder.apply(broken, *opening, *elsewhere)
    assert sorted(recorder.made) == sorted(elsewhere)


def test_what_closes_a_namespace_is_made_whatever_else_of_it_fails() -> None:
    broken = key(Kind.SETTING, name="broken")
    closing = [key(Kind.SETTING), key(Kind.FIREWALL), key(Kind.RULE)]
    recorder = Recorder({broken: OSError(1, "no")})
    with pytest.raises(ApplyError):
        recorder.apply(broken, *closing)
    assert recorder.made == closing


def test_nothing_is_tried_in_a_namespace_that_could_not_be_made() -> None:
    broken = key(Kind.NAMESPACE)
    recorder = Recorder({broken: OSError(1, "no")})
    with pytest.raises(ApplyError, match=r"^could not add namespace one in pr-warp: .*no$"):
        recorder.apply(broken, key(Kind.FIREWALL), key(Kind.ROUTE))
    assert recorder.made == []


def test_what_does_not_belong_goes_although_something_failed() -> None:
    broken, foreign = key(Kind.FIREWALL, name="broken"), key(Kind.FOREIGN)
    recorder = Recorder({broken: OSError(1, "no")})
    with pytest.raises(ApplyError):
        recorder.applier.apply([Change(broken, THERE, None), Change(foreign, THERE, None)])
    assert recorder.made == [foreign]


def test_every_failure_is_named_up_to_a_number() -> None:
    broken = [key(Kind.ROUTE, name=f"r{number}") for number in range(7)]
    recorder = Recorder(dict.fromkeys(broken, OSError(1, "no")))
    with pytest.raises(ApplyError, match=r"route r0 .*; .*route r4 .*; and 2 more") as caught:
        recorder.apply(*broken)
    assert caught.value.retryable


def test_one_failure_that_is_not_the_machines_is_told_as_it_is() -> None:
    missing = MissingPrerequisiteError("no xray", remedy="install it")
    recorder = Recorder({key(Kind.ROUTE): missing})
    with pytest.raises(MissingPrerequisiteError) as caught:
        recorder.apply(key(Kind.ROUTE))
    assert caught.value is missing


def test_told_to_stop_it_makes_no_further_change() -> None:
    first, second = key(Kind.ADDRESS), key(Kind.ROUTE)
    recorder = Recorder({}, then=Applier.stop)
    with pytest.raises(ApplyError, match="stopped"):
        recorder.apply(first, second)
    assert recorder.made == [first]
