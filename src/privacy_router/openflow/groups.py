"""Groups (OpenFlow 1.3.5, 7.3.4.2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow.action import encode_actions
from privacy_router.openflow.actions import decode_actions_untrusted
from privacy_router.openflow.constants import (
    GroupCommand,
    GroupId,
    GroupType,
    MessageType,
    PortNumber,
)
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.message import Message
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from privacy_router.openflow.action import Action
    from privacy_router.openflow.message import MessageDecoder
    from privacy_router.openflow.wire import Reader

_BUCKET: Final = struct.Struct("!HHII4x")
_GROUP_MOD: Final = struct.Struct("!HBxI")


@value_class
class Bucket:
    """One way through a group. `weight` counts for SELECT, the watched ones for FAST_FAILOVER."""

    actions: tuple[Action, ...]
    weight: int = 0
    watch_port: int = PortNumber.ANY
    watch_group: int = GroupId.ANY

    def encode(self) -> bytes:
        actions = encode_actions(self.actions)
        length = _BUCKET.size + len(actions)
        return _BUCKET.pack(length, self.weight, self.watch_port, self.watch_group) + actions


def decode_buckets_untrusted(reader: Reader) -> tuple[Bucket, ...]:
    """All buckets up to the end of `reader`. Raises DecodeError."""
    buckets: list[Bucket] = []
    while reader.left():
        length, weight, port, group = reader.unpack("HHII4x")
        if length < _BUCKET.size:
            raise DecodeError(f"a bucket of {length} bytes")
        actions = decode_actions_untrusted(reader.sub(length - _BUCKET.size))
        buckets.append(Bucket(actions, weight, port, group))
    return tuple(buckets)


@value_class
class GroupMod(Message):
    """Add, change or delete a group (`GroupCommand`, `GroupType`)."""

    TYPE: ClassVar[int] = MessageType.GROUP_MOD
    command: int
    group_id: int
    group_type: int = GroupType.ALL
    buckets: tuple[Bucket, ...] = ()

    def body(self) -> bytes:
        head = _GROUP_MOD.pack(self.command, self.group_type, self.group_id)
        return head + b"".join(bucket.encode() for bucket in self.buckets)


def delete_group(group_id: int = GroupId.ALL) -> GroupMod:
    """Delete one group, or all, and the flows that lead to it."""
    return GroupMod(GroupCommand.DELETE, group_id)


def _decode_group_mod_untrusted(reader: Reader) -> Message:
    command, group_type, group_id = reader.unpack("HBxI")
    return GroupMod(command, group_id, group_type, decode_buckets_untrusted(reader))


DECODERS: Final[dict[int, MessageDecoder]] = {MessageType.GROUP_MOD: _decode_group_mod_untrusted}
