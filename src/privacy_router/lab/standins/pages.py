"""The pages of the lab's web site (pure).

/ip         the visitor's address
/echo?x=…   the address, a blank, and x
/bytes?n=…  n bytes, up to 64 MiB
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.internet import Address

BYTES_LIMIT = 64 * 1024 * 1024
_PIECE = bytes(range(256)) * 256


@dataclass(frozen=True)
class Page:
    """An answer: `length_bytes` of what `pieces` yields."""

    status: int
    length_bytes: int
    text: bytes | None = None

    def pieces(self) -> Iterator[bytes]:
        """The body, piece by piece."""
        if self.text is not None:
            yield self.text
            return
        left = self.length_bytes
        while left > 0:
            yield _PIECE[:left]
            left -= len(_PIECE)


def page_untrusted(target: str, visitor: Address) -> Page:
    """The page for a request target; an unknown or wrong one has status 404 or 400."""
    try:
        url = urlsplit(target)
        wanted = parse_qs(url.query, keep_blank_values=True)
    except ValueError:
        return _text(400, "this is not a target")
    if url.path in {"/", "/ip"}:
        return _text(200, str(visitor))
    if url.path == "/echo":
        return _text(200, f"{visitor} {wanted.get('x', [''])[0]}")
    if url.path == "/bytes":
        return _bytes(wanted.get("n", [""])[0])
    return _text(404, "there is no such page")


def _bytes(text: str) -> Page:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) > BYTES_LIMIT:
        return _text(400, f"n is a number up to {BYTES_LIMIT}")
    return Page(200, int(text))


def _text(status: int, text: str) -> Page:
    body = text.encode(errors="replace") + b"\n"
    return Page(status, len(body), body)
