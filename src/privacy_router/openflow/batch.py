"""Messages that are sent together, and which of them the switch refused."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from privacy_router.openflow.bundle import ALL_OR_NOTHING
from privacy_router.openflow.constants import (
    MAX_MESSAGE_BYTES,
    ONF_EXPERIMENTER,
    VERSION,
    MessageType,
)
from privacy_router.openflow.errors import EncodeError
from privacy_router.openflow.message import encode
from privacy_router.openflow.onf import BundleMessageType
from privacy_router.openflow.refusal import SwitchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.openflow.message import Message
    from privacy_router.openflow.messages import ErrorMessage

_ADD: Final = struct.Struct("!BBHIIII2xH")
_ADD_TYPE = int(MessageType.EXPERIMENTER)
_ADD_SUBTYPE = int(BundleMessageType.ADD)


def switch_error(error: ErrorMessage, xid: int, message: Message | None) -> SwitchError:
    """The exception for an error message."""
    return SwitchError(
        error.error_type,
        error.code,
        xid=xid,
        head=error.data,
        refused=message,
        experimenter=error.experimenter,
    )


class Batch:
    """`messages` with consecutive transaction ids, each put into a bundle when there is one."""

    def __init__(self, messages: Sequence[Message], xids: range, bundle_id: int | None) -> None:
        self.messages = messages
        self.bundle_id = bundle_id
        self._xids = xids
        self._failure: SwitchError | None = None

    def encoded(self, start: int, stop: int) -> list[bytes]:
        """The messages of that slice on the wire. Raises EncodeError."""
        numbered = zip(self._xids[start:stop], self.messages[start:stop], strict=True)
        if self.bundle_id is None:
            return [encode(message, xid) for xid, message in numbered]
        bundle_id = self.bundle_id
        return [_in_bundle(bundle_id, xid, encode(message, xid)) for xid, message in numbered]

    def refused(self, xid: int, error: ErrorMessage) -> bool:
        """Take note of an error, if it is about one of these messages; only the first counts."""
        if xid not in self._xids:
            return False
        if self._failure is None:
            self._failure = switch_error(error, xid, self.messages[xid - self._xids.start])
        return True

    def check(self) -> None:
        """Raises SwitchError when a message was refused."""
        if self._failure is not None:
            raise self._failure


def _in_bundle(bundle_id: int, xid: int, message: bytes) -> bytes:
    """`BundleAdd` around an encoded message, in one step: there may be 100,000 of them."""
    length = _ADD.size + len(message)
    if length > MAX_MESSAGE_BYTES:
        raise EncodeError(f"a message of {len(message)} bytes is too long for a bundle")
    head = (VERSION, _ADD_TYPE, length, xid, ONF_EXPERIMENTER, _ADD_SUBTYPE, bundle_id)
    return _ADD.pack(*head, ALL_OR_NOTHING) + message
