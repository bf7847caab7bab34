"""What is configured over OpenFlow at the switch and its ports is undone, and told by its name."""

from __future__ import annotations

import pytest

from privacy_router.node.switch_drift import WORDS, drift_of
from privacy_router.openflow import PortDesc, PortMod, SetConfig
from privacy_router.openflow.constants import ConfigFlag, PortConfig
from privacy_router.openflow.messages import GetConfigReply
from privacy_router.values.bridges import SwitchValue

USUAL = GetConfigReply(ConfigFlag.FRAG_NORMAL, 128)
EVERY_BIT = PortConfig.NO_RECV | PortConfig.NO_FWD | PortConfig.NO_PACKET_IN
MAC = 0x020000000001


def test_a_switch_that_was_left_alone_has_no_drift() -> None:
    down = PortDesc(1, MAC, "warp0", config=PortConfig.PORT_DOWN)
    drift = drift_of([down], USUAL)
    assert not drift
    assert drift.messages() == []
    assert list(drift.items("ovsbr0")) == []


@pytest.mark.parametrize(("bit", "word"), WORDS.items())
def test_each_bit_of_a_port_is_taken_back(bit: PortConfig, word: str) -> None:
    port = PortDesc(1, MAC, "warp0", config=bit | PortConfig.PORT_DOWN)
    drift = drift_of([port, PortDesc(2, MAC, "internal_100")], USUAL)
    assert drift.messages() == [PortMod(1, MAC, 0, EVERY_BIT)]
    (change,) = drift.items("ovsbr0")
    assert (change.verb, change.key.name) == ("remove", f"{word} of port warp0")


@pytest.mark.parametrize(
    ("flags", "word"), [(ConfigFlag.FRAG_DROP, "drop"), (ConfigFlag.FRAG_REASM, "reassemble")]
)
def test_fragments_are_handled_as_other_packets(flags: int, word: str) -> None:
    drift = drift_of([], GetConfigReply(flags, 0))
    assert drift
    assert drift.messages() == [SetConfig(flags=ConfigFlag.FRAG_NORMAL)]
    (change,) = drift.items("ovsbr0")
    assert (change.before, change.after) == (SwitchValue(word), SwitchValue("normal"))
