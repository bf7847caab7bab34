"""What is wrong with a document, in words for a person and without its secrets."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING

from privacy_router.errors import InvalidError
from privacy_router.values.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

FOUND_MAX_CHARS = 80
PATH_MAX_CHARS = 200
NEAREST_MAX_CHARS = 64
NEAREST_MAX_CANDIDATES = 100
SHOWN_PROBLEMS_MAX = 50
PROBLEMS_MAX = 100
MASKING_MARGIN_CHARS = 1000

HIDDEN = "[hidden]"
DOCUMENT_PATH = "(document)"

_LONG_TOKEN = re.compile(r"[A-Za-z0-9+/_-]{32,}={0,2}")
_HEX_TOKEN = re.compile(r"[0-9A-Fa-f-]+={0,2}\Z")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


def looks_secret(token: str) -> bool:
    """Whether a run of 32 or more key characters is likely key material or an access token.

    Keys in base64 mix both cases, hexadecimal keys and UUIDs have nothing but hexadecimal digits;
    long names and paths have neither.
    """
    mixed = token.lower() != token and token.upper() != token
    return mixed or _HEX_TOKEN.match(token) is not None


def mask_secrets(text: str) -> str:
    """Replace by stars, character for character, all that may be key material."""

    def stars(match: re.Match[str]) -> str:
        token = match.group()
        return "*" * len(token) if looks_secret(token) else token

    return _LONG_TOKEN.sub(stars, text)


def shorten(text: str, max_chars: int) -> str:
    """Cut the end off, with a mark, when there is more than `max_chars`."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def presentable(text: str, max_chars: int) -> str:
    """Make any text of the document fit to be shown: masked, printable, short."""
    # Masking comes before the cut, which could leave too little of a key to be recognised.
    return shorten(printable(mask_secrets(text[: max_chars + MASKING_MARGIN_CHARS])), max_chars)


def describe(value: object) -> str:
    """A JSON value in a few words; what is inside of objects and lists is not shown."""
    if isinstance(value, dict):
        return f"an object with {_count(len(value), 'key')}"
    if isinstance(value, list | tuple):
        return f"a list with {_count(len(value), 'entry', 'entries')}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, default=str)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def json_path(parts: Iterable[str | int]) -> str:
    """Write keys and indexes as one path: `plugins.privacy_router.containers[1].id`."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif _PLAIN_KEY.match(part):
            path += f".{part}" if path else part
        else:
            path += f"[{json.dumps(part)}]"
    return path or DOCUMENT_PATH


def nearest_of(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that a typing error would most likely turn into `word`."""
    lower = {name.lower(): name for name in known}
    # Comparing is slow: a document of thousands of mistakes would take minutes.
    if len(word) > NEAREST_MAX_CHARS or len(lower) > NEAREST_MAX_CANDIDATES:
        return None
    close = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return lower[close[0]] if close else None


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (JSON path), what is there, what should be, what is close.

    `excerpt` is the place in the text, over several lines, where only the text tells.
    No part of it holds a secret, also when it was made from one.
    """

    path: str
    found: str
    expected: str
    nearest: str | None = None
    excerpt: str = ""

    def __post_init__(self) -> None:
        """Mask and shorten what comes from the document."""
        object.__setattr__(self, "path", presentable(self.path, PATH_MAX_CHARS))
        object.__setattr__(self, "found", presentable(self.found, FOUND_MAX_CHARS))

    def __str__(self) -> str:
        """The problem as a line, with the excerpt below when there is one."""
        hint = f" (did you mean {self.nearest}?)" if self.nearest else ""
        lines = [f"{self.path}: found {self.found}; expected {self.expected}{hint}"]
        lines.extend(f"    {line}" for line in self.excerpt.splitlines())
        return "\n".join(lines)

    def as_json(self) -> dict[str, str | None]:
        """The problem for scripts, one member per field."""
        return asdict(self)


class ConfigError(InvalidError):
    """A document cannot be used; `problems` says what is wrong with it, the first 100 of it, and
    `more` how many there are beside those, as far as they were counted."""

    def __init__(self, source: str, problems: Iterable[Problem], more: int = 0) -> None:
        self.source = printable(source)
        found = iter(problems)
        self.problems = tuple(islice(found, PROBLEMS_MAX))
        self.more = more + sum(1 for _ in found)
        super().__init__(
            _message(self.source, self.problems, self.more),
            remedy=f"Correct {self.source} and try again; nothing was changed.",
        )


def _message(source: str, problems: tuple[Problem, ...], more: int) -> str:
    count = len(problems) + more
    lines = [f"{source}: {_count(count, 'problem')}"]
    lines.extend(f"  {problem}".replace("\n", "\n  ") for problem in problems[:SHOWN_PROBLEMS_MAX])
    if count > SHOWN_PROBLEMS_MAX:
        lines.append(f"  … and {count - len(problems[:SHOWN_PROBLEMS_MAX])} more")
    return "\n".join(lines)
