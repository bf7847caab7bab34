"""What can go wrong between this library and a switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError
from privacy_router.openflow.error_names import error_name

if TYPE_CHECKING:
    from privacy_router.openflow.message import Message


class OpenFlowError(PrivacyRouterError):
    """The root of every error that this package raises."""


class DecodeError(OpenFlowError):
    """Bytes from the peer are not OpenFlow 1.3."""


class LimitError(DecodeError):
    """The peer sends, or has us send, more than is kept for it; the connection ends."""


class EncodeError(OpenFlowError, ValueError):
    """A message has a value that its place on the wire cannot hold."""


class NegotiationError(OpenFlowError):
    """The peer does not speak OpenFlow 1.3, or does not greet."""


class ConnectionLostError(OpenFlowError):
    """The connection could not be made, or ended before an answer came."""


class RequestTimeoutError(OpenFlowError):
    """The switch did not answer in time. Whether it did the work is not known."""


class SwitchError(OpenFlowError):
    """The switch refused a message (OpenFlow 1.3.5, 7.4.4).

    `name` is "TYPE.CODE" in the words of the specification, `xid` the transaction, `head` the
    first bytes of the refused message as the switch quotes them, and `refused` the message
    itself where the channel knows it.
    """

    def __init__(
        self,
        error_type: int,
        code: int,
        *,
        xid: int = 0,
        head: bytes = b"",
        refused: Message | None = None,
        experimenter: int | None = None,
    ) -> None:
        self.error_type = error_type
        self.code = code
        self.xid = xid
        self.head = head
        self.refused = refused
        self.experimenter = experimenter
        self.name = error_name(error_type, code, experimenter)
        about = f": {refused!r}" if refused is not None else f" (message starts {head[:16].hex()})"
        super().__init__(f"the switch refused transaction {xid} with {self.name}{about}")
