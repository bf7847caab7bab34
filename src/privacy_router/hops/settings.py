"""The kernel settings that the path through a hop depends on, each with the one value that is right
(pure). Names are those below /proc/sys/net; Documentation/networking/ip-sysctl.rst has them all.

Linux asks the device's own value, that of `all`, or both, by the setting: forwarding of IPv4, say,
is decided by the device that a packet came in by. So a hop has every setting in every place: in
`all`, in `default` (with which a device begins) and in each device.

What only decides how fast a connection is (buffers, congestion control) is the machine's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from privacy_router.hops.xray.settings import UDP_HELD_S

if TYPE_CHECKING:
    from privacy_router.values.sysctls import Sysctl

_PROTOCOLS: Final = {
    "ipv4": {
        "accept_local": "0",
        "accept_redirects": "0",
        "accept_source_route": "0",
        "arp_accept": "0",
        "arp_announce": "0",
        "arp_filter": "0",
        "arp_ignore": "0",
        "bc_forwarding": "0",
        "disable_policy": "0",
        "disable_xfrm": "0",
        "drop_gratuitous_arp": "0",
        "drop_unicast_in_l2_multicast": "0",
        "ignore_routes_with_linkdown": "0",
        "log_martians": "0",  # clients' addresses in the kernel's log
        "proxy_arp": "0",
        "proxy_arp_pvlan": "0",
        "route_localnet": "0",
        "rp_filter": "0",
        "send_redirects": "0",
        "src_valid_mark": "0",
    },
    "ipv6": {
        "accept_ra": "0",
        "accept_redirects": "0",
        "accept_source_route": "0",
        "accept_untracked_na": "0",
        "disable_ipv6": "0",
        "disable_policy": "0",
        "drop_unicast_in_l2_multicast": "0",
        "drop_unsolicited_na": "0",
        "force_forwarding": "0",
        "hop_limit": "64",
        "ignore_routes_with_linkdown": "0",
        "ioam6_enabled": "0",
        "ndisc_notify": "0",
        "proxy_ndp": "0",
        "rpl_seg_enabled": "0",
        "seg6_enabled": "0",
    },
}
_LOOPBACK: Final = {"ipv4/conf/lo/disable_policy": "1", "ipv4/conf/lo/disable_xfrm": "1"}
"""What the kernel gives its loopback, which is never asked for IPsec."""

_UDP_KNOWN_S: Final = f"{UDP_HELD_S + 9}"
"""Somewhat longer than XRay holds a client's UDP, answered or not: the gateway counts what it
knows, and no hop may forget what may still be answered (RFC 4787, REQ-5)."""

_NAMESPACE: Final = {
    "ipv4/fwmark_reflect": "0",
    "ipv4/icmp_echo_ignore_all": "0",
    "ipv4/ip_default_ttl": "64",
    "ipv4/ip_forward_use_pmtu": "0",
    "ipv4/ip_local_port_range": "32768\t60999",
    "ipv4/ip_local_reserved_ports": "",
    "ipv4/ip_no_pmtu_disc": "0",
    "ipv4/ip_nonlocal_bind": "0",
    "ipv4/tcp_fwmark_accept": "0",
    "ipv6/bindv6only": "0",
    "ipv6/conf/default/addr_gen_mode": "1",  # no address of the kernel's own making
    "ipv6/fwmark_reflect": "0",
    "ipv6/icmp/echo_ignore_all": "0",
    "ipv6/ip_nonlocal_bind": "0",
    "netfilter/nf_conntrack_checksum": "1",
    "netfilter/nf_conntrack_log_invalid": "0",
    "netfilter/nf_conntrack_tcp_be_liberal": "0",
    "netfilter/nf_conntrack_tcp_loose": "1",
    # What a client leaves behind counts against it: not 120 s for a call that nothing answers, as
    # during an outage, nor five days for a connection that it forgot (RFC 5382, REQ-5: 2 h 4 min).
    "netfilter/nf_conntrack_tcp_timeout_established": "7440",
    "netfilter/nf_conntrack_tcp_timeout_syn_sent": "20",
    "netfilter/nf_conntrack_udp_timeout": _UDP_KNOWN_S,
    "netfilter/nf_conntrack_udp_timeout_stream": _UDP_KNOWN_S,
}

_NOT_EVERYWHERE: Final = frozenset(
    {
        "accept_untracked_na",
        "drop_unsolicited_na",
        "force_forwarding",
        "icmp/echo_ignore_all",
        "ioam6_enabled",
        "rpl_seg_enabled",
        "seg6_enabled",
    }
)


def of_namespace(forwards: bool) -> dict[str, str]:
    """The settings of a hop that are there from its beginning, those of its loopback too; one that
    does not forward cannot leak what it was given."""
    settings = {"ipv4/ip_forward": _flag(forwards), **_NAMESPACE}
    for place in ("all", "default", "lo"):
        settings |= _in_place(place, forwards)
    return settings | _LOOPBACK


def of_device(name: str, mtu_bytes: int, forwards: bool) -> dict[str, str]:
    """The settings of a device of a hop, which come and go with it."""
    return _in_place(name, forwards) | {f"ipv6/conf/{name}/mtu": str(mtu_bytes)}


def _in_place(place: str, forwards: bool) -> dict[str, str]:
    return {
        f"{protocol}/conf/{place}/{setting}": value
        for protocol, settings in _PROTOCOLS.items()
        for setting, value in {"forwarding": _flag(forwards), **settings}.items()
    }


def _flag(value: bool) -> str:
    return "1" if value else "0"


def is_everywhere(sysctl: Sysctl) -> bool:
    """Whether every kernel has this setting; those of connection tracking come with its module."""
    return sysctl.protocol != "netfilter" and sysctl.setting not in _NOT_EVERYWHERE
