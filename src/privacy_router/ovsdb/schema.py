"""Ask ovsdb-server for its schema (RFC 7047, 4.1.2).

One question and one answer, read with the standard library: the `ovs` library's own parser takes
longer for the schema than a whole session takes otherwise.
"""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from privacy_router.ovsdb.documents import Documents
from privacy_router.ovsdb.errors import OvsdbError

if TYPE_CHECKING:
    from pathlib import Path

_REQUEST: Final = json.dumps({"method": "get_schema", "params": ["Open_vSwitch"], "id": 0}).encode()
_ANSWER_LIMIT_BYTES: Final = 4 * 1024 * 1024
_RECEIVE_BYTES: Final = 1 << 16


def fetch_schema(socket_path: Path, timeout_s: float) -> dict[str, Any]:
    """The schema of the database behind `socket_path`, within that time. Raises OvsdbError."""
    try:
        answer = _ask(socket_path, timeout_s)
    except OSError as error:
        raise OvsdbError(
            "Open vSwitch's database does not answer",
            remedy="start Open vSwitch (systemctl start openvswitch-switch)",
            retryable=True,
        ) from error
    schema = answer.get("result")
    if not isinstance(schema, dict):
        raise OvsdbError("Open vSwitch's database does not give its schema", retryable=True)
    return schema


def _ask(socket_path: Path, timeout_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    documents = Documents(_ANSWER_LIMIT_BYTES)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout_s)
        line.connect(str(socket_path))
        line.sendall(_REQUEST)
        while True:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError("the answer has no end")
            line.settimeout(remaining_s)
            piece = line.recv(_RECEIVE_BYTES)
            if not piece:
                raise ConnectionResetError("the answer broke off")
            for answer in documents.feed_untrusted(piece):
                if answer.get("id") == 0:
                    return answer
