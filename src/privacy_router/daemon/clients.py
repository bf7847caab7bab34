"""A node's clients: the register, and the gateway's device that serves them.

A change is answered when the device was read back: an operator who reads "added" may hand the
configuration out.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from privacy_router.client.rows import AddedClient, ClientList, ClientRow
from privacy_router.errors import FAILURES, ConflictError, PrivacyRouterError, VerificationError
from privacy_router.hops.gateway.hop import GATEWAY_NAMESPACE, GATEWAY_TUNNEL
from privacy_router.host import namespaces
from privacy_router.host.threads import in_thread
from privacy_router.host.wireguard_uapi import format_endpoint
from privacy_router.node import clients
from privacy_router.node.secrets import gateway_key
from privacy_router.values.wireguard import public_key_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.hops.gateway.clients import Client
    from privacy_router.host.wireguard_uapi import DeviceStatus
    from privacy_router.node.machine import NodeHost

_PATIENCE_S: Final = 15.0
_LOOK_S: Final = 0.02


class Clients:
    """The clients of a node. `tell` has the process that keeps the node read the register, and
    says whether there is one; it raises what making the node so fails with."""

    def __init__(
        self,
        config: PrivacyRouterConfig,
        machine: NodeHost,
        tell: Callable[[], Awaitable[bool]],
        *,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._config = config
        self._machine = machine
        self._tell = tell
        self._patience_s = patience_s

    async def add(self, name: str) -> AddedClient:
        """Register a client and make its keys; without its peer on the gateway's device there is
        no client either.

        Raises ConflictError, ClientNameError, StorageError, and VerificationError or what the
        node's pass fails with where the device does not get it.
        """
        new = await in_thread(self._register, name)
        key = new.client.public_key
        try:
            in_force = await self._take_effect(lambda device: _has(device, key))
        except BaseException:
            # its key goes to no device, so that no device could ever use it
            await in_thread(clients.remove, self._config, self._machine.paths, name)
            raise
        return AddedClient(_row(new.client, None), new.configuration, new.remark, in_force)

    def _register(self, name: str) -> clients.NewClient:
        if not self._config.wireguard.enabled:
            raise ConflictError(
                "the gateway is disabled, so clients have nowhere to enter",
                remedy="set wireguard.enabled to true",
            )
        public_key = public_key_of(gateway_key(self._config, self._machine.paths))
        return clients.add(self._config, self._machine.paths, name, public_key)

    async def remove(self, name: str) -> ClientRow:
        """Forget a client. Raises ConflictError where there is none of that name, StorageError, and
        VerificationError or what the node's pass fails with where the device keeps its peer."""
        gone = await in_thread(clients.remove, self._config, self._machine.paths, name)
        await self._take_effect(lambda device: not _has(device, gone.public_key))
        return _row(gone, None)

    async def show(self, name: str) -> ClientRow:
        """One client. Raises ConflictError where there is none of that name, StorageError."""
        client = clients.find(await in_thread(self._load), name)
        device, _ = await in_thread(self._device_if_it_answers)
        return _row(client, device)

    async def list(self) -> ClientList:
        """All clients, by number. Raises StorageError."""
        known = await in_thread(self._load)
        device, trouble = await in_thread(self._device_if_it_answers)
        return ClientList([_row(client, device) for client in known], trouble)

    def _load(self) -> tuple[Client, ...]:
        return clients.load(self._config, self._machine.paths)

    async def _take_effect(self, is_so: Callable[[DeviceStatus | None], bool]) -> bool:
        """True when the gateway's device is so, False where no process keeps the node, or one is
        still to make it."""
        failure: PrivacyRouterError | None = None
        try:
            if not await self._tell():
                return False
        except PrivacyRouterError as error:
            failure = error  # perhaps of another part of the node: the device decides
        deadline_s = time.monotonic() + self._patience_s
        while not await in_thread(self._is_device, is_so):
            if failure is not None:
                raise failure
            if not await in_thread(namespaces.path_of(GATEWAY_NAMESPACE).exists):
                return False  # a start that has not come so far reads the register itself
            if time.monotonic() > deadline_s:
                raise self._not_in_force()
            await asyncio.sleep(_LOOK_S)
        return True

    def _is_device(self, is_so: Callable[[DeviceStatus | None], bool]) -> bool:
        """Whether that is true of the gateway's device; one that is silent may be so later."""
        try:
            return is_so(self._device())
        except FAILURES:
            return False

    def _not_in_force(self) -> VerificationError:
        return VerificationError(
            f"the gateway's device is not as the register of clients after {self._patience_s:g} s",
            remedy="privacy-router status says what the controller waits for; then try again",
            retryable=True,
        )

    def _device(self) -> DeviceStatus | None:
        """The gateway's device, None where there is none. Raises what reading it does."""
        namespace = namespaces.path_of(GATEWAY_NAMESPACE)
        return (
            self._machine.wireguard.read(GATEWAY_TUNNEL, namespace) if namespace.exists() else None
        )

    def _device_if_it_answers(self) -> tuple[DeviceStatus | None, str]:
        """The same for a list, which is of use without it; and why it could not be read."""
        try:
            return self._device(), ""
        except FAILURES as error:
            return None, str(error)


def _has(device: DeviceStatus | None, public_key: str) -> bool:
    return device is not None and device.peer(public_key) is not None


def _row(client: Client, device: DeviceStatus | None) -> ClientRow:
    facts = (client.name, str(client.v4), str(client.v6), client.public_key, client.created)
    peer = None if device is None else device.peer(client.public_key)
    if peer is None:
        return ClientRow(*facts)
    seen_s = peer.last_handshake
    return ClientRow(
        *facts,
        endpoint="" if peer.endpoint is None else format_endpoint(peer.endpoint),
        handshake_age_s=round(time.time() - seen_s, 1) if seen_s else None,
        rx_bytes=peer.rx_bytes,
        tx_bytes=peer.tx_bytes,
    )
