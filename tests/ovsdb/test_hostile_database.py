"""A database that lies, does not answer or does not end: one error, in a bounded time."""

from __future__ import annotations

import asyncio
import time
from itertools import repeat
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.ovsdb import replica, watch
from privacy_router.ovsdb.changes import changes
from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.ovsdb.documents import DEPTH_LIMIT, Documents
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.ovsdb.host_bridges import HostBridges, HostPort
from privacy_router.ovsdb.schema import fetch_schema
from privacy_router.ovsdb.watch import BridgeChange, BridgeWatch
from privacy_router.values.bridges import BridgeSpec
from tests.ovsdb.database_server import SCHEMA, Server, honest, reply

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.ovsdb.database_server import Answer

TIMEOUT_S = 0.3
AT_MOST_S = 30.0  # a busy machine; without limits it was never
NO_ROWS: dict[str, Any] = {}


def without_end(piece: bytes = b"x" * 65536) -> Iterator[bytes]:
    yield b'{"id":0,"error":null,"result":"'
    yield from repeat(piece)


def dripping() -> Iterator[bytes]:
    yield b'{"id":0,"error":null,"result":"'
    while True:
        time.sleep(0.01)  # the attacker's, not the test's
        yield b"}"


def nested(depth: int) -> Iterator[bytes]:
    yield b'{"id":0,"error":null,"result":' + b"[" * depth + b"]" * depth + b"}"


PIECES = {
    "a string without end": without_end,
    "braces without end": lambda: without_end(b"}" * 65536),
    "one byte after the other": dripping,
    "nothing": lambda: iter(()),
    "no JSON": lambda: iter([b"\0\xff\x80 {]"]),
    "no object": lambda: iter([b"[1,2]"]),
    "an open bracket": lambda: iter([b"[[[["]),
    "100,000 brackets": lambda: nested(100_000),
    "a number of 10,000 digits": lambda: iter([b'{"id":' + b"9" * 10_000 + b"}"]),
}


def instead_of(method: str, pieces: Any) -> Answer:
    """An honest server, but for one kind of request."""
    usual = honest(NO_ROWS)

    def answer(request: Mapping[str, Any]) -> Iterator[bytes]:
        asked_for_data = method == request["method"] and request["params"][0] != "_Server"
        return pieces() if asked_for_data else usual(request)

    return answer


