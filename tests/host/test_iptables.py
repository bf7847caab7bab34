"""Legacy iptables' tables, in the kernel's layout (linux/netfilter_ipv4/ip_tables.h)."""

from __future__ import annotations

import struct

import pytest

from privacy_router.host import iptables

IPV4, IPV6 = iptables._FAMILIES
FILTER_HOOKS = 0b01110  # input, forward, output


@pytest.mark.parametrize(("family", "entry"), [(IPV4, 152), (IPV6, 208)])
def test_a_blank_table_accepts_at_each_of_its_hooks(family: iptables.Family, entry: int) -> None:
    request = iptables.blank(family, "filter", FILTER_HOOKS)
    fields = struct.unpack_from("=32sIII5I5I", request)
    assert fields[0].rstrip(b"\0") == b"filter"
    assert fields[1:4] == (FILTER_HOOKS, 4, len(request) - 96)
    hooks, underflows = fields[4:9], fields[9:14]
    assert hooks == underflows == (0, 0, entry, 2 * entry, 0)
    content = request[96:]
    assert all(iptables._accepts(family, content, place) for place in hooks[1:4])


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_a_policy_that_drops_is_not_blank(family: iptables.Family) -> None:
    content = bytearray(iptables.blank(family, "raw", 1)[96:])
    verdict_at = family.entry_bytes + 32
    assert struct.unpack_from("=i", content, verdict_at) == (-2,)
    struct.pack_into("=i", content, verdict_at, -1)  # -NF_DROP - 1
    assert not iptables._accepts(family, bytes(content), 0)
