"""What `up` does once the machine is as declared: wait until packets pass, and say for what."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from privacy_router.errors import RemoteServiceError
from privacy_router.hops.warp.hop import WARP_ROLE
from privacy_router.hops.xray.hop import XRAY_ROLE
from privacy_router.host import namespaces
from privacy_router.host.wireguard_uapi import UapiError
from privacy_router.node import machine as machines
from privacy_router.node.health import read_told
from privacy_router.node.lock import controller_pid
from privacy_router.node.paths import NodePaths
from privacy_router.node.question import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.node.machine import NodeHost

_TURN_S: Final = 0.02
_HANDSHAKE: Final = "no handshake with Cloudflare yet"
_REMEDIES: Final = {
    WARP_ROLE.name: "this machine's network has to let UDP out to the WARP endpoint; a profile of"
    " another account can be imported with warp.wgcf_config",
    XRAY_ROLE.name: "the VPS runs Xray with what `privacy-router vps export` prints, and its"
    " firewall lets xray.vps_port in",
}
_STATUS: Final = "privacy-router status shows each hop"


def await_traffic(
    config: PrivacyRouterConfig, patience_s: float, say: Callable[[str], None]
) -> None:
    """Return when packets pass the whole chain, and `say` until then what is missing.

    Raises RemoteServiceError that names the hop when they do not within `patience_s`.
    """
    machine = machines.inspect(config, NodePaths.from_environment())
    way = " → ".join(config.chain_hops)
    say(f"waiting for packets to pass {way}, {patience_s:g} s at most")
    started_s = time.monotonic()
    told = None
    while (missing := _missing(config, machine)) is not None:
        if missing != told:
            say(_words(missing))
            told = missing
        if time.monotonic() - started_s > patience_s:
            raise _no_traffic(*missing)
        time.sleep(_TURN_S)


def _missing(config: PrivacyRouterConfig, machine: NodeHost) -> tuple[str, str] | None:
    """The hop that packets do not pass now, and why; None where they pass."""
    if not _has_session(config, machine):
        return (
            WARP_ROLE.name,
            _HANDSHAKE,
        )  # what is sent before is lost, and its repetition comes late
    told = read_told(machine.paths.health, controller_pid(machine.paths))
    if told is not None and told.proven:
        return None
    answer = asyncio.run(ask(config, lambda: None, machine.hops))
    return None if answer.hop is None else (answer.hop, answer.reason)


def _has_session(config: PrivacyRouterConfig, machine: NodeHost) -> bool:
    if not config.warp.enabled:
        return True
    path = namespaces.path_of(f"{WARP_ROLE.namespace}")
    try:
        device = machine.wireguard.read(f"{WARP_ROLE.tunnel}", path)
    except UapiError:
        return False  # the controller starts it anew
    return device is not None and any(peer.last_handshake for peer in device.peers)


def _words(missing: tuple[str, str]) -> str:
    hop, reason = missing
    return f"{hop}: {reason}"


def _no_traffic(hop: str, reason: str) -> RemoteServiceError:
    return RemoteServiceError(
        f"packets do not pass: {hop}: {reason}; the node stays as it is and closed: nothing leaves"
        " it until the chain works, and the controller goes on trying",
        remedy="; ".join([*filter(None, [_REMEDIES.get(hop)]), _STATUS]),
        retryable=True,
    )
