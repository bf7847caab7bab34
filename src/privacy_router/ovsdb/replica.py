"""The `ovs` library's copy of the database, held to one error and to limits.

What the server sends is untrusted, and the library trusts it: it asserts, indexes and reads on for
as long as something comes. Each error that it raises about what it was sent is an OvsdbError here,
no message may be longer than `MESSAGE_LIMIT_BYTES`, and no reading takes longer than its time.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from privacy_router.errors import PrivacyRouterError
from privacy_router.ovsdb.errors import OvsdbError
from privacy_router.ovsdb.library import data, idl, jsonrpc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from privacy_router.values.bridges import Value

MESSAGE_LIMIT_BYTES: Final = 64 * 1024 * 1024
_UNREAD_LIMIT_CHARS: Final = 4 * 1024 * 1024


class Replica(idl.Idl):  # type: ignore[misc]
    """A copy of some columns of the tables of the database behind `socket_path`.

    Raises OvsdbError, here and in all of its methods, for a schema or a message that is none.
    `run` takes `limit_s` at most.
    """

    def __init__(
        self,
        socket_path: Path,
        schema: Mapping[str, Any],
        columns: Mapping[str, list[str]],
        limit_s: float,
    ) -> None:
        self._limit_s = limit_s
        with untrusted():
            helper = idl.SchemaHelper(schema_json=schema)
            for table, names in columns.items():
                helper.register_columns(table, names)
            super().__init__(f"unix:{socket_path}", helper)
        self._session.__class__ = _LimitedSession

    def run(self) -> bool:
        """Take in what has come. Raises OvsdbError; the copy is then of no use any more."""
        self._session.deadline = time.monotonic() + self._limit_s
        with untrusted():
            return bool(super().run())


@contextlib.contextmanager
def untrusted() -> Iterator[None]:
    """Rows and messages are worked with in here. Each error of the library or of their reader is
    an OvsdbError: the server speaks, but not this database."""
    try:
        yield
    except PrivacyRouterError:
        raise
    except Exception as error:
        raise OvsdbError(
            f"Open vSwitch's database sent what it should not ({type(error).__name__}: {error})",
            remedy="see what listens on its socket; restart ovsdb-server",
            retryable=True,
        ) from error


class _LimitedSession(jsonrpc.Session):  # type: ignore[misc]
    """The library's session, whose connections are limited before they receive anything."""

    deadline = 0.0

    def run(self) -> None:
        super().run()
        rpc = self.rpc
        if rpc is not None and not isinstance(rpc.stream, _LimitedStream):
            rpc.stream = _LimitedStream(rpc, self)


class _LimitedStream:
    """A stream that ends with an error where a message has no end, or answers are not read."""

    def __init__(self, connection: Any, session: _LimitedSession) -> None:
        self._connection, self._stream, self._session = connection, connection.stream, session
        self._length = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def recv(self, size: int) -> Any:
        if self._connection.parser is None:
            self._length = 0  # a new message
        if len(self._connection.output) > _UNREAD_LIMIT_CHARS:
            raise OvsdbError("Open vSwitch's database asks and does not read the answers")
        if time.monotonic() > self._session.deadline:
            raise OvsdbError("Open vSwitch's database does not come to an end", retryable=True)
        error, received = self._stream.recv(size)
        self._length += len(received)
        if self._length > MESSAGE_LIMIT_BYTES:
            raise OvsdbError("Open vSwitch's database says more than it should")
        return error, received


# --- columns -------------------------------------------------------------------------------------


def settings_of(row: Any, columns: list[str]) -> dict[str, Value]:
    """Those of the columns that are not at their default, as plain values.

    Read below the library's attributes, which fail where a column refers to a table that is not
    copied (mirrors, controllers, qos …).
    """
    return {
        name: _plain(datum)
        for name in columns
        if (datum := row._data.get(name)) is not None and datum != _default(datum.type)  # noqa: SLF001
    }


def _default(kind: Any) -> Any:
    """The library's own `Datum.default` has atoms for values and is equal to nothing."""
    atoms = {} if kind.n_min == 0 else {data.Atom(kind.key.type, kind.key.type.default): None}
    return data.Datum(kind, atoms)


def _plain(datum: Any) -> Value:
    kinds = (datum.type.key, datum.type.value)
    if any(kind is not None and kind.is_ref() for kind in kinds):
        return f"{len(datum.values)} set"
    if datum.type.is_map():
        return {str(key): str(value) for key, value in datum.as_list()}
    values = tuple(sorted(datum.as_list()))
    return values[0] if len(values) == 1 else values


def write_settings(txn: Any, row: Any, columns: list[str], wanted: Mapping[str, Value]) -> None:
    """Give those of the columns that differ the value that is wanted, or else their default.

    A row that the transaction inserts has the defaults. A column that this Open vSwitch does not
    have cannot be wanted.
    """
    present = {} if row._data is None else row._data  # noqa: SLF001
    for name in columns:
        column = row._table.columns[name]  # noqa: SLF001
        default = _default(column.type)
        value = default
        if name in wanted:
            value = data.Datum.from_python(column.type, wanted[name], lambda atom: atom)
        if present.get(name, default) != value:
            txn._write(row, column, value)  # noqa: SLF001
