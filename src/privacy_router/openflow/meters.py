"""Meters (OpenFlow 1.3.5, 7.3.4.4)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow.constants import (
    MessageType,
    MeterBandType,
    MeterCommand,
    MeterFlag,
    MeterId,
)
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.message import Message
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from privacy_router.openflow.message import MessageDecoder
    from privacy_router.openflow.wire import Reader

_BAND: Final = struct.Struct("!HHII4s")
_METER_MOD: Final = struct.Struct("!HHI")


@value_class
class Band:
    """What a meter does above `rate`, in packets or kbit per second by the meter's flags.

    `extra` is the 4 bytes that depend on the type, e.g. the precedence level of DSCP_REMARK.
    """

    rate: int
    burst: int = 0
    band_type: int = MeterBandType.DROP
    extra: bytes = bytes(4)

    def encode(self) -> bytes:
        return _BAND.pack(self.band_type, _BAND.size, self.rate, self.burst, self.extra)


def decode_bands_untrusted(reader: Reader) -> tuple[Band, ...]:
    """All bands up to the end of `reader`. Raises DecodeError."""
    bands: list[Band] = []
    while reader.left():
        band_type, length, rate, burst, extra = reader.unpack("HHII4s")
        if length != _BAND.size:
            raise DecodeError(f"a meter band of {length} bytes")
        bands.append(Band(rate, burst, band_type, extra))
    return tuple(bands)


@value_class
class MeterMod(Message):
    """Add, change or delete a meter (`MeterCommand`, `MeterFlag`)."""

    TYPE: ClassVar[int] = MessageType.METER_MOD
    command: int
    meter_id: int
    flags: int = MeterFlag.PKTPS | MeterFlag.BURST | MeterFlag.STATS
    bands: tuple[Band, ...] = ()

    def body(self) -> bytes:
        head = _METER_MOD.pack(self.command, self.flags, self.meter_id)
        return head + b"".join(band.encode() for band in self.bands)


def delete_meter(meter_id: int = MeterId.ALL) -> MeterMod:
    """Delete one meter, or all, and the flows that use it."""
    return MeterMod(MeterCommand.DELETE, meter_id, 0)


def _decode_meter_mod_untrusted(reader: Reader) -> Message:
    command, flags, meter_id = reader.unpack("HHI")
    return MeterMod(command, meter_id, flags, decode_bands_untrusted(reader))


DECODERS: Final[dict[int, MessageDecoder]] = {MessageType.METER_MOD: _decode_meter_mod_untrusted}
