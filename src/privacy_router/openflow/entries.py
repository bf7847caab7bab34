"""What multipart replies are made of (OpenFlow 1.3.5, 7.3.5)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.flows import FlowContent, FlowKey
from privacy_router.openflow.groups import Bucket, decode_buckets_untrusted
from privacy_router.openflow.instructions import (
    Instruction,
    canonical_instructions,
    decode_instructions_untrusted,
    encode_instructions,
)
from privacy_router.openflow.match import Match, decode_match_untrusted
from privacy_router.openflow.meters import AnyBand, decode_bands_untrusted
from privacy_router.openflow.wire import text_untrusted, value_class

if TYPE_CHECKING:
    from privacy_router.openflow.wire import Reader

_DESC_LAYOUT = "256s256s256s32s256s"
_FLOW: Final = struct.Struct("!HBxIIHHHH4xQQQ")
_GROUP_LAYOUT = "H2xII4xQQII"
_METER_LAYOUT = "IH6xIQQII"


@value_class
class Desc:
    """Who made the switch (7.3.5.1)."""

    manufacturer: str
    hardware: str
    software: str
    serial_number: str
    datapath: str

    def encode(self) -> bytes:
        texts = (self.manufacturer, self.hardware, self.software, self.serial_number, self.datapath)
        return struct.pack("!" + _DESC_LAYOUT, *(text.encode() for text in texts))


def decode_desc_untrusted(reader: Reader) -> Desc:
    return Desc(*(text_untrusted(text) for text in reader.unpack(_DESC_LAYOUT)))


@value_class
class FlowStats:
    """A flow as the switch has it (7.3.5.2)."""

    table_id: int
    priority: int
    match: Match
    instructions: tuple[Instruction, ...]
    cookie: int = 0
    packet_count: int = 0
    byte_count: int = 0
    idle_timeout_s: int = 0
    hard_timeout_s: int = 0
    flags: int = 0
    duration_s: int = 0
    duration_extra_ns: int = 0

    def encode(self) -> bytes:
        tail = self.match.wire + encode_instructions(self.instructions)
        head = _FLOW.pack(
            *(_FLOW.size + len(tail), self.table_id, self.duration_s, self.duration_extra_ns),
            *(self.priority, self.idle_timeout_s, self.hard_timeout_s, self.flags),
            *(self.cookie, self.packet_count, self.byte_count),
        )
        return head + tail

    def key(self) -> FlowKey:
        """Table, priority and match."""
        return FlowKey(self.table_id, self.priority, self.match)

    def content(self) -> FlowContent:
        """What the flow does; equals `FlowMod.content()` of what was installed."""
        timeouts = (self.idle_timeout_s, self.hard_timeout_s)
        instructions = canonical_instructions(self.instructions)
        return FlowContent(self.cookie, instructions, *timeouts, self.flags)


def decode_flow_untrusted(reader: Reader) -> FlowStats:
    length, table, seconds, nanos, priority, idle, hard, flags, *counts = reader.unpack(
        "HBxIIHHHH4xQQQ"
    )
    with reader.sub(_less(length, _FLOW.size)) as tail:
        match = decode_match_untrusted(tail)
        instructions = decode_instructions_untrusted(tail)
    numbers = (*counts, idle, hard, flags, seconds, nanos)
    return FlowStats(table, priority, match, instructions, *numbers)


def _less(length: int, head: int) -> int:
    if length < head:
        raise DecodeError(f"an entry of {length} bytes, at least {head} expected")
    return length - head


@value_class
class Aggregate:
    """Flows together (7.3.5.3)."""

    packet_count: int
    byte_count: int
    flow_count: int

    def encode(self) -> bytes:
        return struct.pack("!QQI4x", self.packet_count, self.byte_count, self.flow_count)


@value_class
class TableStats:
    """One table (7.3.5.4)."""

    table_id: int
    active_count: int
    lookup_count: int
    matched_count: int

    def encode(self) -> bytes:
        counts = (self.active_count, self.lookup_count, self.matched_count)
        return struct.pack("!B3xIQQ", self.table_id, *counts)


@value_class
class PortStats:
    """Counters of one port (7.3.5.6)."""

    port: int
    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_dropped: int
    tx_dropped: int
    rx_errors: int
    tx_errors: int
    rx_frame_errors: int
    rx_over_errors: int
    rx_crc_errors: int
    collisions: int
    duration_s: int
    duration_extra_ns: int

    def encode(self) -> bytes:
        return struct.pack(
            "!I4x12QII",
            *(self.port, self.rx_packets, self.tx_packets, self.rx_bytes, self.tx_bytes),
            *(self.rx_dropped, self.tx_dropped, self.rx_errors, self.tx_errors),
            *(self.rx_frame_errors, self.rx_over_errors, self.rx_crc_errors, self.collisions),
            *(self.duration_s, self.duration_extra_ns),
        )


@value_class
class GroupStats:
    """Counters of one group and its buckets, (packets, bytes) each (7.3.5.9)."""

    group_id: int
    reference_count: int
    packet_count: int
    byte_count: int
    duration_s: int
    duration_extra_ns: int
    buckets: tuple[tuple[int, int], ...]

    def encode(self) -> bytes:
        tail = b"".join(struct.pack("!QQ", *bucket) for bucket in self.buckets)
        counts = (self.group_id, self.reference_count, self.packet_count, self.byte_count)
        length = struct.calcsize("!" + _GROUP_LAYOUT) + len(tail)
        times = (self.duration_s, self.duration_extra_ns)
        return struct.pack("!" + _GROUP_LAYOUT, length, *counts, *times) + tail


def decode_group_stats_untrusted(reader: Reader) -> GroupStats:
    length, *numbers = reader.unpack(_GROUP_LAYOUT)
    buckets = []
    with reader.sub(_less(length, struct.calcsize("!" + _GROUP_LAYOUT))) as tail:
        while tail.left():
            buckets.append(tail.unpack("QQ"))
    return GroupStats(*(*numbers, tuple(buckets)))


@value_class
class GroupDesc:
    """A group as the switch has it (7.3.5.10)."""

    group_id: int
    group_type: int
    buckets: tuple[Bucket, ...]

    def encode(self) -> bytes:
        tail = b"".join(bucket.encode() for bucket in self.buckets)
        return struct.pack("!HBxI", 8 + len(tail), self.group_type, self.group_id) + tail


def decode_group_desc_untrusted(reader: Reader) -> GroupDesc:
    length, group_type, group_id = reader.unpack("HBxI")
    buckets = decode_buckets_untrusted(reader.sub(_less(length, 8)))
    return GroupDesc(group_id, group_type, buckets)


@value_class
class MeterStats:
    """Counters of one meter and its bands, (packets, bytes) each (7.3.5.12)."""

    meter_id: int
    flow_count: int
    packet_count: int
    byte_count: int
    duration_s: int
    duration_extra_ns: int
    bands: tuple[tuple[int, int], ...]

    def encode(self) -> bytes:
        tail = b"".join(struct.pack("!QQ", *band) for band in self.bands)
        length = struct.calcsize("!" + _METER_LAYOUT) + len(tail)
        counts = (self.flow_count, self.packet_count, self.byte_count)
        times = (self.duration_s, self.duration_extra_ns)
        return struct.pack("!" + _METER_LAYOUT, self.meter_id, length, *counts, *times) + tail


def decode_meter_stats_untrusted(reader: Reader) -> MeterStats:
    meter_id, length, *numbers = reader.unpack(_METER_LAYOUT)
    bands = []
    with reader.sub(_less(length, struct.calcsize("!" + _METER_LAYOUT))) as tail:
        while tail.left():
            bands.append(tail.unpack("QQ"))
    return MeterStats(meter_id, *(*numbers, tuple(bands)))


@value_class
class MeterConfig:
    """A meter as the switch has it (7.3.5.13)."""

    meter_id: int
    flags: int
    bands: tuple[AnyBand, ...]

    def encode(self) -> bytes:
        tail = b"".join(band.encode() for band in self.bands)
        return struct.pack("!HHI", 8 + len(tail), self.flags, self.meter_id) + tail


def decode_meter_config_untrusted(reader: Reader) -> MeterConfig:
    length, flags, meter_id = reader.unpack("HHI")
    return MeterConfig(meter_id, flags, decode_bands_untrusted(reader.sub(_less(length, 8))))


@value_class
class MeterFeatures:
    """What meters the switch can do (7.3.5.14). `band_types` and `capabilities` are bit sets."""

    max_meters: int
    band_types: int
    capabilities: int
    max_bands: int
    max_color: int

    def encode(self) -> bytes:
        limits = (self.max_bands, self.max_color)
        return struct.pack("!IIIBB2x", self.max_meters, self.band_types, self.capabilities, *limits)


@value_class
class GroupFeatures:
    """What groups the switch can do (7.3.5.11): per group type, how many and which actions."""

    types: int
    capabilities: int
    max_groups: tuple[int, ...]
    actions: tuple[int, ...]

    def encode(self) -> bytes:
        return struct.pack(
            "!II4I4I", self.types, self.capabilities, *self.max_groups, *self.actions
        )


def decode_group_features_untrusted(reader: Reader) -> GroupFeatures:
    types, capabilities, *numbers = reader.unpack("II4I4I")
    return GroupFeatures(types, capabilities, tuple(numbers[:4]), tuple(numbers[4:]))


@value_class
class RawEntry:
    """The content of a multipart message of another kind, kept as it is."""

    data: bytes

    def encode(self) -> bytes:
        return self.data
