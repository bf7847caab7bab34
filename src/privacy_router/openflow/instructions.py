"""What a flow does with its packets (OpenFlow 1.3.5, 7.2.4)."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow.action import Action, encode_actions
from privacy_router.openflow.actions import Output, decode_actions_untrusted
from privacy_router.openflow.constants import ActionType, InstructionType
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.wire import Reader, pad8, value_class

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER: Final = struct.Struct("!HH")
_LIST_HEADER: Final = struct.Struct("!HH4x")
_LIST_HEADER_BYTES = _LIST_HEADER.size
_GOTO: Final = struct.Struct("!HHB3x")
_METADATA: Final = struct.Struct("!HH4xQQ")
_METER: Final = struct.Struct("!HHI")
_APPLY, _WRITE = int(InstructionType.APPLY_ACTIONS), int(InstructionType.WRITE_ACTIONS)
_APPLY_OUTPUT: Final = struct.Struct("!12sIH6x")
_pack_apply_output: Final = _APPLY_OUTPUT.pack
_APPLY_OUTPUT_HEAD: Final = _LIST_HEADER.pack(_APPLY, _APPLY_OUTPUT.size) + _HEADER.pack(
    ActionType.OUTPUT, _APPLY_OUTPUT.size - _LIST_HEADER_BYTES
)
_REMEMBERED_LISTS = 4096


class Instruction(ABC):
    """One instruction of a flow. Immutable and hashable.

    `RANK` is its turn: a switch carries instructions out in this order, not in that of the
    message (5.9).
    """

    __slots__ = ()
    RANK: ClassVar[int] = 9

    @abstractmethod
    def encode(self) -> bytes:
        """The `ofp_instruction` with its padding."""

    def does_nothing(self) -> bool:
        """Whether a switch may leave it out when it reads the flow back."""
        return False


@value_class
class Meter(Instruction):
    """Drop what exceeds a meter's rate."""

    RANK: ClassVar[int] = 0
    meter_id: int

    def encode(self) -> bytes:
        return _METER.pack(InstructionType.METER, _METER.size, self.meter_id)


@value_class
class ApplyActions(Instruction):
    """Carry actions out at once, in order."""

    RANK: ClassVar[int] = 1
    actions: tuple[Action, ...]

    def encode(self) -> bytes:
        actions = self.actions
        if len(actions) == 1:
            only = actions[0]
            if type(only) is Output:  # in one step: this is what most flows do
                return _pack_apply_output(_APPLY_OUTPUT_HEAD, only.port, only.max_len)
        return _encode_list(_APPLY, actions)

    def does_nothing(self) -> bool:
        return not self.actions


@value_class
class ClearActions(Instruction):
    """Empty the action set."""

    RANK: ClassVar[int] = 2

    def encode(self) -> bytes:
        return _LIST_HEADER.pack(InstructionType.CLEAR_ACTIONS, _LIST_HEADER.size)


@value_class
class WriteActions(Instruction):
    """Add actions to the action set, which is carried out at the end of the pipeline."""

    RANK: ClassVar[int] = 3
    actions: tuple[Action, ...]

    def encode(self) -> bytes:
        return _encode_list(_WRITE, self.actions)

    def does_nothing(self) -> bool:
        return not self.actions


@value_class
class WriteMetadata(Instruction):
    """Write the bits of `mask` into the metadata that goes with the packet."""

    RANK: ClassVar[int] = 4
    metadata: int
    mask: int = 0xFFFFFFFFFFFFFFFF

    def encode(self) -> bytes:
        kind = InstructionType.WRITE_METADATA
        return _METADATA.pack(kind, _METADATA.size, self.metadata, self.mask)

    def does_nothing(self) -> bool:
        return not self.mask


@value_class
class GotoTable(Instruction):
    """Go on in a later table."""

    RANK: ClassVar[int] = 5
    table_id: int

    def encode(self) -> bytes:
        return _GOTO.pack(InstructionType.GOTO_TABLE, _GOTO.size, self.table_id)


