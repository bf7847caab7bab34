"""The interfaces of the hops and the clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from privacy_router.daemon.bus.interface import Interface, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.client.status import HopStatus
    from privacy_router.daemon.bus.view import ClientNow, View

_NEVER = -1.0


class Hop(Interface):
    """One hop of the chain. Bytes are those of its bridge port, as the hop sees them."""

    readings: ClassVar[Mapping[str, Reading]] = {
        "Name": Reading("s", lambda self: self.now.name),
        "State": Reading("s", lambda self: self.now.state),
        "Detail": Reading("s", lambda self: self.now.detail),
        "Since": Reading("d", lambda self: self.now.health.get("since", 0.0), steady=False),
        "Evidence": Reading("s", lambda self: self.now.health.get("evidence", ""), steady=False),
        "Port": Reading("s", lambda self: self.now.port),
        "RxBytes": Reading("t", lambda self: self.now.rx_bytes, steady=False),
        "TxBytes": Reading("t", lambda self: self.now.tx_bytes, steady=False),
        "HandshakeAge": Reading("d", lambda self: _known(self.now.handshake_age_s), steady=False),
        "RoundTrip": Reading("d", lambda self: self.round_trip(), steady=False),
    }

    def __init__(self, view: View, name: str) -> None:
        self._last = view.hops[name]
        super().__init__("org.opdbus.Hop", view)

    @property
    def now(self) -> HopStatus:
        """As it was read last, also when the chain has it no longer."""
        self._last = self.view.hops.get(self._last.name, self._last)
        return self._last

    def round_trip(self) -> float:
        """Milliseconds to its far side when `Probe` was called last; -1 for no answer."""
        return _known(self.view.rtt_ms.get(self._last.name))


class Client(Interface):
    """One client device. Its keys are not shown."""

    readings: ClassVar[Mapping[str, Reading]] = {
        "Name": Reading("s", lambda self: self.now.client.name),
        "Address": Reading("as", lambda self: [str(self.now.client.v4), str(self.now.client.v6)]),
        "Endpoint": Reading("s", lambda self: self.now.status.endpoint or ""),
        "RxBytes": Reading("t", lambda self: self.now.status.rx_bytes, steady=False),
        "TxBytes": Reading("t", lambda self: self.now.status.tx_bytes, steady=False),
        "HandshakeAge": Reading(
            "d", lambda self: _known(self.now.status.handshake_age_s), steady=False
        ),
    }

    def __init__(self, view: View, name: str) -> None:
        self._last = view.clients[name]
        super().__init__("org.opdbus.Client", view)

    @property
    def now(self) -> ClientNow:
        """As it was read last, also when it was removed since."""
        self._last = self.view.clients.get(self._last.client.name, self._last)
        return self._last


def _known(value: Any) -> float:
    return _NEVER if value is None else float(value)