def answering(method: str, database: str, result: Any) -> Answer:
    """An honest server with one odd answer."""
    usual = honest(NO_ROWS)

    def answer(request: Mapping[str, Any]) -> Iterator[bytes]:
        if (request["method"], request["params"][0]) == (method, database):
            yield reply(request, result)
        else:
            yield from usual(request)

    return answer


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "db.sock"


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("method", ["get_schema", "monitor"])
def test_a_session_ends_with_its_own_error(socket_path: Path, method: str, pieces: Any) -> None:
    began = time.monotonic()
    with Server(socket_path, instead_of(method, pieces)), pytest.raises(OvsdbError):
        OvsDatabase(socket_path, TIMEOUT_S).read_bridge("ovsbr0")
    assert time.monotonic() - began < AT_MOST_S


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_what_the_plugin_net_hears_ends_with_the_same_error(
    socket_path: Path, pieces: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privacy_router.ovsdb.changes._ANSWER_S", TIMEOUT_S)

    async def hear() -> None:
        async for _ in changes(socket_path):
            pass

    began = time.monotonic()
    with Server(socket_path, instead_of("monitor", pieces)), pytest.raises(OvsdbError):
        asyncio.run(hear())
    assert time.monotonic() - began < AT_MOST_S


def test_a_message_has_a_length(socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "MESSAGE_LIMIT_BYTES", 1 << 16)
    with (
        Server(socket_path, instead_of("monitor", without_end)),
        pytest.raises(OvsdbError, match="says more than it should"),
    ):
        OvsDatabase(socket_path, 30.0)


def test_a_server_that_asks_and_does_not_read_is_left(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "_UNREAD_LIMIT_CHARS", 1 << 16)
    echo = b'{"method":"echo","id":"x","params":["' + b"x" * 1000 + b'"]}'
    with (
        Server(socket_path, instead_of("monitor", lambda: repeat(echo))),
        pytest.raises(OvsdbError, match="does not read the answers"),
    ):
        OvsDatabase(socket_path, 30.0)


@pytest.mark.parametrize("schema", [None, [], 5, {}, {"tables": []}, {"tables": {"Bridge": 1}}])
def test_an_odd_schema_is_refused(socket_path: Path, schema: Any) -> None:
    odd = answering("get_schema", "Open_vSwitch", schema)
    with Server(socket_path, odd), pytest.raises(OvsdbError):
        OvsDatabase(socket_path, TIMEOUT_S)


@pytest.mark.parametrize(
    "schema",
    [[], 5, "x", {}, {"name": "_Server", "version": "1.0.0", "tables": {}}, {"tables": {"x": 1}}],
)
def test_an_odd_schema_of_the_servers_own_ends_nothing(socket_path: Path, schema: Any) -> None:
    """The `ovs` library asserts that it is as it should be."""
    with Server(socket_path, answering("get_schema", "_Server", schema)):
        try:
            with OvsDatabase(socket_path, TIMEOUT_S) as database:
                assert database.read_bridge("ovsbr0") is None
        except OvsdbError:
            pass  # refused, which is as good


BRIDGE, PORT = "00000001-0000-4000-8000-000000000000", "00000002-0000-4000-8000-000000000000"
ODD_ROWS: dict[str, Any] = {
    "no rows": 5,
    "a row that is none": {BRIDGE: 5},
    "a uuid that is none": {"x": {"new": {"name": "ovsbr0"}}},
    "a name that is a number": {BRIDGE: {"new": {"name": 5}}},
    "a port without interface": {
        BRIDGE: {"new": {"name": "ovsbr0", "ports": ["uuid", PORT]}},
    },
}


@pytest.mark.parametrize("rows", ODD_ROWS.values(), ids=ODD_ROWS)
def test_odd_rows_are_refused(socket_path: Path, rows: Any) -> None:
    tables = {"Bridge": rows, "Port": {PORT: {"new": {"name": "warp0"}}}}
    odd = answering("monitor", "Open_vSwitch", tables)
    with Server(socket_path, odd):
        for kind in (OvsDatabase, HostBridges):
            with pytest.raises(OvsdbError), kind(socket_path, TIMEOUT_S) as database:
                database.ensure_bridge(BridgeSpec("ovsbr0", "netdev", ()))
        with pytest.raises(OvsdbError), HostBridges(socket_path, TIMEOUT_S) as bridges:
            bridges.read()
            bridges.put_port("warp0", HostPort("ovsbr0", "internal"))


def test_a_change_that_is_not_answered_ends(socket_path: Path) -> None:
    began = time.monotonic()
    with (
        Server(socket_path, lambda r: iter(()) if r["method"] == "transact" else usual(r)),
        OvsDatabase(socket_path, TIMEOUT_S) as database,
        pytest.raises(OvsdbError, match="does not answer"),
    ):
        database.await_applied()
    assert time.monotonic() - began < AT_MOST_S


usual = honest(NO_ROWS)


# --- the watch -----------------------------------------------------------------------------------


def await_true(condition: Any) -> None:
    deadline = time.monotonic() + AT_MOST_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_a_watch_outlives_whatever_it_hears(
    socket_path: Path, pieces: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_LIMIT_S", TIMEOUT_S)
    root = {"Open_vSwitch": {BRIDGE: {"next_cfg": 1}}}
    odd, fine = instead_of("monitor", pieces), honest(root)
    lying = True
    heard: list[BridgeChange] = []
    with Server(socket_path, lambda request: odd(request) if lying else fine(request)):
        watching = BridgeWatch(socket_path, "ovsbr0", heard.append)
        await_true(lambda: watching.trouble)
        assert heard == []
        lying = False
        await_true(lambda: heard)
        await_true(lambda: not watching.trouble)
        watching.end()


def test_a_watch_tells_of_ports_that_went_while_the_database_was_away(tmp_path: Path) -> None:
    socket_path = tmp_path / "db.sock"
    bridge = {"Bridge": {BRIDGE: {"name": "ovsbr0", "ports": ["uuid", PORT]}}}
    port = {
        "Port": {PORT: {"name": "internal_200", "interfaces": ["uuid", PORT]}},
        "Interface": {PORT: {"name": "internal_200", "type": "internal"}},
    }
    heard: list[BridgeChange] = []
    with Server(socket_path, honest(bridge | port)):
        watching = BridgeWatch(socket_path, "ovsbr0", heard.append)
        await_true(lambda: heard)
    socket_path.unlink()
    assert heard.pop().ports["internal_200"] is not None
    with Server(socket_path, honest({"Bridge": {BRIDGE: {"name": "ovsbr0"}}})):
        await_true(lambda: heard)
        watching.end()
    assert heard.pop().ports == {"internal_200": None}


# --- documents -----------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_documents_or_one_error(pieces: list[bytes]) -> None:
    documents = Documents(1000)
    try:
        for piece in pieces:
            for found in documents.feed_untrusted(piece):
                assert isinstance(found, dict)
    except OvsdbError:
        return


def test_documents_may_not_be_deep_or_long() -> None:
    deep = b'{"a":' * DEPTH_LIMIT + b"1" + b"}" * DEPTH_LIMIT
    assert len(Documents(10_000).feed_untrusted(deep)) == 1
    with pytest.raises(OvsdbError):
        Documents(10_000).feed_untrusted(b'{"a":' + deep + b"}")
    with pytest.raises(OvsdbError, match="more than it should"):
        Documents(10).feed_untrusted(b'{"a": "0123456789')


def test_a_long_document_costs_its_length() -> None:
    """In pieces of one byte; every byte looked at again would take minutes."""
    text = b'{"a":"' + b'\\"}{' * 50_000 + b'"}'
    began = time.process_time()
    documents = Documents(len(text))
    found = [one for byte in text for one in documents.feed_untrusted(bytes([byte]))]
    assert len(found) == 1
    assert time.process_time() - began < 5


def test_the_schema_is_that_of_the_database(socket_path: Path) -> None:
    with Server(socket_path, honest(NO_ROWS)):
        assert fetch_schema(socket_path, AT_MOST_S) == SCHEMA
