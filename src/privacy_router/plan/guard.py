"""The host's guard: what of the node may never leave the host's own namespace (pure).

The hops hold by having no route, no forwarding and no flow. The guard is for the moments in which
one of these is being changed, or was broken: it names what must not leave, and by which device, so
it holds in every state of the rest of the node. It is in force before the first item of a node
and is the last one to go.

The guard of addresses is a table whose name is made from its content. A changed one is therefore
another table: it is added before anything of the old chain is touched, and the old one is removed
after the new chain was read back. In between both are in force, so both chains' addresses are
covered. The guard of WARP's sockets is replaced in place, in one transaction: it would otherwise
drop what WARP's device sends to a new endpoint until the old one is removed.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from privacy_router.hops import firewall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from privacy_router.chain.order import Segment
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.catalogue import Catalogue
    from privacy_router.hops.firewall import Expression
    from privacy_router.values.rulesets import Ruleset
    from privacy_router.values.wireguard import Endpoint, WireGuardConfig

GUARD_PREFIX = f"{firewall.TABLE}_guard_"
_BEFORE_OTHERS = -300
_DIGEST_DIGITS = 8


def host_guards(
    config: PrivacyRouterConfig,
    segment: Segment,
    hops: Catalogue,
    devices: Mapping[str, WireGuardConfig],
) -> dict[str, Ruleset]:
    """The chains and rules of each table of the guard, by the table's name; `devices` are the
    WireGuard devices of the node's hops, by hop.

    * What comes in by a device of a hop is neither taken nor forwarded: such a device is in the
      host's namespace only before it was moved, or after something went wrong.
    * What has an address of the clients or of the segment as its source does not leave, unless
      towards the exit port. What comes from the exit port leaves with a translated source only,
      an address of the device by which it leaves.
    * The sockets of a device that carries a mark (WARP's) speak to the endpoint of its peer only: a
      peer that was swapped, or an endpoint that roamed, is sent nothing.
    """
    objects = [*_rules(config, segment, hops)]
    digest = hashlib.sha256(json.dumps(objects, sort_keys=True).encode()).hexdigest()
    name = f"{GUARD_PREFIX}{digest[:_DIGEST_DIGITS]}"
    guards = {name: firewall.in_table(name, objects)}
    for hop, device in devices.items():
        if device.firewall_mark:
            name = socket_guard(hop)
            guards[name] = firewall.in_table(name, [*_output(device)])
    return guards


def socket_guard(hop: str) -> str:
    """The table that guards the sockets of that hop's device."""
    return f"{GUARD_PREFIX}{hop}"


def _rules(
    config: PrivacyRouterConfig, segment: Segment, hops: Catalogue
) -> Iterator[dict[str, object]]:
    for hook in ("input", "forward"):
        yield firewall.chain(hook, "filter", hook, _BEFORE_OTHERS, "accept")
    yield firewall.chain(
        "postrouting", "filter", "postrouting", firewall.AFTER_SOURCE_NAT_PRIORITY, "accept"
    )
    hop_ports = [station.port for station in segment.stations if not station.role.in_host]
    for device in (config.bridge_name, *hop_ports, *hops.tunnels):
        for hook in ("input", "forward"):
            yield firewall.rule(hook, firewall.came_in_by(device), firewall.DROP)
    yield from _postrouting(config, segment, hops.host_ports(config))


def _output(device: WireGuardConfig) -> Iterator[dict[str, object]]:
    yield firewall.chain("output", "filter", "output", _BEFORE_OTHERS, "accept")
    marked = firewall.is_marked(device.firewall_mark)
    for address, port in _endpoints(device):
        to_endpoint = (firewall.is_for(address), firewall.destination_port("udp", port))
        yield firewall.rule("output", marked, *to_endpoint, firewall.ACCEPT)
    yield firewall.rule("output", marked, firewall.DROP)


def _endpoints(device: WireGuardConfig) -> Iterator[Endpoint]:
    return (peer.endpoint for peer in device.peers if peer.endpoint is not None)


def _postrouting(
    config: PrivacyRouterConfig, segment: Segment, host_ports: tuple[str, ...]
) -> Iterator[dict[str, object]]:
    def rule(*expressions: Expression) -> dict[str, object]:
        return firewall.rule("postrouting", *expressions)

    yield rule(firewall.goes_out_by("lo"), firewall.ACCEPT)
    for port in host_ports:
        yield rule(firewall.goes_out_by(port), firewall.ACCEPT)
    for network in (*segment.clients, config.transit_subnet, config.transit_subnet6):
        yield rule(firewall.from_(network), firewall.DROP)
    for port in host_ports:
        from_exit = firewall.came_in_by(port)
        yield rule(from_exit, firewall.has_anothers_source(), firewall.DROP)
        yield rule(from_exit, firewall.is_source_translated(), firewall.ACCEPT)
        yield rule(from_exit, firewall.DROP)
