"""Tables: what they can do, and changing that (OpenFlow 1.3.5, 7.3.3, 7.3.5.5)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow.constants import MessageType, OpenEnum
from privacy_router.openflow.fields import OxmClass, field_on_wire, known_field
from privacy_router.openflow.message import Message
from privacy_router.openflow.wire import Reader, pad8, text_untrusted, value_class

if TYPE_CHECKING:
    from privacy_router.openflow.message import MessageDecoder

_FEATURES_LAYOUT = "HB5x32sQQII"
_FEATURES: Final = struct.Struct("!" + _FEATURES_LAYOUT)
_PROPERTY: Final = struct.Struct("!HH")
_TYPE: Final = struct.Struct("!HH")
_OXM: Final = struct.Struct("!HBB")
_EXPERIMENTER_BYTES = 4


class TablePropertyKind(OpenEnum):
    """OpenFlow 1.3.5, 7.3.5.5.2 (ofp_table_feature_prop_type); MISS is about table-miss flows."""

    INSTRUCTIONS = 0
    INSTRUCTIONS_MISS = 1
    NEXT_TABLES = 2
    NEXT_TABLES_MISS = 3
    WRITE_ACTIONS = 4
    WRITE_ACTIONS_MISS = 5
    APPLY_ACTIONS = 6
    APPLY_ACTIONS_MISS = 7
    MATCH = 8
    WILDCARDS = 10
    WRITE_SETFIELD = 12
    WRITE_SETFIELD_MISS = 13
    APPLY_SETFIELD = 14
    APPLY_SETFIELD_MISS = 15
    EXPERIMENTER = 0xFFFE
    EXPERIMENTER_MISS = 0xFFFF


_Kind = TablePropertyKind
_OF_INSTRUCTIONS = (_Kind.INSTRUCTIONS, _Kind.INSTRUCTIONS_MISS)
_OF_TABLES = (_Kind.NEXT_TABLES, _Kind.NEXT_TABLES_MISS)
_OF_ACTIONS = (
    *(_Kind.WRITE_ACTIONS, _Kind.WRITE_ACTIONS_MISS),
    *(_Kind.APPLY_ACTIONS, _Kind.APPLY_ACTIONS_MISS),
)
_OF_FIELDS = (
    *(_Kind.MATCH, _Kind.WILDCARDS, _Kind.WRITE_SETFIELD, _Kind.WRITE_SETFIELD_MISS),
    *(_Kind.APPLY_SETFIELD, _Kind.APPLY_SETFIELD_MISS),
)


@value_class
class TypesProperty:
    """Which instructions or actions, by `kind`: numbers of `InstructionType` or `ActionType`."""

    kind: int
    types: tuple[int, ...]

    def encode(self) -> bytes:
        return _frame(self.kind, b"".join(_TYPE.pack(each, _TYPE.size) for each in self.types))


@value_class
class NextTablesProperty:
    """Which tables a flow can go to."""

    kind: int
    tables: tuple[int, ...]

    def encode(self) -> bytes:
        return _frame(self.kind, struct.pack(f"!{len(self.tables)}B", *self.tables))


@value_class
class OxmId:
    """A match field as a table names it. Switches differ in what `length` they give."""

    oxm_class: int
    number: int
    maskable: bool
    length: int
    experimenter: int | None = None

    @property
    def name(self) -> str:
        """The field's name; one that says its numbers when it is not known here."""
        known = known_field(self.oxm_class, self.number, self.experimenter)
        if known is not None:
            return known.name
        whose = self.experimenter
        payload_bytes = max(self.length - (0 if whose is None else _EXPERIMENTER_BYTES), 0)
        size = payload_bytes // 2 if self.maskable else payload_bytes
        return field_on_wire(self.oxm_class, self.number, whose, size).name

    def encode(self) -> bytes:
        header = _OXM.pack(self.oxm_class, self.number << 1 | self.maskable, self.length)
        return header + (b"" if self.experimenter is None else struct.pack("!I", self.experimenter))


@value_class
class FieldsProperty:
    """Which fields can be matched on, left out or set, by `kind`."""

    kind: int
    fields: tuple[OxmId, ...]

    def encode(self) -> bytes:
        return _frame(self.kind, b"".join(each.encode() for each in self.fields))


