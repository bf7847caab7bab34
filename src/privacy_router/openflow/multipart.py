"""Multipart messages: questions with long answers (OpenFlow 1.3.5, 7.3.5)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow import entries, monitor, tables
from privacy_router.openflow.constants import (
    GroupId,
    MessageType,
    MeterId,
    MultipartType,
    PortNumber,
    TableId,
)
from privacy_router.openflow.entries import RawEntry
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.flows import ANY_FLOW
from privacy_router.openflow.match import Match, decode_match_untrusted
from privacy_router.openflow.message import Message
from privacy_router.openflow.ports import PortDesc, decode_port_untrusted
from privacy_router.openflow.queues import QueueQuery, QueueStats
from privacy_router.openflow.tables import TableFeatures, TablesQuery
from privacy_router.openflow.wire import Reader, value_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.openflow.message import MessageDecoder

Entry = (
    entries.Desc
    | entries.FlowStats
    | entries.Aggregate
    | entries.TableStats
    | entries.PortStats
    | entries.GroupStats
    | entries.GroupDesc
    | entries.GroupFeatures
    | entries.MeterStats
    | entries.MeterConfig
    | entries.MeterFeatures
    | PortDesc
    | QueueStats
    | TableFeatures
    | monitor.FlowEvents
    | RawEntry
)

_MORE = 1  # OFPMPF_REQ_MORE and OFPMPF_REPLY_MORE
_HEAD: Final = struct.Struct("!HH4x")
_FLOW_QUERY: Final = struct.Struct("!B3xII4xQQ")


@value_class
class FlowQuery:
    """Which flows are asked for (7.3.5.2)."""

    table_id: int = TableId.ALL
    match: Match = ANY_FLOW
    cookie: int = 0
    cookie_mask: int = 0
    out_port: int = PortNumber.ANY
    out_group: int = GroupId.ANY

    def encode(self) -> bytes:
        numbers = (self.table_id, self.out_port, self.out_group, self.cookie, self.cookie_mask)
        return _FLOW_QUERY.pack(*numbers) + self.match.wire


@value_class
class IdQuery:
    """Which port, group or meter is asked for."""

    number: int

    def encode(self) -> bytes:
        return struct.pack("!I4x", self.number)


Query = FlowQuery | IdQuery | QueueQuery | TablesQuery | monitor.FlowMonitor | RawEntry


@value_class
class MultipartRequest(Message):
    """A question. `kind` is of `MultipartType`; `query` is None where it needs none."""

    TYPE: ClassVar[int] = MessageType.MULTIPART_REQUEST
    kind: int
    query: Query | None = None
    more: bool = False

    def body(self) -> bytes:
        head = _HEAD.pack(self.kind, _MORE if self.more else 0)
        return head + (self.query.encode() if self.query else b"")


@value_class
class MultipartReply(Message):
    """An answer, or a part of it when `more` follows."""

    TYPE: ClassVar[int] = MessageType.MULTIPART_REPLY
    kind: int
    entries: tuple[Entry, ...]
    more: bool = False

    def body(self) -> bytes:
        head = _HEAD.pack(self.kind, _MORE if self.more else 0)
        return head + b"".join(entry.encode() for entry in self.entries)


def desc_request() -> MultipartRequest:
    """Who made the switch. Answer: one `Desc`."""
    return MultipartRequest(MultipartType.DESC)


def flow_request(query: FlowQuery | None = None) -> MultipartRequest:
    """Flows. Answer: `FlowStats`."""
    return MultipartRequest(MultipartType.FLOW, query or FlowQuery())


def aggregate_request(query: FlowQuery | None = None) -> MultipartRequest:
    """Flows together. Answer: one `Aggregate`."""
    return MultipartRequest(MultipartType.AGGREGATE, query or FlowQuery())


def table_request() -> MultipartRequest:
    """All tables. Answer: `TableStats`."""
    return MultipartRequest(MultipartType.TABLE)


def port_stats_request(port: int = PortNumber.ANY) -> MultipartRequest:
    """Counters of one or all ports. Answer: `PortStats`."""
    return MultipartRequest(MultipartType.PORT_STATS, IdQuery(port))


def port_desc_request() -> MultipartRequest:
    """All ports. Answer: `PortDesc`."""
    return MultipartRequest(MultipartType.PORT_DESC)


def group_stats_request(group_id: int = GroupId.ALL) -> MultipartRequest:
    """Counters of one or all groups. Answer: `GroupStats`."""
    return MultipartRequest(MultipartType.GROUP, IdQuery(group_id))


def group_desc_request() -> MultipartRequest:
    """All groups. Answer: `GroupDesc`."""
    return MultipartRequest(MultipartType.GROUP_DESC)


def group_features_request() -> MultipartRequest:
    """What groups the switch can do. Answer: one `GroupFeatures`."""
    return MultipartRequest(MultipartType.GROUP_FEATURES)


def meter_stats_request(meter_id: int = MeterId.ALL) -> MultipartRequest:
    """Counters of one or all meters. Answer: `MeterStats`."""
    return MultipartRequest(MultipartType.METER, IdQuery(meter_id))


def meter_config_request(meter_id: int = MeterId.ALL) -> MultipartRequest:
    """One or all meters. Answer: `MeterConfig`."""
    return MultipartRequest(MultipartType.METER_CONFIG, IdQuery(meter_id))


def meter_features_request() -> MultipartRequest:
    """What meters the switch can do. Answer: one `MeterFeatures`."""
    return MultipartRequest(MultipartType.METER_FEATURES)


def queue_stats_request(query: QueueQuery | None = None) -> MultipartRequest:
    """Counters of queues. Answer: `QueueStats`."""
    return MultipartRequest(MultipartType.QUEUE, query or QueueQuery())


def table_features_request() -> MultipartRequest:
    """What the tables can do. Answer: `TableFeatures`."""
    return MultipartRequest(MultipartType.TABLE_FEATURES)


def monitor_request(query: monitor.FlowMonitor) -> MultipartRequest:
    """Changes to flows from now on. Answer: `FlowEvents`, and more of them whenever there are."""
    return MultipartRequest(MultipartType.EXPERIMENTER, query)


# --- decoding -----------------------------------------------------------------------------------


def _decode_flow_query_untrusted(reader: Reader) -> Query:
    table_id, out_port, out_group, cookie, cookie_mask = reader.unpack("B3xII4xQQ")
    match = decode_match_untrusted(reader)
    return FlowQuery(table_id, match, cookie, cookie_mask, out_port, out_group)


def _decode_id_query_untrusted(reader: Reader) -> Query:
    return IdQuery(*reader.unpack("I4x"))


_QUERIES: Final[dict[int, Callable[[Reader], Query | None]]] = {
    MultipartType.FLOW: _decode_flow_query_untrusted,
    MultipartType.AGGREGATE: _decode_flow_query_untrusted,
    MultipartType.PORT_STATS: _decode_id_query_untrusted,
    MultipartType.GROUP: _decode_id_query_untrusted,
    MultipartType.METER: _decode_id_query_untrusted,
    MultipartType.METER_CONFIG: _decode_id_query_untrusted,
    MultipartType.QUEUE: lambda r: QueueQuery(*r.unpack("II")),
    MultipartType.TABLE_FEATURES: tables.decode_query_untrusted,
}

_ENTRIES: Final[dict[int, Callable[[Reader], Entry]]] = {
    MultipartType.DESC: entries.decode_desc_untrusted,
    MultipartType.FLOW: entries.decode_flow_untrusted,
    MultipartType.AGGREGATE: lambda r: entries.Aggregate(*r.unpack("QQI4x")),
    MultipartType.TABLE: lambda r: entries.TableStats(*r.unpack("B3xIQQ")),
    MultipartType.PORT_STATS: lambda r: entries.PortStats(*r.unpack("I4x12QII")),
    MultipartType.PORT_DESC: decode_port_untrusted,
    MultipartType.GROUP: entries.decode_group_stats_untrusted,
    MultipartType.GROUP_DESC: entries.decode_group_desc_untrusted,
    MultipartType.GROUP_FEATURES: entries.decode_group_features_untrusted,
    MultipartType.METER: entries.decode_meter_stats_untrusted,
    MultipartType.METER_CONFIG: entries.decode_meter_config_untrusted,
    MultipartType.METER_FEATURES: lambda r: entries.MeterFeatures(*r.unpack("IIIBB2x")),
    MultipartType.QUEUE: lambda r: QueueStats(*r.unpack("IIQQQII")),
    MultipartType.TABLE_FEATURES: tables.decode_features_untrusted,
}


def _decode_request_untrusted(reader: Reader) -> Message:
    kind, flags = reader.unpack("HH4x")
    decode = _QUERIES.get(kind)
    if kind == MultipartType.EXPERIMENTER and monitor.is_monitoring_untrusted(reader):
        query: Query | None = monitor.decode_query_untrusted(reader)
    elif decode is not None:
        query = decode(reader)
    else:
        query = RawEntry(reader.rest()) if reader.left() else None
    return MultipartRequest(kind, query, bool(flags & _MORE))


def _decode_reply_untrusted(reader: Reader) -> Message:
    kind, flags = reader.unpack("HH4x")
    decode = _ENTRIES.get(kind)
    found: list[Entry] = []
    if kind == MultipartType.EXPERIMENTER and monitor.is_monitoring_untrusted(reader):
        found.append(monitor.decode_events_untrusted(reader))
    elif decode is None and reader.left():
        found.append(RawEntry(reader.rest()))
    elif decode is not None:
        found = _decode_entries_untrusted(reader, decode)
    return MultipartReply(kind, tuple(found), bool(flags & _MORE))


def decode_raw_reply_untrusted(body: bytes) -> MultipartReply:
    """A reply whose entries stay together as they came, in one `RawEntry`. Raises DecodeError."""
    reader = Reader(body)
    kind, flags = reader.unpack("HH4x")
    return MultipartReply(kind, (RawEntry(reader.rest()),), bool(flags & _MORE))


def _decode_entries_untrusted(reader: Reader, decode: Callable[[Reader], Entry]) -> list[Entry]:
    found: list[Entry] = []
    while reader.left():
        before = reader.position
        found.append(decode(reader))
        if reader.position == before:
            raise DecodeError("a multipart entry of no bytes")
    return found


DECODERS: Final[dict[int, MessageDecoder]] = {
    MessageType.MULTIPART_REQUEST: _decode_request_untrusted,
    MessageType.MULTIPART_REPLY: _decode_reply_untrusted,
}
