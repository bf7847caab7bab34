"""From plain JSON values to a typed document, with every problem of it at once."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from itertools import islice
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from privacy_router.config.checks import check
from privacy_router.config.machine_checks import check_together
from privacy_router.config.models import Document, PrivacyRouterConfig
from privacy_router.config.problems import (
    HIDDEN,
    PROBLEMS_MAX,
    Problem,
    describe,
    json_path,
    nearest_of,
)
from privacy_router.config.rule import CONFIG_PATH
from privacy_router.config.values import BASE_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic_core import ErrorDetails

_FIRST_ENTRIES = (100, 1000)

_CONFIG_LOCATION = ("plugins", "privacy_router")
_KEY_MARKER = "[key]"
_SECTION_DEPTH = 2  # plugins, and the plugin's name
_SENSITIVE = re.compile(
    "(?<!power_)(?<!suspend_)(?<!reboot_)(?<!hibernate_)key"  # those are keys of a keyboard
    "|secret|token|passw|private|credential|licen[cs]e",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'([^']*)'")

_Location = tuple[str | int, ...]


def validate(
    data: object, base_directory: Path | None = None
) -> tuple[Document | None, list[Problem], int]:
    """Turn JSON values into a document: the document, or None, what is wrong, and how much more is
    wrong that is not described: that of 100,000 entries would take seconds and no person reads it.

    Relative paths in the document start at `base_directory`.
    """
    context = {BASE_DIRECTORY: base_directory}
    try:
        document = Document.model_validate(data, context=context)
    except ValidationError as error:
        details = _telling(_details(error, data, context))
        described = [*map(_problem, details[:PROBLEMS_MAX])]
        if error.error_count() > PROBLEMS_MAX:  # what stands in for so much says nothing more
            return None, described, error.error_count() - len(described)
        return None, [*described, *_check_valid_parts(data, details)], 0
    config = document.plugins.node
    problems = [] if config is None else check(config)
    if document.plugins.privacy_router is None:  # its keys have the same names
        problems = [_as_of_privacy(problem) for problem in problems]
    problems += check_together(document.plugins)
    return (None if problems else document), problems, 0


def _as_of_privacy(problem: Problem) -> Problem:
    return replace(problem, path=problem.path.replace(CONFIG_PATH, "plugins.privacy", 1))


def _details(error: ValidationError, data: object, context: dict[str, Any]) -> list[ErrorDetails]:
    """What is wrong, in pydantic's words; of a document with much of that, what is wrong in the
    first entries of its lists where something is: pydantic tells all or nothing."""
    if error.error_count() > PROBLEMS_MAX:
        for most in _FIRST_ENTRIES:
            try:
                Document.model_validate(_cut(data, most), context=context)
            except ValidationError as first:
                return first.errors(include_url=False)
    return error.errors(include_url=False)


def _cut(value: object, most: int) -> object:
    """The first entries of each list and object. A document is at most 32 levels deep."""
    if isinstance(value, dict):
        return {key: _cut(inner, most) for key, inner in islice(value.items(), most)}
    if isinstance(value, list):
        return [_cut(inner, most) for inner in value[:most]]
    return value


def _telling(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Drop `too_short` of a list whose entries are wrong: pydantic did not count those."""
    parents = {detail["loc"][:-1] for detail in details}
    return [d for d in details if d["type"] != "too_short" or d["loc"] not in parents]


def _check_valid_parts(data: object, details: list[ErrorDetails]) -> list[Problem]:
    config_depth = len(_CONFIG_LOCATION)
    parts: set[str] = set()
    for detail in details:
        location = detail["loc"]
        if location == _CONFIG_LOCATION[: len(location)]:
            return []
        if location[:config_depth] == _CONFIG_LOCATION:
            parts.add(str(location[config_depth]))
    unusable = {touched for part in parts for touched in _touched(part)}
    raw = _at(data, _CONFIG_LOCATION)
    if not isinstance(raw, dict):
        return []
    usable = {key: value for key, value in raw.items() if key not in unusable}
    return check(PrivacyRouterConfig.model_validate(usable), unusable)


