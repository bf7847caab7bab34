"""Cross-checks of the servers that are used through the chain: its far end has to reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.config.networks import unreachable_network
from privacy_router.config.rule import problem, rule
from privacy_router.config.values import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.config.problems import Problem
    from privacy_router.config.values import Address

_PUBLIC = "an address on the Internet"


def _clients_dns(config: PrivacyRouterConfig) -> Iterator[Problem]:
    if config.wireguard.enabled:
        far_end = "the VPS" if config.xray_enabled else "WARP"
        yield from _out_of_reach("wireguard.dns", config.wireguard.dns, far_end)


def _xray_dns(config: PrivacyRouterConfig) -> Iterator[Problem]:
    if config.xray_enabled:
        yield from _out_of_reach("xray.dns", config.xray.dns, "the VPS")


def _out_of_reach(path: str, servers: Iterable[Address], far_end: str) -> Iterator[Problem]:
    """A server of the own network is asked through the chain as any other, and so not reached."""
    for number, address in enumerate(servers):
        network = unreachable_network(address)
        if network is not None:
            because = f"it is asked through the chain, and {far_end} leads nothing to {network}"
            yield problem(f"{path}[{number}]", str(address), _PUBLIC, because=because)


def _vps(config: PrivacyRouterConfig) -> Iterator[Problem]:
    address = parse_address(config.vps_address or "")
    if address is None or not (config.xray_enabled and config.warp.enabled):
        return
    network = unreachable_network(address)
    if network is not None:
        path = "xray.vps_address" if config.xray.vps_address else "vps.xray_server"
        because = f"it is dialled through WARP, which leads nothing to {network}"
        yield problem(path, str(address), _PUBLIC, because=because)


RULES = (
    rule("wireguard xray vps", _clients_dns),
    rule("xray vps", _xray_dns),
    rule("warp xray vps", _vps),
)
