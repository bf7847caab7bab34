"""What the kernel's list of devices says of each."""

from __future__ import annotations

import struct

from privacy_router.host.devices import read_device
from privacy_router.host.rtnetlink import Message, Verb, encode_attributes

NAME, PROPERTIES, OTHER_NAME = 3, 52, 53


def test_a_device_has_its_other_names() -> None:
    """As ip-link(8) adds them: a nested list with an attribute for each."""
    others = encode_attributes(((OTHER_NAME, b"enp3s0\0"), (OTHER_NAME, b"uplink\0")))
    fixed = struct.pack("=BxHiII", 0, 1, 2, 1, 0)
    message = Message(Verb.NEWLINK, fixed, ((NAME, b"eth0\0"), (PROPERTIES, others)))
    device = read_device(message, {2: "eth0"})
    assert (device.name, device.other_names) == ("eth0", ("enp3s0", "uplink"))
    bare = read_device(Message(Verb.NEWLINK, fixed, ((NAME, b"eth0\0"),)), {2: "eth0"})
    assert bare.other_names == ()
