"""The lab's UDP service that answers with as many bytes as it is asked for (pure).

A question is `<word> <bytes of the answer> <anything>`, the answer `<address of the asker> <word>
<bytes of the question> ` and blanks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from privacy_router.lab.internet import Address

PORT = 4096
_MOST_BYTES = 65507
_MOST_DIGITS = 5


class SizeError(PrivacyRouterError):
    """The datagram is not a question for an answer of a certain size."""


def question(word: str, answer_bytes: int, question_bytes: int) -> bytes:
    """A question of that size for an answer of that size."""
    return f"{word} {answer_bytes} ".encode().ljust(question_bytes)


def answer_untrusted(data: bytes, asker: Address) -> bytes:
    """The answer to a question, not shorter than what it says. Raises SizeError."""
    word, _, rest = data.partition(b" ")
    digits = rest.partition(b" ")[0]
    if not word or not digits.isdigit() or len(digits) > _MOST_DIGITS or int(digits) > _MOST_BYTES:
        raise SizeError("a word and a number of bytes were expected")
    return b" ".join((str(asker).encode(), word, b"%d" % len(data), b"")).ljust(int(digits))