@value_class
class ExperimenterInstruction(Instruction):
    """An experimenter's instruction. `data` is padded to 4 bytes plus a multiple of 8.

    Its turn among the others is not known: it stands last.
    """

    experimenter: int
    data: bytes = b""

    def encode(self) -> bytes:
        body = self.experimenter.to_bytes(4, "big") + self.data
        return _frame(InstructionType.EXPERIMENTER, body)


@value_class
class RawInstruction(Instruction):
    """An instruction of another type, kept as it is. `body` follows the header."""

    instruction_type: int
    body: bytes

    def encode(self) -> bytes:
        return _frame(self.instruction_type, self.body)


def _frame(kind: int, body: bytes) -> bytes:
    padded = pad8(bytes(_HEADER.size) + body)
    return _HEADER.pack(kind, len(padded)) + padded[_HEADER.size :]


def _encode_list(kind: int, actions: tuple[Action, ...]) -> bytes:
    body = encode_actions(actions)
    return _LIST_HEADER.pack(kind, _LIST_HEADER_BYTES + len(body)) + body


def encode_instructions(instructions: tuple[Instruction, ...]) -> bytes:
    """The instructions one after the other."""
    if len(instructions) == 1:
        return instructions[0].encode()
    return b"".join([instruction.encode() for instruction in instructions])


def canonical_instructions(instructions: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
    """In the order of execution, without those that do nothing: what a switch reads back."""
    if len(instructions) == 1 and not instructions[0].does_nothing():
        return instructions
    useful = [instruction for instruction in instructions if not instruction.does_nothing()]
    return tuple(sorted(useful, key=lambda instruction: instruction.RANK))


# --- decoding -----------------------------------------------------------------------------------


def decode_instructions_untrusted(reader: Reader) -> tuple[Instruction, ...]:
    """All instructions up to the end of `reader`. Raises DecodeError."""
    return _decode_list_untrusted(reader.rest())


# Flows of one switch mostly do one of a few things: each is decoded and held in memory once.
@lru_cache(maxsize=_REMEMBERED_LISTS)
def _decode_list_untrusted(data: bytes) -> tuple[Instruction, ...]:
    reader = Reader(data)
    instructions: list[Instruction] = []
    while reader.left():
        instructions.append(_decode_instruction_untrusted(reader))
    return tuple(instructions)


def _decode_instruction_untrusted(reader: Reader) -> Instruction:
    kind, length = reader.unpack("HH")
    if length < 8 or length % 8:
        raise DecodeError(f"instruction of type {kind} and length {length}")
    with reader.sub(length - _HEADER.size) as body:
        decode = _DECODERS.get(kind)
        return decode(body) if decode else RawInstruction(kind, body.rest())


def _decode_apply_untrusted(reader: Reader) -> Instruction:
    reader.unpack("4x")
    return ApplyActions(decode_actions_untrusted(reader))


def _decode_write_untrusted(reader: Reader) -> Instruction:
    reader.unpack("4x")
    return WriteActions(decode_actions_untrusted(reader))


_DECODERS: Final[dict[int, Callable[[Reader], Instruction]]] = {
    InstructionType.GOTO_TABLE: lambda r: GotoTable(*r.unpack("B3x")),
    InstructionType.WRITE_METADATA: lambda r: WriteMetadata(*r.unpack("4xQQ")),
    InstructionType.WRITE_ACTIONS: _decode_write_untrusted,
    InstructionType.APPLY_ACTIONS: _decode_apply_untrusted,
    InstructionType.CLEAR_ACTIONS: lambda r: ClearActions(*r.unpack("4x")),
    InstructionType.METER: lambda r: Meter(*r.unpack("I")),
    InstructionType.EXPERIMENTER: lambda r: ExperimenterInstruction(r.unpack("I")[0], r.rest()),
}
