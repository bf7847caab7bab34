"""Ask ovsdb-server for its schema (RFC 7047, 4.1.2).

One question and one answer, read with the standard library: the `ovs` library's own parser takes
longer for the schema than a whole session takes otherwise.
"""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

from privacy_router.ovsdb.errors import OvsdbError

if TYPE_CHECKING:
    from pathlib import Path

_REQUEST = json.dumps({"method": "get_schema", "params": ["Open_vSwitch"], "id": 0}).encode()
_ANSWER_LIMIT_BYTES = 4 * 1024 * 1024


def fetch_schema(socket_path: Path, timeout_s: float) -> dict[str, Any]:
    """The schema of the database behind `socket_path`. Raises OvsdbError."""
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
        raise OvsdbError("Open vSwitch's database does not give its schema")
    return schema


def _ask(socket_path: Path, timeout_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    received = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout_s)
        line.connect(str(socket_path))
        line.sendall(_REQUEST)
        while (answer := _parse_untrusted(received)) is None:
            line.settimeout(max(0.001, deadline - time.monotonic()))
            piece = line.recv(1 << 16)
            if not piece or len(received) > _ANSWER_LIMIT_BYTES:
                raise ConnectionResetError("the answer broke off")
            received += piece
    return answer


def _parse_untrusted(data: bytearray) -> dict[str, Any] | None:
    """The answer once it is whole; None before."""
    if not data.endswith(b"}"):
        return None
    try:
        answer = json.loads(data)
    except ValueError:
        return None  # it only looked like the end
    return answer if isinstance(answer, dict) else {}
