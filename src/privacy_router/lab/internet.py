"""The lab's Internet as data: hosts, links, addresses, routes and names (pure).

Everything lies in 198.18.0.0/15 (RFC 2544) and 2001:db8::/32 (RFC 3849), which no real network
routes; 172.16.0.0/24 and 2001:db8:110::/64 exist only inside the WARP tunnel, as with Cloudflare.

The packets of the whole chain take the links client–isp, node–isp, cloudflare–isp (encrypted),
then cloudflare–vps (XRay's TLS) and vps–web (in clear, as on the real Internet). What leaks from
the node in clear reaches the web by web–isp, so that a leak works and is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
AddressPair = tuple[IPv4Address, IPv6Address]
NetworkPair = tuple[IPv4Network, IPv6Network]

HOSTS = ("client", "isp", "node", "cloudflare", "vps", "web")
LAB_RANGES: tuple[Network, ...] = (IPv4Network("198.18.0.0/15"), IPv6Network("2001:db8::/32"))
ANYWHERE: NetworkPair = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


def _pair(v4: str, v6: str) -> AddressPair:
    return IPv4Address(v4), IPv6Address(v6)


def _networks(v4: str, v6: str) -> NetworkPair:
    return IPv4Network(v4), IPv6Network(v6)


WARP_EGRESS = _pair("198.18.50.1", "2001:db8:50::1")
WARP_ENDPOINT = _pair("198.18.50.2", "2001:db8:50::2")
WARP_PORT = 2408
WARP_API = _pair("198.18.50.3", "2001:db8:50::3")
WARP_INSIDE = _networks("172.16.0.0/24", "2001:db8:110::/64")
WEB = _pair("198.18.100.80", "2001:db8:100::80")
DNS = _pair("198.18.100.53", "2001:db8:100::53")
VPS = _pair("198.18.200.1", "2001:db8:200::1")

_CLOUDFLARE_SERVICES = _networks("198.18.50.0/24", "2001:db8:50::/64")
_WEB_SERVICES = _networks("198.18.100.0/24", "2001:db8:100::/64")
_VPS_SERVICES = _networks("198.18.200.0/24", "2001:db8:200::/64")

SERVICE_ADDRESSES: dict[str, tuple[AddressPair, ...]] = {
    "cloudflare": (WARP_EGRESS, WARP_ENDPOINT, WARP_API),
    "web": (WEB, DNS),
}
"""Addresses that a host has on its loopback device, beside those of its links."""

FORWARDING_HOSTS = ("isp", "cloudflare", "vps")


@dataclass(frozen=True)
class Cable:
    """A link between two hosts; `first` has the first address of its networks, `second` the next.

    `of_isp` links are those on which nothing of a client may be readable.
    """

    first: str
    second: str
    networks: NetworkPair
    of_isp: bool

    @property
    def name(self) -> str:
        """Both hosts, such as `node-isp`."""
        return f"{self.second}-{self.first}"

    def device(self, host: str) -> str:
        """The name of the device at that host's end: where it leads."""
        return f"to-{self.other(host)}"

    def other(self, host: str) -> str:
        """The host at the other end."""
        return self.second if host == self.first else self.first

    def interfaces(self, host: str) -> tuple[Interface, ...]:
        """The addresses of that host's end, with the length of their prefix."""
        number = 1 if host == self.first else 2
        v4, v6 = self.networks
        return (
            IPv4Interface((int(v4.network_address) + number, v4.prefixlen)),
            IPv6Interface((int(v6.network_address) + number, v6.prefixlen)),
        )

    def address(self, host: str, version: int) -> Address:
        """The address of that host's end."""
        return next(i.ip for i in self.interfaces(host) if i.version == version)


