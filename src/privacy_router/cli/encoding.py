"""Output that the terminal cannot encode: written in plainer characters, never a reason to fail.

By then the work is done: a command that has added a client must not end in a UnicodeEncodeError
because of a tick. A name with bytes that are no text (surrogates, PEP 383) cannot be encoded in
UTF-8 either.
"""

from __future__ import annotations

import codecs
import io
import sys
from typing import Final

_HANDLER: Final = "privacy_router.plain"
# one character each, so that columns stay columns
_PLAIN: Final = {
    **dict.fromkeys("→⇒▶»", ">"),
    **dict.fromkeys("↔⇄━", "="),
    **dict.fromkeys("–─", "-"),
    **dict.fromkeys("╭╮╰╯├└", "+"),
    **dict.fromkeys("▁▂▃", "."),
    **dict.fromkeys("▄▅▆", ":"),
    **dict.fromkeys("▇█", "#"),
    "✓": "+",
    "✗": "x",
    "●": "*",
    "│": "|",
    "«": "<",
    "…": ".",
}


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """A handler for `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(one) or _escaped(one) for one in text), error.end


def _escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode()


codecs.register_error(_HANDLER, _in_plain_characters)


def write_what_can_be_encoded() -> None:
    """Have stdout and stderr replace what they cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def can_encode(text: str) -> bool:
    """Whether stdout takes that text as it is."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
