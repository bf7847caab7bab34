"""From text to plain JSON values, stricter than the `json` module and safe for any text.

RFC 8259 leaves repeated keys and deep nesting to the reader; both are problems here, because a
repeated key silently loses what its first place says.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

from privacy_router.config.problems import (
    DOCUMENT_PATH,
    PROBLEMS_MAX,
    Problem,
    describe,
    json_path,
    mask_secrets,
    presentable,
)
from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT_MAX_BYTES = 8 * 1024 * 1024
NESTING_MAX_LEVELS = 32
ENTRIES_MAX = 10_000
VALUES_MAX = 200_000
EXCERPT_MAX_CHARS = 72
INTEGER_MAX_DIGITS = 40

_Path = tuple[str | int, ...]

_PLAIN_WORDS = {
    "Expecting property name": "a key in double quotes (no comma before '}', no comments)",
    "Illegal trailing comma": "no comma before the closing bracket",
    "Expecting ',' delimiter": "a comma or a closing bracket",
    "Expecting ':' delimiter": "a colon after the key",
    "Expecting value": "a value (text in double quotes, a number, true, false, null, [ or {)",
    "Unterminated string": "a closing double quote",
    "Invalid control character": "\\n, \\t or the like instead of the character itself in a text",
    "Invalid \\escape": "\\\\ instead of a lone \\ in a text",
    "Extra data": "nothing after the end of the document",
}


class UnreadableTextError(PrivacyRouterError):
    """The text has no JSON value to go on with."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.expected)
        self.problem = problem


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys came twice."""

    repeated: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) != len(pairs):
        times = Counter(key for key, _ in pairs)
        made.repeated = tuple(key for key, count in times.items() if count > 1)
    return made


def _integer(digits: str) -> int | float:
    # int() refuses thousands of digits with an error of its own; no key takes such numbers.
    return int(digits) if len(digits) <= INTEGER_MAX_DIGITS else float(digits)


def read_json_untrusted(text: str) -> tuple[object, list[Problem]]:
    """Read a text as JSON: the value, and what JSON allows but a document must not have.

    Raises UnreadableTextError when there is no value to judge any further.
    """
    if len(text) > DOCUMENT_MAX_BYTES:
        raise UnreadableTextError(too_large())
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise UnreadableTextError(_not_json(text, error)) from None
    except RecursionError:
        raise UnreadableTextError(_too_deep(())) from None
    return value, list(islice(_oddities(value), PROBLEMS_MAX))


def too_large() -> Problem:
    """The problem of a document over the limit."""
    limit_mib = DOCUMENT_MAX_BYTES // (1024 * 1024)
    return Problem(DOCUMENT_PATH, f"more than {limit_mib} MiB", f"at most {limit_mib} MiB")


def _too_deep(path: _Path) -> Problem:
    return Problem(
        json_path(path),
        f"more than {NESTING_MAX_LEVELS} levels of nesting",
        "an object or list inside of fewer others",
    )


def _not_json(text: str, error: json.JSONDecodeError) -> Problem:
    if not text.strip():
        return Problem(DOCUMENT_PATH, "an empty document", "a JSON object")
    expected = next(
        (words for start, words in _PLAIN_WORDS.items() if error.msg.startswith(start)), error.msg
    )
    return Problem(
        DOCUMENT_PATH,
        f"text that is not JSON at line {error.lineno}, column {error.colno}",
        expected,
        excerpt=_excerpt(text, error.pos),
    )


def _excerpt(text: str, position: int) -> str:
    """The line around `position`, at most EXCERPT_MAX_CHARS of it, and a caret below the place."""
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = mask_secrets(text[start : len(text) if end < 0 else end])
    column = position - start
    first = max(0, min(column - EXCERPT_MAX_CHARS // 2, len(line) - EXCERPT_MAX_CHARS))
    window = line[first : first + EXCERPT_MAX_CHARS]
    shown = "".join(c if c.isprintable() else " " for c in window)
    return f"{shown.rstrip()}\n{' ' * (column - first)}^"


def _oddities(root: object) -> Iterator[Problem]:
    """Find repeated keys, broken Unicode and deep nesting, without recursion.

    Raises UnreadableTextError for a document of more values than are looked at.
    """
    stack: list[tuple[_Path, object]] = [((), root)]
    seen = 0
    while stack:
        path, value = stack.pop()
        seen += _require_few(path, value)
        if seen > VALUES_MAX:
            raise UnreadableTextError(
                Problem(DOCUMENT_PATH, f"more than {VALUES_MAX} values", "fewer")
            )
        if isinstance(value, _Object):
            yield from _repeated_keys(path, value)
        yield from _broken_texts(path, value)
        children = _children(path, value)
        if children and len(path) >= NESTING_MAX_LEVELS:
            yield _too_deep(path)
        else:
            stack.extend(reversed(children))


def _require_few(path: _Path, value: object) -> int:
    """How many entries it has. Raises UnreadableTextError for too many in one place."""
    count = len(value) if isinstance(value, dict | list) else 0
    if count > ENTRIES_MAX:
        kind = "keys" if isinstance(value, dict) else "entries"
        raise UnreadableTextError(
            Problem(json_path(path), describe(value), f"at most {ENTRIES_MAX} {kind}")
        )
    return count


def _children(path: _Path, value: object) -> list[tuple[_Path, object]]:
    if isinstance(value, dict):
        return [((*path, key), child) for key, child in value.items()]
    if isinstance(value, list):
        return [((*path, index), child) for index, child in enumerate(value)]
    return []


def _repeated_keys(path: _Path, value: _Object) -> Iterator[Problem]:
    for key in value.repeated:
        yield Problem(json_path((*path, key)), "this key more than once", "each key once")


def _broken_texts(path: _Path, value: object) -> Iterator[Problem]:
    texts = list(value) if isinstance(value, dict) else [value]
    for text in texts:
        if isinstance(text, str) and not _encodable(text):
            found = presentable(describe(text), EXCERPT_MAX_CHARS)
            yield Problem(json_path(path), found, "text without half of a surrogate pair")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