@value_class
class RawProperty:
    """Another property, or one with experimenters' types in it, kept as it is."""

    kind: int
    body: bytes

    def encode(self) -> bytes:
        return _frame(self.kind, self.body)


TableProperty = TypesProperty | NextTablesProperty | FieldsProperty | RawProperty


def _frame(kind: int, body: bytes) -> bytes:
    return pad8(_PROPERTY.pack(kind, _PROPERTY.size + len(body)) + body)


@value_class
class TableFeatures:
    """What a table can do. The two metadata numbers are masks of the bits that it knows."""

    table_id: int
    name: str
    metadata_match: int
    metadata_write: int
    config: int
    max_entries: int
    properties: tuple[TableProperty, ...] = ()

    def of_kind(self, kind: TablePropertyKind) -> TableProperty | None:
        """The property of that kind. A MISS kind that is not there is like its plain one."""
        found = {each.kind: each for each in self.properties}
        plain = kind - 1 if kind in _MISS_KINDS else kind
        return found.get(kind) or found.get(plain)

    def encode(self) -> bytes:
        tail = b"".join(each.encode() for each in self.properties)
        head = _FEATURES.pack(
            *(_FEATURES.size + len(tail), self.table_id, self.name.encode()),
            *(self.metadata_match, self.metadata_write, self.config, self.max_entries),
        )
        return head + tail


_MISS_KINDS: Final = frozenset(kind for kind in _Kind if kind.name.endswith("_MISS"))


@value_class
class TablesQuery:
    """The features that the tables are to have from now on, where the switch can change them."""

    tables: tuple[TableFeatures, ...]

    def encode(self) -> bytes:
        return b"".join(each.encode() for each in self.tables)


@value_class
class TableMod(Message):
    """Configure a table, or all with 0xff (7.3.3). No bit of `config` is in use in 1.3."""

    TYPE: ClassVar[int] = MessageType.TABLE_MOD
    table_id: int
    config: int = 0

    def body(self) -> bytes:
        return struct.pack("!B3xI", self.table_id, self.config)


# --- decoding -----------------------------------------------------------------------------------


def decode_features_untrusted(reader: Reader) -> TableFeatures:
    """One `ofp_table_features`. Raises DecodeError."""
    length, table_id, name, *numbers = reader.unpack(_FEATURES_LAYOUT)
    properties: list[TableProperty] = []
    with reader.sub(length - _FEATURES.size) as tail:
        while tail.left():
            properties.append(_decode_property_untrusted(tail))
    return TableFeatures(table_id, text_untrusted(name), *(*numbers, tuple(properties)))


def decode_query_untrusted(reader: Reader) -> TablesQuery | None:
    """The body of a request; None for one that only asks. Raises DecodeError."""
    tables: list[TableFeatures] = []
    while reader.left():
        tables.append(decode_features_untrusted(reader))
    return TablesQuery(tuple(tables)) if tables else None


def _decode_property_untrusted(reader: Reader) -> TableProperty:
    kind, length = reader.unpack("HH")
    body = reader.sub(length - _PROPERTY.size)
    reader.take(-length % 8)
    if kind in _OF_INSTRUCTIONS or kind in _OF_ACTIONS:
        return _decode_types_untrusted(kind, body)
    if kind in _OF_TABLES:
        return NextTablesProperty(kind, tuple(body.rest()))
    if kind in _OF_FIELDS:
        return _decode_fields_untrusted(kind, body)
    return RawProperty(kind, body.rest())


def _decode_types_untrusted(kind: int, reader: Reader) -> TableProperty:
    body = reader.rest()
    types: list[int] = []
    entries = Reader(body)
    while entries.left():
        number, length = entries.unpack("HH")
        if length != _TYPE.size:
            return RawProperty(kind, body)
        types.append(number)
    return TypesProperty(kind, tuple(types))


def _decode_fields_untrusted(kind: int, reader: Reader) -> TableProperty:
    fields: list[OxmId] = []
    while reader.left():
        oxm_class, number, length = reader.unpack("HBB")
        whose = reader.unpack("I")[0] if oxm_class == OxmClass.EXPERIMENTER else None
        fields.append(OxmId(oxm_class, number >> 1, bool(number & 1), length, whose))
    return FieldsProperty(kind, tuple(fields))


DECODERS: Final[dict[int, MessageDecoder]] = {
    MessageType.TABLE_MOD: lambda r: TableMod(*r.unpack("B3xI"))
}
