"""What was counted between two readings of the hops' devices, and which hop hands nothing on
(pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from privacy_router.chain.stations import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.chain.stations import Role

_BARE_PACKET_BYTES: Final = 100  # no TCP segment without data, nor its ICMP error, is larger
_SEVERAL: Final = 2
_MANY: Final = 5
_NONE: Final = 8  # a hop that hands on one packet in so many hands on none: keepalives count too
_NOTHING_ON: Final = "it takes packets and hands none on"


class Point(NamedTuple):
    """Where packets of a hop are counted: at its port on the bridge, or on the plain side of its
    tunnel."""

    hop: str
    in_tunnel: bool


def port_of(role: Role) -> Point:
    """A hop's port on the bridge."""
    return Point(role.name, in_tunnel=False)


def tunnel_of(role: Role) -> Point:
    """The plain side of a hop's tunnel."""
    return Point(role.name, in_tunnel=True)


@dataclass(frozen=True)
class Tap:
    """A device's counters, as its namespace sees them."""

    rx_packets: int = 0
    rx_bytes: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0

    def since(self, before: Tap) -> Tap:
        """What was counted since then; of a device that was made anew, all that it counted."""
        if self.rx_packets < before.rx_packets or self.tx_packets < before.tx_packets:
            return self
        return Tap(
            self.rx_packets - before.rx_packets,
            self.rx_bytes - before.rx_bytes,
            self.tx_packets - before.tx_packets,
            self.tx_bytes - before.tx_bytes,
        )


@dataclass(frozen=True)
class Sample:
    """One reading. `at_s` is monotonic; `session_age_s` is the age of WARP's last handshake (None:
    none yet), `client_seen` when the last client shook hands (any clock, 0 for never), and
    `own_packets` how many packets of our own questions went into the WARP tunnel so far."""

    at_s: float
    taps: Mapping[Point, Tap]
    session_age_s: float | None = None
    client_seen: float = 0.0
    own_packets: int = 0


def has_session(role: Role) -> bool:
    """Whether the way out behind a hop is a tunnel, whose session can be old."""
    return role.task is Task.WAY_OUT and role.tunnel is not None


class Counted:
    """What was counted between two samples at the hops of those roles, in order."""

    def __init__(self, first: Sample, last: Sample, roles: tuple[Role, ...]) -> None:
        self._roles = roles
        self.seconds = last.at_s - first.at_s
        self._own = last.own_packets - first.own_packets
        self._taps = {
            point: tap.since(first.taps[point])
            for point, tap in last.taps.items()
            if point in first.taps
        }

    def tap(self, point: Point) -> Tap:
        """The counters of a point; of one that is not there, nothing."""
        return self._taps.get(point, Tap())

    def _role(self, task: Task) -> Role | None:
        return next((role for role in self._roles if role.task is task), None)

    @property
    def clients(self) -> Tap:
        """The clients' tunnel; nothing where there is none."""
        entrance = self._role(Task.ENTRANCE)
        return Tap() if entrance is None else self.tap(tunnel_of(entrance))

    @property
    def returned(self) -> bool:
        """Whether something came back from outside, and to the clients' entrance.

        XRay itself answers a client's SYN, and a dead server's kernel answers XRay's: so what comes
        back to XRay counts when it carries data.
        """
        entrance, way_out = self._role(Task.ENTRANCE), self._role(Task.WAY_OUT)
        if entrance is None or way_out is None or not self.tap(port_of(entrance)).rx_packets:
            return False
        if tunnel_of(way_out) in self._taps:
            tap = self.tap(tunnel_of(way_out))
            packets, size = tap.rx_packets, tap.rx_bytes
        else:
            tap = self.tap(port_of(way_out))
            packets, size = tap.tx_packets, tap.tx_bytes
        behind_proxy = self._role(Task.PROXY) is not None
        return size > packets * _BARE_PACKET_BYTES if behind_proxy else packets > 0

    def stuck(self) -> tuple[str, str] | None:
        """A hop that takes packets and hands on none, the first on the way, and what it does."""
        for role in self._roles:
            reason = self._stuck(role)
            if reason:
                return (role.name, reason)
        return None

    def _stuck(self, role: Role) -> str:
        port = self.tap(port_of(role))
        if role.task is Task.ENTRANCE:
            return self._stuck_entrance(port)
        if has_session(role):
            return self._stuck_tunnel(port, self.tap(tunnel_of(role)))
        if role.task is Task.RELAY and port.rx_packets >= _MANY and not port.tx_packets:
            return _NOTHING_ON
        return ""

    def _stuck_entrance(self, port: Tap) -> str:
        clients = self.clients
        if clients.rx_packets >= _MANY and not (port.tx_packets or clients.tx_packets):
            return "it takes clients' packets and hands none on"
        if port.rx_packets >= _MANY and not clients.tx_packets:
            return "it takes answers and hands none to the clients"
        return ""

    def _stuck_tunnel(self, port: Tap, tunnel: Tap) -> str:
        """Of a way out; clients' packets turn around there where a proxy is behind it."""
        proxy = self._role(Task.PROXY)
        turned = 0 if proxy is None else port.tx_packets
        handed_on = turned + max(tunnel.tx_packets - self._own, 0)
        if port.rx_packets >= _SEVERAL and handed_on <= port.rx_packets // _NONE:
            return _NOTHING_ON
        sent = 0 if proxy is None else self.tap(port_of(proxy)).tx_packets
        if sent >= _SEVERAL and not port.rx_packets:
            return "the bridge hands nothing on to it"
        return ""

    def rates(self, role: Role) -> tuple[float, float]:
        """Bytes a second that the hop's bridge port took in and gave out, as the hop sees them."""
        tap = self.tap(port_of(role))
        return (tap.rx_bytes / self.seconds, tap.tx_bytes / self.seconds)

    def through(self, role: Role) -> tuple[int, int]:
        """Packets that the hop took from the side of the clients, and that came back to it."""
        if has_session(role):
            tap = self.tap(tunnel_of(role))
            return (tap.tx_packets, tap.rx_packets)
        tap = self.tap(port_of(role))
        if role.task is Task.ENTRANCE:
            return (tap.tx_packets, tap.rx_packets)
        return (tap.rx_packets, tap.tx_packets)
