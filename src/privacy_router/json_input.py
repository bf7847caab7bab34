"""JSON from outside the process, read within bounds and with one error.

`json` has three kinds of errors for a text (one of them the end of the stack), takes numbers that
JSON does not have (RFC 8259, 6), halves of surrogate pairs that cannot be written again, and as
much as there is.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from privacy_router.errors import PrivacyRouterError

if TYPE_CHECKING:
    from typing import NoReturn

LIMIT_BYTES: Final = 16 * 1024 * 1024
NESTING_MAX_LEVELS: Final = 64
_Container = dict[str, Any] | list[Any]
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class JsonError(PrivacyRouterError):
    """The text is not JSON, or more of it than is taken; the message quotes nothing of it."""


def read_json_untrusted(
    data: str | bytes | bytearray,
    *,
    limit_bytes: int = LIMIT_BYTES,
    max_levels: int = NESTING_MAX_LEVELS,
) -> Any:
    """The value in a text of at most `limit_bytes` (characters of a `str`), at most `max_levels`
    objects and lists deep. Raises JsonError."""
    if len(data) > limit_bytes:
        raise JsonError(f"it is over {limit_bytes} bytes")
    try:
        text = data if isinstance(data, str) else data.decode()
        value = json.loads(text, parse_constant=_refuse)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise _too_deep(max_levels) from None
    except ValueError as error:
        where = f" at offset {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise JsonError(f"it is not JSON{where}") from None
    _require_flat(value, max_levels)
    return value


def _refuse(_name: str) -> NoReturn:
    raise ValueError


def _require_flat(value: object, max_levels: int) -> None:
    """Without recursion: level by level."""
    level = _nested([value])
    for _ in range(max_levels):
        level = [inner for one in level for inner in _nested(one)]
        if not level:
            return
    raise _too_deep(max_levels)


def _nested(value: _Container) -> list[_Container]:
    """The objects and lists directly in this one."""
    inner = value.values() if isinstance(value, dict) else value
    return [one for one in inner if isinstance(one, dict | list)]


def _too_deep(max_levels: int) -> JsonError:
    return JsonError(f"it has more than {max_levels} levels of nesting")
