"""XRay's configuration for both ends of the hop, made from one identity (pure).

Source: xtls.github.io, chapters inbound, outbound, routing, dns and transport.
"""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from privacy_router.config.networks import UNREACHABLE_NETWORKS
from privacy_router.hops.xray.server_firewall import SERVER_MARK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privacy_router.hops.xray.keys import XrayIdentity
    from privacy_router.values.network import Network

Address = IPv4Address | IPv6Address

Settings = dict[str, Any]

SERVER_FLOW = "xtls-rprx-vision"
CLIENT_FLOW = "xtls-rprx-vision-udp443"
"""Vision that lets UDP to port 443 (QUIC) through; the server knows it by the shorter name."""

VPS = "vps"
RESOLVER = "resolver"
INTERNET = "internet"
REFUSED = "refused"
DNS_PORT = 53
_LAST_PORT = 65535

BLOCKED_NETWORKS = UNREACHABLE_NETWORKS
"""What the VPS never connects to for a client: itself, its neighbours, multicast, and IPv6
addresses that stand for IPv4 ones. ::ffff:0:0/96 is to XRay the IPv4 addresses in it."""

_DNS_TIMEOUT_MS = 1500
_SECOND_FAMILY_AFTER_MS = 250  # RFC 8305, section 5: the recommended connection attempt delay
_LOG: Settings = {"loglevel": "warning", "access": "none"}

# Seconds that a connection with one side closed stays open in silence. XRay's own 2 s would delay
# the end of every answer that is marked by closing; its own 1 s would cut off late answers to a
# client that has closed its sending side.
_ONE_SIDE_CLOSED: Settings = {"uplinkOnly": 0, "downlinkOnly": 10}


class Level(IntEnum):
    """What a session carries, which decides how long XRay keeps it in silence; the policy levels.

    The level of the *outbound* decides: of the client's VLESS user, of the server's freedom.
    """

    TCP = 0
    UDP = 1
    DNS = 2


CONNECTION_IDLE_S: Mapping[Level, int] = {
    Level.TCP: 300,  # XRay's own
    Level.UDP: 120,  # RFC 4787, REQ-5: a translator keeps a mapping for two minutes at least
    # RFC 4787, section 4.3: less for a known port. Most resolvers ask again within 5 s.
    Level.DNS: 6,
}
"""XRay looks once in this time whether anything was sent since its last look, so that a session
ends after once to twice the time."""

DNS_HELD_S = 2 * CONNECTION_IDLE_S[Level.DNS]
UDP_HELD_S = 120 + 61
"""The most for which XRay holds the session of a client's UDP port that sends no more. Once a
minute an inbound ends those that have sent nothing for more than 120 s, which is fixed
(app/proxyman/inbound/worker.go, `clean`)."""

_POLICY: Settings = {
    "levels": {
        str(level.value): {**_ONE_SIDE_CLOSED, "connIdle": idle_s}
        for level, idle_s in CONNECTION_IDLE_S.items()
    }
}
_UDP: Settings = {"network": "udp"}
_DNS: Settings = {**_UDP, "port": str(DNS_PORT)}


def refused_by_server(vps_address: str, own_addresses: Sequence[Address]) -> tuple[Network, ...]:
    """What the VPS at `vps_address` (an address or a name) refuses to clients, its own addresses
    among it as far as they are known beforehand."""
    own = [*own_addresses]
    with suppress(ValueError):
        own.append(ip_address(vps_address))
    return (*BLOCKED_NETWORKS, *dict.fromkeys(ip_network(address) for address in own))


@dataclass(frozen=True)
class Vps:
    """Where the server is, and which TLS client the connection to it looks like.

    `dns_servers` resolve `address` when it is a host name; nothing else is ever asked of them.
    """

    address: str
    port: int
    server_name: str
    fingerprint: str = "chrome"
    dns_servers: tuple[Address, ...] = ()

    @property
    def is_named(self) -> bool:
        """Whether `address` is a host name."""
        try:
            ip_address(self.address)
        except ValueError:
            return True
        return False


