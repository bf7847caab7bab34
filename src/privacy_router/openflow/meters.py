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
from privacy_router.openflow.message import Message
from privacy_router.openflow.wire import value_class

if TYPE_CHECKING:
    from privacy_router.openflow.message import MessageDecoder
    from privacy_router.openflow.wire import Reader

_BAND_HEADER: Final = struct.Struct("!HHII")
_DROP: Final = struct.Struct("!HHII4x")
_DSCP: Final = struct.Struct("!HHIIB3x")
_METER_MOD: Final = struct.Struct("!HHI")


@value_class
class Band:
    """Drop what comes above `rate`, in packets or kbit per second by the meter's flags.

    `burst` is in packets or kbit, and counts with `MeterFlag.BURST`.
    """

    rate: int
    burst: int = 0

    def encode(self) -> bytes:
        return _DROP.pack(MeterBandType.DROP, _DROP.size, self.rate, self.burst)


@value_class
class DscpRemarkBand:
    """Raise the drop precedence in the DSCP by `levels` above `rate`. Not in Open vSwitch 3.1."""

    rate: int
    burst: int = 0
    levels: int = 1

    def encode(self) -> bytes:
        kind = MeterBandType.DSCP_REMARK
        return _DSCP.pack(kind, _DSCP.size, self.rate, self.burst, self.levels)


@value_class
class ExperimenterBand:
    """Do what an experimenter defines above `rate`."""

    rate: int
    burst: int
    experimenter: int
    data: bytes = b""

    def encode(self) -> bytes:
        tail = self.experimenter.to_bytes(4, "big") + self.data
        return _frame_band(MeterBandType.EXPERIMENTER, self.rate, self.burst, tail)


@value_class
class RawBand:
    """A band of another type, kept as it is. `body` follows its header."""

    rate: int
    burst: int
    band_type: int
    body: bytes

    def encode(self) -> bytes:
        return _frame_band(self.band_type, self.rate, self.burst, self.body)


AnyBand = Band | DscpRemarkBand | ExperimenterBand | RawBand


def _frame_band(band_type: int, rate: int, burst: int, body: bytes) -> bytes:
    return _BAND_HEADER.pack(band_type, _BAND_HEADER.size + len(body), rate, burst) + body


def decode_bands_untrusted(reader: Reader) -> tuple[AnyBand, ...]:
    """All bands up to the end of `reader`. Raises DecodeError."""
    bands: list[AnyBand] = []
    while reader.left():
        band_type, length, rate, burst = reader.unpack("HHII")
        with reader.sub(length - _BAND_HEADER.size) as body:
            bands.append(_decode_band_untrusted(band_type, rate, burst, body))
    return tuple(bands)


def _decode_band_untrusted(band_type: int, rate: int, burst: int, body: Reader) -> AnyBand:
    if band_type == MeterBandType.DROP:
        body.unpack("4x")
        return Band(rate, burst)
    if band_type == MeterBandType.DSCP_REMARK:
        return DscpRemarkBand(rate, burst, *body.unpack("B3x"))
    if band_type == MeterBandType.EXPERIMENTER:
        return ExperimenterBand(rate, burst, body.unpack("I")[0], body.rest())
    return RawBand(rate, burst, band_type, body.rest())


@value_class
class MeterMod(Message):
    """Add, change or delete a meter (`MeterCommand`, `MeterFlag`)."""

    TYPE: ClassVar[int] = MessageType.METER_MOD
    command: int
    meter_id: int
    flags: int = MeterFlag.PKTPS | MeterFlag.BURST | MeterFlag.STATS
    bands: tuple[AnyBand, ...] = ()

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