def _touched(part: str) -> set[str]:
    """The keys whose value is unknown when `part` is wrong: itself, and what it may stand for."""
    meant = nearest_of(part, PrivacyRouterConfig.model_fields)
    return {part} if meant is None else {part, meant}


def _at(data: object, location: _Location) -> object:
    for key in location:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _problem(detail: ErrorDetails) -> Problem:
    location = detail["loc"]
    if detail["type"] == "expected" and location[-1] == _KEY_MARKER:
        location = location[:-1]
    path = json_path(location)
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(path, location)
        case "missing":
            return Problem(path, "nothing", f"this key: {_description(location)}")
        case _:
            found = _found(location, detail["input"])
            return Problem(path, found, _expected(detail), _nearest(detail, location))


def _unknown_key(path: str, location: _Location) -> Problem:
    known = list(_model_at(location[:-1]).model_fields)
    word = str(location[-1])
    nearest = _place_of(word, json_path(location[:_SECTION_DEPTH])) or nearest_of(word, known)
    # The whole list only helps when there is nothing close.
    expected = "a key that belongs here" if nearest else f"one of the keys {', '.join(known)}"
    return Problem(path, "an unknown key", expected, nearest)


def _found(location: _Location, value: object) -> str:
    keys = [part for part in location if isinstance(part, str)]
    if isinstance(value, str) and keys and _SENSITIVE.search(keys[-1]):
        return HIDDEN
    return describe(value)


def _expected(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    words = {
        "model_type": "an object",
        "dict_type": "an object",
        "tuple_type": "a list",
        "string_unicode": "a text that is valid Unicode",
        "literal_error": f"{context.get('expected')}",
        "too_short": f"a list of at least {context.get('min_length')}",
        "too_long": f"a list of at most {context.get('max_length')}",
    }
    return words.get(detail["type"], detail["msg"])


def _nearest(detail: ErrorDetails, location: _Location) -> str | None:
    value = detail["input"]
    if not isinstance(value, str):
        return None
    if detail["type"] == "literal_error":
        return nearest_of(value, _QUOTED.findall(str(detail.get("ctx", {}).get("expected"))))
    key = str(location[-1]) if location else ""
    if "/" in value and key.endswith(("subnet", "subnet6")):
        return _without_host_bits(value, is_v6=key.endswith("6"))
    return None


def _without_host_bits(text: str, *, is_v6: bool) -> str | None:
    try:
        return str(IPv6Network(text, strict=False) if is_v6 else IPv4Network(text, strict=False))
    except ValueError:
        return None


def _model_at(location: _Location) -> type[BaseModel]:
    """The model of the object at a location that pydantic descended to."""
    model: type[BaseModel] = Document
    for key in location:
        if isinstance(key, str) and key in model.model_fields:  # else it is a name, as of a unit
            model = _model_in(model.model_fields[key].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in inner if model is not None), None)


def _description(location: _Location) -> str:
    field = _model_at(location[:-1]).model_fields.get(str(location[-1]))
    return (field.description if field and field.description else "a value").removesuffix(".")


def _place_of(key: str, section: str) -> str | None:
    """Where a key belongs that belongs in one place only: of that section, or of the document."""
    places = _key_places().get(key, set())
    here = {place for place in places if place.startswith(f"{section}.")}
    return next(iter(here or places)) if len(here or places) == 1 else None


@cache
def _key_places() -> dict[str, set[str]]:
    """The paths of each key."""
    places: dict[str, set[str]] = {}
    for path in _all_keys(Document, ""):
        places.setdefault(path.rpartition(".")[2], set()).add(path)
    return places


def _all_keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        inner = _model_in(field.annotation)
        if inner is not None:
            is_list = "tuple" in str(field.annotation)
            yield from _all_keys(inner, f"{prefix}{name}{'[]' if is_list else ''}.")