def client_settings(
    identity: XrayIdentity,
    vps: Vps,
    *,
    tproxy_port: int | None,
    socks_listen: Sequence[Address],
    socks_port: int,
    mark: int = 0,
) -> Settings:
    """XRay's configuration inside the hop: everything that comes in leaves to the VPS.

    `tproxy_port` None leaves the transparent inbounds out (they need CAP_NET_ADMIN); `mark` is the
    firewall mark of XRay's own packets, 0 for none. Raises ValueError for a VPS given by name
    without a DNS server to ask.
    """
    inbounds = [_socks(address, socks_port) for address in socks_listen]
    if tproxy_port is not None:
        inbounds += [
            _tproxy(address, tproxy_port, level)
            for address in ("127.0.0.1", "::1")
            for level in Level
        ]
    settings: Settings = {
        "log": dict(_LOG),
        "policy": deepcopy(_POLICY),
        "inbounds": inbounds,
        "outbounds": [_vless_outbound(identity, vps, mark, level) for level in Level],
        "routing": {"domainStrategy": "AsIs", "rules": _by_level(VPS)},
    }
    if vps.is_named:
        _add_resolver(settings, vps, mark)
    return settings


def server_settings(
    identity: XrayIdentity,
    *,
    listen_port: int,
    server_name: str,
    target: str,
    listen: str = "0.0.0.0",
    blocked_networks: Sequence[Network] = BLOCKED_NETWORKS,
    mark: int = SERVER_MARK,
) -> Settings:
    """XRay's configuration on the VPS.

    `target` (`host:port`) is the TLS 1.3 site to which strangers are handed; it must have a
    certificate for `server_name`. XRay takes IPv4 and IPv6 on the default `listen`. Its sockets for
    clients have the firewall mark `mark` (0 for none), by which `server_firewall` knows them.
    """
    blocked = [str(network) for network in blocked_networks]
    return {
        "log": dict(_LOG),
        "policy": deepcopy(_POLICY),
        "inbounds": [_vless_inbound(identity, listen, listen_port, server_name, target)],
        "outbounds": [
            *(_internet(blocked, mark, level) for level in Level),
            {"tag": REFUSED, "protocol": "blackhole"},
        ],
        "routing": {"domainStrategy": "AsIs", "rules": _refusals(blocked)},
    }


def _socks(address: Address, port: int) -> Settings:
    return {
        "tag": f"socks-v{address.version}",
        "listen": str(address),
        "port": port,
        "protocol": "socks",
        "settings": {"auth": "noauth", "udp": True, "ip": str(address)},
    }


def dns_tproxy_port(tproxy_port: int) -> int:
    """The UDP port that takes the clients' DNS, beside the one for all else.

    XRay knows a client's UDP session by its source port alone and keeps it as its first packet
    says, so that DNS needs an inbound of its own.
    """
    return tproxy_port + 1 if tproxy_port < _LAST_PORT else tproxy_port - 1


def _tproxy(address: str, port: int, level: Level) -> Settings:
    return {
        "tag": f"tproxy-{level.name.lower()}-v{ip_address(address).version}",
        "listen": address,
        "port": dns_tproxy_port(port) if level is Level.DNS else port,
        "protocol": "dokodemo-door",
        "settings": {
            "network": "tcp" if level is Level.TCP else "udp",
            "followRedirect": True,
            "userLevel": level.value,
        },
        "streamSettings": {"sockopt": {"tproxy": "tproxy"}},
    }


def _vless_outbound(identity: XrayIdentity, vps: Vps, mark: int, level: Level) -> Settings:
    user = {
        "id": identity.uuid,
        "encryption": "none",
        "flow": CLIENT_FLOW,
        "level": level.value,
    }
    reality = {
        "serverName": vps.server_name,
        "fingerprint": vps.fingerprint,
        "publicKey": identity.reality_public_key,
        "shortId": identity.short_id,
    }
    return {
        "tag": _tag(VPS, level),
        "protocol": "vless",
        "settings": {"vnext": [{"address": vps.address, "port": vps.port, "users": [user]}]},
        "streamSettings": {
            "network": "raw",
            "security": "reality",
            "realitySettings": reality,
            "sockopt": _marked(mark) | (_by_internal_dns() if vps.is_named else {}),
        },
    }


