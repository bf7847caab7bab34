"""Other programs' firewalls on the host, where they may drop what the node needs.

They are told of and never changed, since they belong to the operator: what is in the way is named,
so that no hop is blamed for it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.errors import FAILURES
from privacy_router.host import nftables
from privacy_router.plan.host_firewall import keeps_in_chain, keeps_out_clients

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from privacy_router.chain.order import Segment
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.values.rulesets import Ruleset

_log = structlog.get_logger()
_LEGACY: Final = (Path("/proc/net/ip_tables_names"), Path("/proc/net/ip6_tables_names"))
_FILTER: Final = "filter"


def remarks(config: PrivacyRouterConfig, segment: Segment) -> list[str]:
    """One sentence for each firewall that may be in the way, with what to do. Raises nothing."""
    return [*_of_clients(config, segment), *_of_forwarding(segment), *_of_legacy(config, segment)]


def forwarding_suspects(segment: Segment) -> str:
    """What may drop what XRay sends to the VPS, in words; empty where nothing does, and in a chain
    with WARP, where the host forwards nothing. Raises nothing."""
    if segment.in_host is None:
        return ""
    return ", ".join(str(one) for one in keeps_in_chain(_rulesets(), segment.in_host.port))


def _of_clients(config: PrivacyRouterConfig, segment: Segment) -> Iterator[str]:
    port = config.wireguard.listen_port
    if segment.entrance is not None:
        for one in keeps_out_clients(_rulesets(), port):
            yield (
                f"the host's firewall may keep clients out: {one} drops what no rule accepts, and"
                f" none names UDP port {port}; let UDP port {port} in"
            )


def _of_forwarding(segment: Segment) -> Iterator[str]:
    suspects = forwarding_suspects(segment)
    if suspects and segment.in_host is not None:
        port = segment.in_host.port
        yield (
            f"the host's firewall may drop what XRay sends to the VPS: {suspects} drops what no"
            f" rule accepts, and none names {port}; let through what comes in by {port}, and the"
            " answers to it"
        )


def _of_legacy(config: PrivacyRouterConfig, segment: Segment) -> Iterator[str]:
    """What is in the tables of iptables-legacy cannot be read here."""
    if not any(_FILTER in _names_in(path) for path in _LEGACY):
        return
    needs = []
    if segment.entrance is not None:
        needs.append(f"lets UDP port {config.wireguard.listen_port} in")
    if segment.in_host is not None:
        port = segment.in_host.port
        needs.append(f"lets through what comes in by {port}, and the answers to it")
    if needs:
        yield (
            "the host has a firewall of iptables-legacy, which is not looked into: see that it"
            f" {' and '.join(needs)} (iptables-legacy -L -v)"
        )


def _names_in(path: Path) -> list[str]:
    with suppress(OSError):  # no such tables in this kernel
        return path.read_text().split()
    return []


def _rulesets() -> list[Ruleset]:
    try:
        return list(_read())
    except FAILURES as error:
        _log.debug("the host's firewall cannot be read", reason=str(error))
        return []


def _read() -> Iterable[Ruleset]:
    for table in nftables.tables_here():
        if not table.flags:
            yield nftables.read_any(table)
