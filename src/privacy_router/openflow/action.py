"""What every action has in common."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import Final

from privacy_router.openflow.wire import pad8

ACTION_HEADER: Final = struct.Struct("!HH")


class Action(ABC):
    """One thing to do to a packet (OpenFlow 1.3.5, 7.2.5). Immutable and hashable."""

    __slots__ = ()

    @abstractmethod
    def encode(self) -> bytes:
        """The `ofp_action` with its padding."""


def frame_action(action_type: int, body: bytes) -> bytes:
    """An action of that type around `body`, padded to 8 bytes."""
    padded = pad8(bytes(ACTION_HEADER.size) + body)
    return ACTION_HEADER.pack(action_type, len(padded)) + padded[ACTION_HEADER.size :]


def encode_actions(actions: tuple[Action, ...]) -> bytes:
    """The actions one after the other."""
    if len(actions) == 1:
        return actions[0].encode()
    return b"".join([action.encode() for action in actions])
