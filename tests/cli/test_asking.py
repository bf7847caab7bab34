"""Who answers a command: op-dbus where it keeps a node, else the command's own process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from privacy_router.cli import asking
from privacy_router.cli.options import DEFAULT_CONFIG
from privacy_router.client.errors import NoNodeError, NotRunningError
from privacy_router.errors import ConflictError, MissingPrerequisiteError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from privacy_router.client.api import Node

T = TypeVar("T")


class Bus:
    """op-dbus, which answers or fails in one way."""

    def __init__(self, answer: Exception | str) -> None:
        self.answer = answer

    def is_there(self) -> bool:
        return not isinstance(self.answer, NotRunningError)

    def with_daemon(self, _: Callable[[Any], Coroutine[Any, Any, T]]) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def here(_: Path, __: Callable[[Node], Coroutine[Any, Any, Any]]) -> str:
    return "this process"


async def work(_: Node) -> Any:
    raise AssertionError("the test's bus and process answer without it")


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception | str], None]:
    monkeypatch.setattr(asking, "_here", here)
    return lambda answer: monkeypatch.setattr(asking, "bus", Bus(answer))


def test_op_dbus_answers_where_it_keeps_a_node(answered: Callable[[Any], None]) -> None:
    answered("op-dbus")
    assert asking.ask(DEFAULT_CONFIG, work) == "op-dbus"
    assert asking.ask_any(DEFAULT_CONFIG, work) == "op-dbus"


@pytest.mark.parametrize("error", [NotRunningError("no bus"), NoNodeError()])
def test_a_node_that_is_down_is_answered_for_here(
    answered: Callable[[Any], None], error: Exception
) -> None:
    answered(error)
    assert asking.ask(DEFAULT_CONFIG, work) == "this process"


@pytest.mark.parametrize(
    "error",
    [ConflictError("taken"), PrivilegeError("not you"), MissingPrerequisiteError("no xray")],
)
def test_what_op_dbus_refuses_is_not_tried_again_here(
    answered: Callable[[Any], None], error: Exception
) -> None:
    answered(error)
    with pytest.raises(type(error)):
        asking.ask(DEFAULT_CONFIG, work)
    with pytest.raises(type(error)):
        asking.ask_any(DEFAULT_CONFIG, work)


def test_a_look_is_had_in_spite_of_an_error_but_not_of_a_refusal(
    answered: Callable[[Any], None],
) -> None:
    answered(ConflictError("odd"))
    assert asking.ask(DEFAULT_CONFIG, work, in_spite_of=ConflictError) == "this process"
    answered(PrivilegeError("not you"))
    with pytest.raises(PrivilegeError):
        asking.ask(DEFAULT_CONFIG, work, in_spite_of=PrivilegeError)


def test_a_file_that_the_caller_names_is_for_this_process(
    answered: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answered("op-dbus")
    monkeypatch.setattr(asking, "is_named", lambda path: path == Path("own.json"))
    assert asking.ask(Path("own.json"), work) == "this process"
    assert asking.ask_any(Path("own.json"), work) == "op-dbus", "a plan is of the file anyhow"
