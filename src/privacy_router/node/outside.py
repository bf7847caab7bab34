"""What the outside says of the chain: which addresses sites see, how long an answer takes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from privacy_router.chain.stations import Task
from privacy_router.errors import RemoteServiceError
from privacy_router.hops.gateway.hop import GATEWAY_NAMESPACE
from privacy_router.host import namespaces
from privacy_router.host.ping import echo_rtt_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.host.wireguard_uapi import DeviceStatus
    from privacy_router.node.probe import Trace

    T = TypeVar("T")

_HANDSHAKE_FRESH_S: Final = 180.0
_PING_TIMEOUT_S: Final = 1.0


@dataclass(frozen=True)
class Outside:
    """What the outside answered; None where it was not asked or said nothing. `exits` are the
    addresses that sites see, by family."""

    asked: bool = False
    warp: Trace | None = None
    exit_v4: Trace | None = None
    exit_v6: Trace | None = None
    client_rtt_ms: float | None = None

    @property
    def exit(self) -> Trace | None:
        """The first answer through the whole chain."""
        return self.exit_v4 or self.exit_v6

    def rtt_ms(self, task: Task) -> float | None:
        """How long an answer takes from the far side of a hop that does this: a client, Cloudflare,
        a web site. None for one that only hands packets on."""
        if task is Task.ENTRANCE:
            return self.client_rtt_ms
        trace = {Task.WAY_OUT: self.warp, Task.PROXY: self.exit}.get(task)
        return trace.rtt_ms if trace is not None else None


NOT_ASKED: Final = Outside()
UNANSWERED: Final = Outside(asked=True)
"""Of a chain that passes nothing: an answer would be waited for in vain."""


def ask_outside(config: PrivacyRouterConfig, entrance: DeviceStatus | None) -> Outside:
    """Ask everything at once, within a few seconds. `entrance` is the clients' tunnel, as it is."""
    # a controller that is not asked for this has no need of HTTP and DNS in its memory
    from privacy_router.node.probe import exit_trace, warp_trace

    with ThreadPoolExecutor(4) as pool:
        warp = pool.submit(_answer, lambda: warp_trace(config) if config.warp.enabled else None)
        v4 = pool.submit(_answer, lambda: exit_trace(config, 4))
        v6 = pool.submit(_answer, lambda: exit_trace(config, 6))
        client = pool.submit(_client_rtt_ms, entrance)
        return Outside(True, warp.result(), v4.result(), v6.result(), client.result())


def _answer(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except RemoteServiceError:
        return None


def _client_rtt_ms(device: DeviceStatus | None) -> float | None:
    """A ping of the client that was there last; some devices do not answer."""
    fresh = [
        peer
        for peer in (device.peers if device is not None else ())
        if time.time() - peer.last_handshake < _HANDSHAKE_FRESH_S
    ]
    if not fresh:
        return None
    last = max(fresh, key=lambda peer: peer.last_handshake)
    address = next((str(n.network_address) for n in last.allowed_ips if n.version == 4), None)
    if address is None:
        return None
    namespace = namespaces.path_of(GATEWAY_NAMESPACE)
    rtt_ms = namespaces.run_in(namespace, lambda: echo_rtt_ms(address, _PING_TIMEOUT_S))
    return None if rtt_ms is None else round(rtt_ms, 1)
