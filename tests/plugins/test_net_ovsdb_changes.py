"""What Open vSwitch's database sends, in whatever pieces it comes."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given
from hypothesis import strategies as st

from privacy_router.ovsdb.changes import _messages_untrusted
from privacy_router.ovsdb.errors import OvsdbError

MESSAGES = [
    {"id": "monitor", "result": {"Bridge": {}}, "error": None},
    {"method": "echo", "params": [], "id": "echo"},
    {"method": "update", "params": [0, {"Port": {"x": {"new": {"name": "eth0 }{"}}}}]},
]


async def received(pieces: list[bytes]) -> list[object]:
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    return [message async for message in _messages_untrusted(reader)]


@given(st.lists(st.integers(0, 200), max_size=5))
def test_documents_are_found_wherever_they_are_cut(cuts: list[int]) -> None:
    text = "".join(json.dumps(message) for message in MESSAGES).encode()
    ends = [*sorted({min(cut, len(text)) for cut in cuts}), len(text)]
    starts = [0, *ends[:-1]]
    pieces = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    assert asyncio.run(received(pieces)) == MESSAGES


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_an_error(data: bytes) -> None:
    try:
        for message in asyncio.run(received([data])):
            assert isinstance(message, dict)
    except OvsdbError:
        return
