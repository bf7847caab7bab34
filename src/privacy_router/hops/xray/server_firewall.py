"""What the VPS' kernel refuses to the connections that XRay makes for clients (pure).

XRay cannot know which addresses the VPS has, or gets later. Its sockets for clients carry a mark,
and the kernel asks at each packet whether it is for an address of its own. The networks that XRay
refuses by itself are in the rules a second time: of a UDP socket XRay judges the first destination,
and the kernel each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.values.network import Network

SERVER_MARK = 0x5052
"""The firewall mark (SO_MARK) of every packet that XRay on the VPS sends for a client."""

TABLE = "privacy_router_vps"

# Refused rather than dropped, so that no socket of XRay waits for an answer.
# Before connection tracking and before nat (-100): a port that the VPS hands on to a container is
# asked for at the VPS' own address.
_RULES = """#!/usr/sbin/nft -f
# Written by `privacy-router vps export`. Load it when the VPS starts, before XRay.
table inet {table}
delete table inet {table}
table inet {table} {{
    set blocked4 {{
        type ipv4_addr
        flags interval
        auto-merge
        elements = {{ {blocked4} }}
    }}
    set blocked6 {{
        type ipv6_addr
        flags interval
        auto-merge
        elements = {{ {blocked6} }}
    }}
    chain output {{
        type filter hook output priority raw; policy accept;
        meta mark {mark:#x} jump for_clients
    }}
    chain for_clients {{
        fib daddr type {{ local, broadcast, anycast, multicast }} counter goto refuse
        ip daddr @blocked4 counter goto refuse
        ip6 daddr @blocked6 counter goto refuse
    }}
    chain refuse {{
        reject with icmpx type admin-prohibited
    }}
}}
"""


def server_firewall(blocked_networks: Iterable[Network]) -> str:
    """An nftables ruleset, for `nft -f`: packets of clients go neither to the VPS itself, by any
    address that it has at that moment, nor to these networks. It can be loaded again and again."""
    blocked = list(blocked_networks)
    by_version = {
        f"blocked{version}": ", ".join(str(one) for one in blocked if one.version == version)
        for version in (4, 6)
    }
    return _RULES.format(table=TABLE, mark=SERVER_MARK, **by_version)