def _marked(mark: int) -> Settings:
    return {"mark": mark} if mark else {}


def _by_internal_dns() -> Settings:
    # ForceIP: a name that does not resolve is an error, never a question to the system's resolver.
    # The race between the families keeps a VPS reachable whose AAAA record leads nowhere.
    race = {"tryDelayMs": _SECOND_FAMILY_AFTER_MS, "interleave": 1, "maxConcurrentTry": 4}
    return {"domainStrategy": "ForceIP", "happyEyeballs": race}


def _tag(tag: str, level: Level) -> str:
    return tag if level is Level.TCP else f"{tag}-{level.name.lower()}"


def _by_level(tag: str) -> list[Settings]:
    """The rules that send everything to the outbounds of that tag, each to its level's."""
    return [
        _DNS | {"outboundTag": _tag(tag, Level.DNS)},
        _UDP | {"outboundTag": _tag(tag, Level.UDP)},
        {"network": "tcp", "outboundTag": _tag(tag, Level.TCP)},
    ]


def _add_resolver(settings: Settings, vps: Vps, mark: int) -> None:
    """Let XRay's own DNS questions, and nothing else, leave the hop beside the VPS."""
    if not vps.dns_servers:
        raise ValueError("a VPS given by name needs a DNS server")
    servers = [str(address) for address in vps.dns_servers]
    settings["dns"] = {
        "tag": RESOLVER,
        "servers": [
            {"address": server, "port": DNS_PORT, "timeoutMs": _DNS_TIMEOUT_MS}
            for server in servers
        ],
        "queryStrategy": "UseIP",
        "enableParallelQuery": True,
        # The last known address, when the servers do not answer, is better than no tunnel.
        "serveStale": True,
    }
    allowed = _DNS | {"ip": servers}
    settings["outbounds"].append(
        {
            "tag": RESOLVER,
            "protocol": "freedom",
            "settings": {
                "finalRules": [{"action": "allow"} | allowed, {"action": "block"}],
                "userLevel": Level.DNS.value,
            },
            "streamSettings": {"sockopt": _marked(mark)},
        }
    )
    rule = {"inboundTag": [RESOLVER], "outboundTag": RESOLVER} | allowed
    settings["routing"]["rules"].insert(0, rule)


def _vless_inbound(
    identity: XrayIdentity, listen: str, port: int, server_name: str, target: str
) -> Settings:
    reality = {
        "target": target,
        "serverNames": [server_name],
        "privateKey": identity.reality_private_key,
        "shortIds": [identity.short_id],
    }
    return {
        "tag": "vless",
        "listen": listen,
        "port": port,
        "protocol": "vless",
        "settings": {
            "clients": [{"id": identity.uuid, "flow": SERVER_FLOW}],
            "decryption": "none",
        },
        "streamSettings": {
            "network": "raw",
            "security": "reality",
            "realitySettings": reality,
        },
    }


def _internet(blocked: list[str], mark: int, level: Level) -> Settings:
    # The rules of routing see addresses only; these see what a name resolved to as well. The last
    # one replaces XRay's own idea of private networks, to which the lab's Internet belongs.
    refused = [{"action": "block", "ip": blocked}] if blocked else []
    return {
        "tag": _tag(INTERNET, level),
        "protocol": "freedom",
        "settings": {
            "finalRules": [*refused, {"action": "allow"}],
            "userLevel": level.value,
        },
        "streamSettings": {"sockopt": _marked(mark)},
    }


def _refusals(blocked: list[str]) -> list[Settings]:
    refused = [{"ip": blocked, "outboundTag": REFUSED}] if blocked else []
    return [*refused, *_by_level(INTERNET)]
