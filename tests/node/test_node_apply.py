"""One change that cannot be made does not hold up the others, unless it is what guards them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

from privacy_router.errors import MissingPrerequisiteError
from privacy_router.node.apply import Applier, ApplyError
from privacy_router.values.items import Change, Key, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState

GATEWAY, WARP = "pr-gateway", "pr-warp"
STEPS = {
    Kind.NAMESPACE: "_namespace",
    Kind.SETTING: "_setting",
    Kind.FIREWALL: "_firewall",
    Kind.RULE: "_rule",
    Kind.ADDRESS: "_address",
    Kind.NEIGHBOUR: "_neighbour",
    Kind.ROUTE: "_route",
    Kind.FOREIGN: "_foreign",
}


class Nothing:
    """A desired state without processes."""

    processes: ClassVar[dict[str, Any]] = {}


class Recorder:
    """An applier whose steps are noted down instead of made; those of `failing` keys fail."""

    def __init__(self, failing: dict[Key, Exception]) -> None:
        self.made: list[Key] = []
        self._failing = failing
        machine: Any = None
        self.applier = Applier(cast("DesiredState", Nothing()), cast("NodeHost", machine))
        for name in STEPS.values():
            setattr(self.applier, name, self._step)

    def _step(self, change: Change) -> None:
        if change.key in self._failing:
            raise self._failing[change.key]
        self.made.append(change.key)

    def apply(self, *keys: Key) -> None:
        self.applier.apply([Change(key, None, "wanted") for key in keys])


def key(kind: Kind, where: str = WARP, name: str = "one") -> Key:
    return Key(kind, where, name)


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
        recorder.applier.apply([Change(broken, "there", None), Change(foreign, "there", None)])
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
    recorder = Recorder({})
    step: Callable[[Change], None] = recorder._step

    def stop(change: Change) -> None:
        step(change)
        recorder.applier.stop()

    recorder.applier._address = stop  # type: ignore[method-assign]
    with pytest.raises(ApplyError, match="stopped"):
        recorder.apply(first, second)
    assert recorder.made == [first]
