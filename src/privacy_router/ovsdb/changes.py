"""Hear of every change to the bridges of an Open vSwitch, as its database announces it.

RFC 7047, 4.1.5 and 4.1.6: one connection, one `monitor`, and then the server speaks by itself.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from privacy_router.ovsdb.errors import OvsdbError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

_WATCHED: Final = {
    "Bridge": ["name", "ports", "fail_mode", "datapath_type", "other_config", "external_ids"],
    "Port": ["name", "tag", "interfaces", "external_ids"],
    "Interface": ["name", "type", "mac", "mtu_request", "error"],
}
_MONITOR: Final = "monitor"
_RECEIVE_BYTES: Final = 1 << 16
_BUFFER_LIMIT_CHARS: Final = 16 * 1024 * 1024


async def changes(socket_path: Path) -> AsyncIterator[str]:
    """What changed, in a few words; the first ones say that it answers.

    Raises OvsdbError when the database is not there, or ends.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket_path))
    except OSError as error:
        raise OvsdbError("Open vSwitch's database does not answer", retryable=True) from error
    try:
        tables = {table: {"columns": columns} for table, columns in _WATCHED.items()}
        _send(writer, {"method": "monitor", "params": ["Open_vSwitch", 0, tables], "id": _MONITOR})
        async for message in _messages_untrusted(reader):
            if message.get("method") == "echo":
                _send(writer, {"result": message.get("params"), "error": None, "id": "echo"})
            elif message.get("method") == "update":
                yield _words(message)
            elif message.get("id") == _MONITOR:
                yield "Open vSwitch: its database answers"
    finally:
        writer.close()
    raise OvsdbError("Open vSwitch's database went away", retryable=True)


def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(json.dumps(message).encode())


async def _messages_untrusted(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The documents that come in, one after the other; ends with the connection."""
    text = ""
    while data := await _piece(reader):
        text += data
        if len(text) > _BUFFER_LIMIT_CHARS:
            raise OvsdbError("Open vSwitch's database says more than it should")
        read = 0
        for message, end in _documents(text):
            read = end
            yield message
        text = text[read:]


async def _piece(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.read(_RECEIVE_BYTES)).decode(errors="replace")
    except OSError:
        return ""  # the same as its end


def _documents(text: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Each whole document in `text`, and where it ends."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        try:
            message, at = decoder.raw_decode(text, at)
        except ValueError:
            return  # the rest of it is on the way
        yield (message if isinstance(message, dict) else {}), at


def _words(message: dict[str, Any]) -> str:
    tables = (message.get("params") or [None, {}])[-1]
    names = sorted(name.lower() for name in tables) if isinstance(tables, dict) else []
    return f"Open vSwitch: {', '.join(names) or 'something'}"