CABLES = (
    Cable("isp", "client", _networks("198.18.1.0/24", "2001:db8:1::/64"), of_isp=True),
    Cable("isp", "node", _networks("198.18.2.0/24", "2001:db8:2::/64"), of_isp=True),
    Cable("isp", "cloudflare", _networks("198.18.3.0/24", "2001:db8:3::/64"), of_isp=True),
    Cable("isp", "web", _networks("198.18.4.0/24", "2001:db8:4::/64"), of_isp=True),
    Cable("cloudflare", "vps", _networks("198.18.5.0/24", "2001:db8:5::/64"), of_isp=False),
    Cable("vps", "web", _VPS_SERVICES, of_isp=False),
)


def cable(one: str, another: str) -> Cable:
    """The link between two hosts. Raises KeyError when there is none."""
    for found in CABLES:
        if {found.first, found.second} == {one, another}:
            return found
    raise KeyError(f"{one}-{another}")


def address_of(host: str, version: int = 4) -> Address:
    """The address of a host towards the ISP."""
    return cable(host, "isp").address(host, version)


@dataclass(frozen=True)
class Way:
    """Where a host sends what is for `networks`: to the host at the other end of a link."""

    host: str
    networks: NetworkPair
    next_host: str


WAYS = (
    Way("client", ANYWHERE, "isp"),
    Way("node", ANYWHERE, "isp"),
    Way("isp", _CLOUDFLARE_SERVICES, "cloudflare"),
    Way("isp", _VPS_SERVICES, "cloudflare"),
    Way("isp", _WEB_SERVICES, "web"),
    Way("cloudflare", ANYWHERE, "isp"),
    Way("cloudflare", _VPS_SERVICES, "vps"),
    # beyond Cloudflare the Internet begins: what leaves WARP does not come back to the ISP
    Way("cloudflare", _WEB_SERVICES, "vps"),
    Way("vps", ANYWHERE, "cloudflare"),
    Way("vps", _WEB_SERVICES, "web"),
    Way("web", ANYWHERE, "isp"),
    Way("web", _CLOUDFLARE_SERVICES, "vps"),
)


@dataclass(frozen=True)
class SourceNat:
    """What a host does to the sources of packets that leave it or reach its own services."""

    host: str
    sources: Network
    becomes: Address


def _source_nats() -> tuple[SourceNat, ...]:
    inside = (
        SourceNat("cloudflare", WARP_INSIDE[0], WARP_EGRESS[0]),
        SourceNat("cloudflare", WARP_INSIDE[1], WARP_EGRESS[1]),
    )
    # the VPS has one public address, whichever of its links it uses
    v4, v6 = cable("cloudflare", "vps").interfaces("vps")
    own = (
        SourceNat("vps", ip_network(v4.ip), VPS[0]),
        SourceNat("vps", ip_network(v6.ip), VPS[1]),
    )
    return (*inside, *own)


SOURCE_NATS = _source_nats()

VPS_NAME = "vps.example.com"
WEB_NAME = "web.example.net"
REALITY_NAME = "www.example.com"
WHOAMI_NAME = "whoami.example.net"
TRACE_NAME = "www.cloudflare.com"
OTHER_TRACE_NAME = "cloudflare.com"
"""The name by which wgcf asks for the same page."""
API_NAME = "api.cloudflareclient.com"
ENDPOINT_NAME = "engage.cloudflareclient.com"

NAMES: dict[str, AddressPair] = {
    API_NAME: WARP_API,
    TRACE_NAME: WARP_API,
    OTHER_TRACE_NAME: WARP_API,
    ENDPOINT_NAME: WARP_ENDPOINT,
    WEB_NAME: WEB,
    REALITY_NAME: WEB,
    VPS_NAME: VPS,
}
"""What the lab's DNS knows."""


def hosts_file(host: str) -> str:
    """A host's /etc/hosts. The VPS' name is not in it: the node has to ask, through the tunnel."""
    lines = ["127.0.0.1 localhost", "::1 localhost", f"127.0.1.1 {host}"]
    for name, addresses in NAMES.items():
        if name != VPS_NAME:
            lines += [f"{address} {name}" for address in addresses]
    return "\n".join(lines) + "\n"


def resolver_file() -> str:
    """A host's /etc/resolv.conf."""
    return "".join(f"nameserver {address}\n" for address in DNS) + "options timeout:2 attempts:2\n"
