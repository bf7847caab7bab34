"""Hear of every change to the bridges of an Open vSwitch, as its database announces it.

RFC 7047, 4.1.5 and 4.1.6: one connection, one `monitor`, and then the server speaks by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from privacy_router.ovsdb.documents import Documents
from privacy_router.ovsdb.errors import OvsdbError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

_WATCHED: Final = {
    "Bridge": ["name", "ports", "fail_mode", "datapath_type", "other_config", "external_ids"],
    "Port": ["name", "tag", "interfaces", "external_ids"],
    "Interface": ["name", "type", "mac", "mtu_request", "error"],
}
_MONITOR: Final = "monitor"
_ANSWER_S: Final = 5.0
_RECEIVE_BYTES: Final = 1 << 16
_MESSAGE_LIMIT_BYTES: Final = 16 * 1024 * 1024

_Result = TypeVar("_Result")


async def changes(socket_path: Path) -> AsyncIterator[str]:
    """What changed, in a few words; the first ones say that it answers.

    Raises OvsdbError when the database is not there, does not answer, or ends.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket_path))
    except OSError as error:
        raise OvsdbError("Open vSwitch's database does not answer", retryable=True) from error
    try:
        tables = {table: {"columns": columns} for table, columns in _WATCHED.items()}
        params = ["Open_vSwitch", 0, tables]
        await _send(writer, {"method": "monitor", "params": params, "id": _MONITOR})
        messages = _messages_untrusted(reader)
        message = await _in_time(anext(messages, None))
        while message is not None:
            if message.get("method") == "echo":
                answer = {"result": message.get("params"), "error": None, "id": message.get("id")}
                await _send(writer, answer)
            elif message.get("method") == "update":
                yield _words(message)
            elif message.get("id") == _MONITOR:
                yield "Open vSwitch: its database answers"
            message = await anext(messages, None)
    finally:
        writer.close()
    raise OvsdbError("Open vSwitch's database went away", retryable=True)


async def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    """Send, and wait until the server has taken it: one that asks and does not read is left."""
    writer.write(json.dumps(message).encode())
    with contextlib.suppress(ConnectionError):  # the next reading says so
        await _in_time(writer.drain())


async def _in_time(work: Awaitable[_Result]) -> _Result:
    try:
        return await asyncio.wait_for(work, _ANSWER_S)
    except TimeoutError as error:
        raise OvsdbError("Open vSwitch's database does not answer", retryable=True) from error


async def _messages_untrusted(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The documents that come in, one after the other; ends with the connection."""
    documents = Documents(_MESSAGE_LIMIT_BYTES)
    while piece := await _piece(reader):
        for message in documents.feed_untrusted(piece):
            yield message


async def _piece(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_RECEIVE_BYTES)
    except OSError:
        return b""  # the same as its end


def _words(message: dict[str, Any]) -> str:
    tables = (message.get("params") or [None, {}])[-1]
    names = sorted(name.lower() for name in tables) if isinstance(tables, dict) else []
    return f"Open vSwitch: {', '.join(names) or 'something'}"
