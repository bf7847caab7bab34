"""Every error class of the package: under one root, and the same kind over the bus as here."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import privacy_router
from privacy_router.client.errors import (
    _CLASSES,
    DENIED,
    FAILED,
    class_name,
    error_from,
    error_name,
    error_text,
)
from privacy_router.daemon.bus.interface import as_dbus_error
from privacy_router.errors import (
    ConflictError,
    ExitCode,
    InvalidError,
    PrivacyRouterError,
    StorageError,
)
from privacy_router.node.flows.table import FlowError
from privacy_router.node.teardown import together

if TYPE_CHECKING:
    from collections.abc import Iterator


def _below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def _load_all() -> None:
    for module in pkgutil.walk_packages(privacy_router.__path__, "privacy_router."):
        importlib.import_module(module.name)


def _all_classes() -> list[type[BaseException]]:
    _load_all()
    ours = {one for one in _below(BaseException) if one.__module__.startswith("privacy_router.")}
    return sorted(ours, key=lambda one: (one.__module__, one.__qualname__))


CLASSES = _all_classes()
ERRORS = [one for one in CLASSES if issubclass(one, PrivacyRouterError)]


def _raised(kind: type[PrivacyRouterError]) -> PrivacyRouterError:
    """One of that class, whatever its own constructor takes."""
    error = kind.__new__(kind)
    PrivacyRouterError.__init__(error, "it went wrong", remedy="mend it")
    return error


def test_every_exception_class_has_one_root() -> None:
    assert [one for one in CLASSES if not issubclass(one, PrivacyRouterError)] == []
    assert len(ERRORS) > 50


def test_no_two_classes_have_the_same_name_on_the_bus() -> None:
    names = Counter(class_name(one) for one in ERRORS)
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("kind", ERRORS, ids=lambda one: one.__qualname__)
def test_an_error_is_of_the_same_kind_over_the_bus(kind: type[PrivacyRouterError]) -> None:
    here = _raised(kind)
    sent = as_dbus_error(here, "Method")
    there = error_from(sent.type, sent.text)
    assert there.exit_code == here.exit_code
    assert isinstance(here, type(there))
    assert (there.message, there.remedy) == ("it went wrong", "mend it")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("FlowRefused", 2),
        ("Pipeline", 2),
        ("Profile", 2),
        ("Packet", 2),
        ("Config", 2),
        ("PluginUnavailable", 4),
        ("NoNode", 5),
        ("Revoked", 6),
        ("MissingFile", 7),
        ("Flow", 1),
    ],
)
def test_the_exit_code_of_a_name(name: str, code: int) -> None:
    assert error_from(f"org.opdbus.Error.{name}", "no").exit_code == code


def test_the_table_names_no_class_that_is_gone() -> None:
    known = {class_name(one) for one in ERRORS}
    assert [name for classes in _CLASSES.values() for name in classes if name not in known] == []


def test_a_summary_of_errors_keeps_its_exit_code_over_the_bus() -> None:
    summary = together([StorageError("no room"), ConflictError("taken")])
    there = error_from(error_name(summary), error_text(summary))
    assert isinstance(there, StorageError)
    assert there.message == "no room; taken"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (PrivacyRouterError("x"), FAILED),
        (ConflictError("x"), "org.opdbus.Error.Conflict"),
        (StorageError("x"), "org.opdbus.Error.Storage"),
        (FlowError("x"), "org.opdbus.Error.Flow"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_have_the_name_of_their_class(error: PrivacyRouterError, name: str) -> None:
    assert error_name(error) == name


def test_an_errors_remedy_is_told_too() -> None:
    assert error_text(ConflictError("taken", remedy="wait")) == "taken\nremedy: wait"
    assert error_text(ConflictError("taken")) == "taken"


def test_who_may_not_is_told_with_the_code_for_it() -> None:
    assert error_from(DENIED, "it is for administrators").exit_code == ExitCode.NOT_PRIVILEGED


def test_errors_of_other_programs_are_no_kind_of_ours() -> None:
    assert type(error_from("org.example.Error.Conflict", "x")) is PrivacyRouterError
    assert not isinstance(error_from("org.opdbus.Error.Unheard", "x"), InvalidError)
