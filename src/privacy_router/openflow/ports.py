"""Ports: what they are and how they change (OpenFlow 1.3.5, 7.2.1, 7.3.4.3, 7.4.3)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from privacy_router.openflow.constants import MessageType, PortConfig, PortState
from privacy_router.openflow.message import Message
from privacy_router.openflow.wire import text_untrusted, value_class

if TYPE_CHECKING:
    from privacy_router.openflow.message import MessageDecoder
    from privacy_router.openflow.wire import Reader

_PORT: Final = struct.Struct("!I4x6s2x16s8I")
_PORT_MOD_LAYOUT = "I4x6s2xIII4x"
_PORT_MOD: Final = struct.Struct("!" + _PORT_MOD_LAYOUT)
_REASON: Final = struct.Struct("!B7x")


@value_class
class PortDesc:
    """One port. `mac` is a number of 48 bits; speeds are in kbit/s; see 7.2.1 for the rest."""

    number: int
    mac: int
    name: str
    config: int = 0
    state: int = 0
    current: int = 0
    advertised: int = 0
    supported: int = 0
    peer: int = 0
    current_speed_kbps: int = 0
    max_speed_kbps: int = 0

    def is_up(self) -> bool:
        """Whether the port is switched on and has a link."""
        return not self.config & PortConfig.PORT_DOWN and not self.state & PortState.LINK_DOWN

    def encode(self) -> bytes:
        return _PORT.pack(
            *(self.number, self.mac.to_bytes(6, "big"), self.name.encode()),
            *(self.config, self.state, self.current, self.advertised, self.supported, self.peer),
            *(self.current_speed_kbps, self.max_speed_kbps),
        )


def decode_port_untrusted(reader: Reader) -> PortDesc:
    """One `ofp_port`. Raises DecodeError."""
    number, mac, name, *numbers = reader.unpack("I4x6s2x16s8I")
    return PortDesc(number, int.from_bytes(mac, "big"), text_untrusted(name), *numbers)


@value_class
class PortStatus(Message):
    """A port came, went or changed. `reason` is of `PortStatusReason`."""

    TYPE: ClassVar[int] = MessageType.PORT_STATUS
    reason: int
    port: PortDesc

    def body(self) -> bytes:
        return _REASON.pack(self.reason) + self.port.encode()


@value_class
class PortMod(Message):
    """Change the bits of `mask` in a port's configuration to those of `config` (7.3.4.3).

    Both are of `PortConfig`. `mac` has to be the port's, or the switch refuses. `advertise` are
    bits of ofp_port_features, or 0 for no change.
    """

    TYPE: ClassVar[int] = MessageType.PORT_MOD
    number: int
    mac: int
    config: int
    mask: int
    advertise: int = 0

    def body(self) -> bytes:
        mac = self.mac.to_bytes(6, "big")
        return _PORT_MOD.pack(self.number, mac, self.config, self.mask, self.advertise)


def _decode_port_mod_untrusted(reader: Reader) -> Message:
    number, mac, *numbers = reader.unpack(_PORT_MOD_LAYOUT)
    return PortMod(number, int.from_bytes(mac, "big"), *numbers)


def _decode_port_status_untrusted(reader: Reader) -> Message:
    (reason,) = reader.unpack("B7x")
    return PortStatus(reason, decode_port_untrusted(reader))


DECODERS: Final[dict[int, MessageDecoder]] = {
    MessageType.PORT_STATUS: _decode_port_status_untrusted,
    MessageType.PORT_MOD: _decode_port_mod_untrusted,
}
