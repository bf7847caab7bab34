"""Listens for WARP's peer, and leads the tunnel to another of its addresses when that is silent.

Another address is another desired state: it is kept in the state directory, and adopted as any
other change of the node is, so that the host's guard and the tunnel follow together.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.errors import FAILURES, PrivacyRouterError, RemoteServiceError
from privacy_router.hops.warp.hop import WARP_NAMESPACE, WARP_TUNNEL
from privacy_router.host import namespaces
from privacy_router.host.reach import has_way_to
from privacy_router.host.threads import Lane, by_lane, in_thread
from privacy_router.host.wireguard_uapi import format_endpoint
from privacy_router.node import warp
from privacy_router.node.silence import Heard, Search, Silence
from privacy_router.node.warp_endpoint import look_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.wireguard import Endpoint, WireGuardPeer

_log = structlog.get_logger()

_PERIOD_S: Final = 2.0
_LOOK_UPS: Final = Lane("look-ups", 2, abandons=True)
"""A resolver that does not answer holds nothing up, and the node's end least of all."""
_PLACE: Final = namespaces.path_of(WARP_NAMESPACE)


class EndpointWatch:
    """Watches the WARP tunnel of the state that `desired` gives; `adopt` makes the node so when
    the state directory has another address for it. `trouble` says why none could be found."""

    def __init__(
        self,
        desired: Callable[[], DesiredState],
        machine: NodeHost,
        adopt: Callable[[], Awaitable[None]],
    ) -> None:
        self._desired = desired
        self._machine = machine
        self._adopt = adopt
        self._endpoint: Endpoint | None = None
        self._silence = Silence()
        self._search = Search()
        self.trouble = ""

    async def run(self) -> None:
        """Watch until cancelled; a look that fails is tried again like any other."""
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                await self._look()
            except FAILURES as error:
                _log.debug("WARP's peer cannot be listened for", reason=str(error))

    async def _look(self) -> None:
        peer = _peer_of(self._desired())
        if peer is None or peer.endpoint is None:
            self._endpoint = None
            return
        if peer.endpoint != self._endpoint:
            self._endpoint, self._silence = peer.endpoint, Silence()
        heard = await in_thread(self._read, peer)
        if heard is None:
            return
        if self._silence.note(heard):
            self._search, self.trouble = Search(), ""
        elif self._silence.is_over() and self._search.is_due(heard.at_s):
            await self._try_another(heard.at_s, peer.endpoint)

    def _read(self, wanted: WireGuardPeer) -> Heard | None:
        """The counters of the peer; None while the tunnel or the peer is not there."""
        if wanted.endpoint is None or not namespaces.exists(WARP_NAMESPACE):
            return None
        device = self._machine.wireguard.read(WARP_TUNNEL, _PLACE)
        peer = device.peer(wanted.public_key) if device is not None else None
        if peer is None:
            return None
        return Heard(
            at_s=time.monotonic(),
            rx_bytes=peer.rx_bytes,
            tx_bytes=peer.tx_bytes,
            handshake=peer.last_handshake,
            keepalive_s=wanted.keepalive_s,
            has_way=has_way_to(wanted.endpoint),
        )

    async def _try_another(self, now_s: float, silent: Endpoint) -> None:
        asks = self._search.may_look_up(now_s)
        self._search.note_try(now_s, looked_up=asks)
        config, paths = self._desired().pipeline.config, self._machine.paths
        try:
            answers = await self._look_up(config) if asks else ()
            is_another = await in_thread(warp.change_endpoint, config, paths, answers)
        except PrivacyRouterError as error:
            self._log_failure(error)
            return
        if is_another:
            _log.warning("WARP does not answer: another address", at=format_endpoint(silent))
            await self._adopt()

    async def _look_up(self, config: PrivacyRouterConfig) -> tuple[Endpoint, ...]:
        """What the name of the endpoint has now; nothing where there is no name, or that fails."""
        name = await in_thread(warp.endpoint_name, config, self._machine.paths)
        self.trouble = ""
        if name is None:
            return ()
        try:
            with by_lane(_LOOK_UPS):
                return await in_thread(look_up, name)
        except RemoteServiceError as error:
            self._log_failure(error)
            return ()

    def _log_failure(self, error: PrivacyRouterError) -> None:
        self.trouble = f"WARP does not answer, and {error.message}"
        _log.warning("WARP does not answer, and no other address was found", reason=error.message)


def _peer_of(desired: DesiredState) -> WireGuardPeer | None:
    tunnel = desired.tunnels.get(WARP_TUNNEL)
    return None if tunnel is None else tunnel.peers[0]
