"""The actions of OpenFlow 1.3 on MPLS and PBB headers and on their TTLs (7.2.5)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from privacy_router.openflow.action import Action
from privacy_router.openflow.constants import ActionType, EtherType
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.openflow.wire import Reader

_BYTE: Final = struct.Struct("!HHB3x")
_SHORT: Final = struct.Struct("!HHH2x")
_BARE: Final = struct.Struct("!HH4x")
_BYTES = _BARE.size


@value_class
class CopyTtlOut(Action):
    """Copy the TTL from the next to outermost header to the outermost. Not in Open vSwitch."""

    def encode(self) -> bytes:
        return _BARE.pack(ActionType.COPY_TTL_OUT, _BYTES)


@value_class
class CopyTtlIn(Action):
    """Copy the TTL from the outermost header to the next. Not in Open vSwitch."""

    def encode(self) -> bytes:
        return _BARE.pack(ActionType.COPY_TTL_IN, _BYTES)


@value_class
class SetMplsTtl(Action):
    """Set the TTL of the outermost MPLS header."""

    ttl: int

    def encode(self) -> bytes:
        return _BYTE.pack(ActionType.SET_MPLS_TTL, _BYTES, self.ttl)


@value_class
class DecMplsTtl(Action):
    """Count the TTL of the outermost MPLS header down by one."""

    def encode(self) -> bytes:
        return _BARE.pack(ActionType.DEC_MPLS_TTL, _BYTES)


@value_class
class PushMpls(Action):
    """Add an MPLS header."""

    ethertype: int = EtherType.MPLS

    def encode(self) -> bytes:
        return _SHORT.pack(ActionType.PUSH_MPLS, _BYTES, self.ethertype)


@value_class
class PopMpls(Action):
    """Remove the outermost MPLS header; `ethertype` says what is below it."""

    ethertype: int

    def encode(self) -> bytes:
        return _SHORT.pack(ActionType.POP_MPLS, _BYTES, self.ethertype)


@value_class
class PushPbb(Action):
    """Add a PBB service header. Not in Open vSwitch."""

    ethertype: int = EtherType.PBB

    def encode(self) -> bytes:
        return _SHORT.pack(ActionType.PUSH_PBB, _BYTES, self.ethertype)


@value_class
class PopPbb(Action):
    """Remove the outermost PBB service header. Not in Open vSwitch."""

    def encode(self) -> bytes:
        return _BARE.pack(ActionType.POP_PBB, _BYTES)


DECODERS: Final[dict[int, Callable[[Reader], Action]]] = {
    ActionType.COPY_TTL_OUT: lambda r: CopyTtlOut(*r.unpack("4x")),
    ActionType.COPY_TTL_IN: lambda r: CopyTtlIn(*r.unpack("4x")),
    ActionType.SET_MPLS_TTL: lambda r: SetMplsTtl(*r.unpack("B3x")),
    ActionType.DEC_MPLS_TTL: lambda r: DecMplsTtl(*r.unpack("4x")),
    ActionType.PUSH_MPLS: lambda r: PushMpls(*r.unpack("H2x")),
    ActionType.POP_MPLS: lambda r: PopMpls(*r.unpack("H2x")),
    ActionType.PUSH_PBB: lambda r: PushPbb(*r.unpack("H2x")),
    ActionType.POP_PBB: lambda r: PopPbb(*r.unpack("4x")),
}
