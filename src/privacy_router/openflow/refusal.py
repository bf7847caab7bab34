"""The switch's refusal of a message, as an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.openflow.error_names import error_name
from privacy_router.openflow.errors import OpenFlowError

if TYPE_CHECKING:
    from privacy_router.openflow.message import Message


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
