"""Several controllers on one switch: roles, who is told what (OpenFlow 1.3.5, 7.3.9, 7.3.10)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow.constants import MessageType, OpenEnum
from privacy_router.openflow.message import Message
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from privacy_router.openflow.message import MessageDecoder
    from privacy_router.openflow.wire import Reader

_ROLE_LAYOUT = "I4xQ"
_ROLE: Final = struct.Struct("!" + _ROLE_LAYOUT)
_ASYNC: Final = struct.Struct("!6I")


class Role(OpenEnum):
    """OpenFlow 1.3.5, 7.3.9 (ofp_controller_role)."""

    NOCHANGE = 0
    EQUAL = 1
    MASTER = 2
    SLAVE = 3


@value_class
class RoleRequest(Message):
    """Take a role (`Role`).

    For MASTER and SLAVE, `generation_id` numbers the election that decided it: the switch refuses
    one that is older than the newest that it has seen.
    """

    TYPE: ClassVar[int] = MessageType.ROLE_REQUEST
    role: int = Role.NOCHANGE
    generation_id: int = 0

    def body(self) -> bytes:
        return _ROLE.pack(self.role, self.generation_id)


@value_class
class RoleReply(Message):
    """The role that the controller has now; all ones for `generation_id` where there was none."""

    TYPE: ClassVar[int] = MessageType.ROLE_REPLY
    role: int
    generation_id: int

    def body(self) -> bytes:
        return _ROLE.pack(self.role, self.generation_id)


@value_class
class Told:
    """What a controller is told without asking: sets of reasons, bit 1 << reason for each.

    The reasons are of `PacketInReason`, `PortStatusReason` and `FlowRemovedReason`.
    """

    packet_in: int = 0
    port_status: int = 0
    flow_removed: int = 0


def _encode_told(leading: Told, following: Told) -> bytes:
    return _ASYNC.pack(
        *(leading.packet_in, following.packet_in),
        *(leading.port_status, following.port_status),
        *(leading.flow_removed, following.flow_removed),
    )


def _decode_told_untrusted(reader: Reader) -> tuple[Told, Told]:
    numbers = reader.unpack("6I")
    return Told(*numbers[::2]), Told(*numbers[1::2])


@value_class
class GetAsyncRequest(Message):
    """What am I told?"""

    TYPE: ClassVar[int] = MessageType.GET_ASYNC_REQUEST

    def body(self) -> bytes:
        return b""


@value_class
class GetAsyncReply(Message):
    """What this controller is told as MASTER or EQUAL (`leading`), and as SLAVE (`following`)."""

    TYPE: ClassVar[int] = MessageType.GET_ASYNC_REPLY
    leading: Told
    following: Told

    def body(self) -> bytes:
        return _encode_told(self.leading, self.following)


@value_class
class SetAsync(Message):
    """Tell this controller that much as MASTER or EQUAL, and that much as SLAVE."""

    TYPE: ClassVar[int] = MessageType.SET_ASYNC
    leading: Told
    following: Told = Told()

    def body(self) -> bytes:
        return _encode_told(self.leading, self.following)


DECODERS: Final[dict[int, MessageDecoder]] = {
    MessageType.ROLE_REQUEST: lambda r: RoleRequest(*r.unpack(_ROLE_LAYOUT)),
    MessageType.ROLE_REPLY: lambda r: RoleReply(*r.unpack(_ROLE_LAYOUT)),
    MessageType.GET_ASYNC_REQUEST: lambda _: GetAsyncRequest(),
    MessageType.GET_ASYNC_REPLY: lambda r: GetAsyncReply(*_decode_told_untrusted(r)),
    MessageType.SET_ASYNC: lambda r: SetAsync(*_decode_told_untrusted(r)),
}
