"""What of the OpenFlow configuration of a switch and its ports is not as it should be (pure).

None of our ports, and none of a container's, has any: `no-forward` and its like (7.2.1) drop
packets even where the flows let them through. Whether a port is down is left out: that is its
device's state, which Open vSwitch does not even see of a device in another namespace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.openflow import PortMod, SetConfig
from privacy_router.openflow.constants import ConfigFlag, PortConfig
from privacy_router.values.bridges import (
    BridgeSettingKey,
    PortSettingKey,
    SwitchSetting,
    SwitchValue,
)
from privacy_router.values.items import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from privacy_router.openflow import Message, PortDesc
    from privacy_router.openflow.messages import GetConfigReply

WORDS: Final = {
    PortConfig.NO_RECV: "no-receive",
    PortConfig.NO_FWD: "no-forward",
    PortConfig.NO_PACKET_IN: "no-packet-in",
}
"""The bits that are always off, as ovs-ofctl calls them."""
_MASK: Final = sum(WORDS)
_FRAGMENTS: Final = {ConfigFlag.FRAG_DROP: "drop", ConfigFlag.FRAG_REASM: "reassemble"}


@dataclass(frozen=True)
class SwitchDrift:
    """Ports with bits that should be off, and what becomes of fragments (`ConfigFlag`)."""

    ports: tuple[PortDesc, ...] = ()
    fragments: int = ConfigFlag.FRAG_NORMAL

    def __bool__(self) -> bool:
        return bool(self.ports) or self.fragments != ConfigFlag.FRAG_NORMAL

    def messages(self) -> list[Message]:
        """What puts it right."""
        mods: list[Message] = [PortMod(port.number, port.mac, 0, _MASK) for port in self.ports]
        return [*mods, SetConfig()] if self.fragments != ConfigFlag.FRAG_NORMAL else mods

    def items(self, bridge: str) -> Iterator[Change]:
        """The same in the words of the plan."""
        for port in self.ports:
            for bit, word in WORDS.items():
                if port.config & bit:
                    setting = SwitchSetting(word, "Port", port.name)
                    yield Change(PortSettingKey(bridge, setting), SwitchValue("on"), None)
        if self.fragments != ConfigFlag.FRAG_NORMAL:
            found = _FRAGMENTS.get(ConfigFlag(self.fragments), f"{self.fragments}")
            key = BridgeSettingKey(bridge, SwitchSetting("fragment handling", "Bridge", bridge))
            yield Change(key, SwitchValue(found), SwitchValue("normal"))


def is_strange(port: PortDesc) -> bool:
    """Whether a port has a bit that should be off."""
    return bool(port.config & _MASK)


def drift_of(ports: Iterable[PortDesc], config: GetConfigReply) -> SwitchDrift:
    """What is different on a switch that has these ports and this configuration."""
    strange = tuple(port for port in ports if is_strange(port))
    return SwitchDrift(strange, config.flags & ConfigFlag.FRAG_MASK)
