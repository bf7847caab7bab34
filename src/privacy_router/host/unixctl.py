"""Ask a daemon of Open vSwitch over its control socket (ovs-appctl(8): JSON-RPC 1.0, one answer).

With the standard library: the `ovs` library's client has no time limit.
"""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S = 5.0
_ANSWER_LIMIT_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 1 << 16
_SWITCH = "ovs-vswitchd"


class UnixctlError(PrivacyRouterError):
    """The daemon cannot be reached, does not answer in time, or answers in no known way."""


class UnixctlRefusedError(UnixctlError):
    """The daemon answered that it will not; `message` is in its own words."""


def switch_socket(run_dir: Path) -> Path:
    """The control socket of the ovs-vswitchd whose run directory that is.

    Raises UnixctlError when no switch runs there.
    """
    plain = run_dir / f"{_SWITCH}.ctl"
    if plain.is_socket():
        return plain
    try:
        pid = int((run_dir / f"{_SWITCH}.pid").read_text())
    except (OSError, ValueError) as error:
        raise _unreachable(f"no {_SWITCH} runs in {run_dir}") from error
    return run_dir / f"{_SWITCH}.{pid}.ctl"


def call(socket_path: Path, method: str, *arguments: str, timeout_s: float = TIMEOUT_S) -> str:
    """What the daemon answers to `method`, e.g. `call(path, "ofproto/trace", "br0", "in_port=1")`.

    `timeout_s` counts for the whole conversation. Raises UnixctlRefusedError with the daemon's
    words when it refuses, UnixctlError for everything else that keeps the answer away.
    """
    request = {"id": 0, "method": method, "params": list(arguments)}
    try:
        answer = _converse(socket_path, json.dumps(request).encode(), timeout_s)
    except TimeoutError as error:
        raise UnixctlError(
            f"{socket_path.name} did not answer {method} within {timeout_s:g} s",
            remedy="try again; when it stays silent, look at the log of Open vSwitch",
            retryable=True,
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise _unreachable(f"{socket_path} cannot be reached ({reason})") from error
    return _result_untrusted(answer, method)


def _unreachable(message: str) -> UnixctlError:
    return UnixctlError(
        message, remedy="start the node (privacy-router up), and ask as root", retryable=True
    )


def _converse(socket_path: Path, request: bytes, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    received = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout_s)
        line.connect(str(socket_path))
        line.sendall(request)
        while not _is_whole_untrusted(received):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            line.settimeout(left_s)
            piece = line.recv(_PIECE_BYTES)
            if not piece or len(received) > _ANSWER_LIMIT_BYTES:
                raise ConnectionResetError("the answer broke off")
            received += piece
    return bytes(received)


def _is_whole_untrusted(data: bytearray) -> bool:
    """Whether a JSON object is complete: no length is sent before it. Raises nothing."""
    if not data.endswith(b"}"):
        return False
    try:
        json.loads(data)
    except ValueError:
        return False  # it only looked like the end
    except RecursionError:
        return True  # nested without end; its reader says so
    return True


def _result_untrusted(data: bytes, method: str) -> str:
    """The result in an answer. Raises UnixctlError."""
    try:
        answer: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnixctlError(f"the answer to {method} is not JSON") from error
    if not isinstance(answer, dict):
        raise UnixctlError(f"the answer to {method} is no answer")
    refusal, result = answer.get("error"), answer.get("result")
    if refusal is not None:
        raise UnixctlRefusedError(str(refusal).strip())
    if not isinstance(result, str):
        raise UnixctlError(f"the answer to {method} has no result")
    return result
