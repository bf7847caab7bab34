"""What a node says of itself: hops, clients, what is amiss (pure)."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from privacy_router.values.text import local_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from dataclasses import Field


class FileState(StrEnum):
    """What became of the file's content."""

    WAITING = "waiting"
    REFUSED = "refused"
    UNDONE = "undone"
    OVERRULED = "overruled"
    CHANGED = "changed"


@dataclass(frozen=True)
class FileNote:
    """What the controller says of its file `path`: since when (seconds since 1970) it is so, why,
    what to do; and, of one that waits, when it is tried next."""

    path: str
    state: FileState
    at_s: float
    reason: str = ""
    remedy: str = ""
    next_s: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it is tried again without being asked."""
        return self.state is FileState.WAITING

    @property
    def words(self) -> str:
        """All of it for a person, on one line."""
        return " ".join(self._sentence().split())

    def _sentence(self) -> str:
        if self.state is FileState.OVERRULED:
            return f"{self.path} is not what is kept: another document was applied since"
        if self.state is FileState.CHANGED:
            return f"{self.path} is not what is kept: it was not applied since it changed"
        if self.is_waiting and self.next_s is not None:
            tried = f"{self.path} is not applied yet ({local_time(self.at_s)}): {self.reason}"
            return f"{tried}; next try at {local_time(self.next_s)}, or when the network changes"
        return f"{self.path} was {self.state} at {local_time(self.at_s)}: {self.reason}"

    @property
    def advice(self) -> str:
        """What a person can do about it."""
        again = f"privacy-router apply {self.path}"
        if self.is_waiting:
            return self.remedy
        if self.state in (FileState.OVERRULED, FileState.CHANGED):
            return f"{again} applies it"
        return f"no reload and no restart applies it: change it, or try again with {again}"

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


@dataclass(frozen=True)
class HopStatus:
    """One hop. Bytes are those of its bridge port, as the hop sees them, and `rx_rate` and
    `tx_rate` bytes a second within the last two seconds or so.

    `state` is `up` when it has proved within the last seconds that it passes packets, `quiet` when
    nothing says so nor the contrary, else `degraded` or `down`, with `detail` as the reason.
    `health` has `state`, `reason`, `since` (seconds since 1970) and `evidence`, all of what passes,
    where `state` is also of what is different from the configuration. `has_tunnel`: it has a
    WireGuard device, and so handshakes.
    """

    name: str
    state: str
    detail: str
    port: str
    rx_bytes: int
    tx_bytes: int
    handshake_age_s: float | None
    rtt_ms: float | None
    flows: list[str]
    health: dict[str, Any] = field(default_factory=dict)
    rx_rate: float = 0.0
    tx_rate: float = 0.0
    has_tunnel: bool = True


@dataclass(frozen=True)
class ClientStatus:
    """One client device."""

    name: str
    endpoint: str | None
    handshake_age_s: float | None
    rx_bytes: int
    tx_bytes: int


@dataclass(frozen=True)
class NodeStatus:
    """The whole node. `probed`: the outside was asked. `pending` are differences
    from the configuration, in words, `left_out` ports of the bridge that get no flows, with the
    reason, and `trouble` what the controller cannot do, and what could not be read. `file` says why
    the controller's file is not what it keeps, if that is so. `firewalls` are those of the host
    that may be in the way, `listen_port` is the UDP port that clients dial.

    It is `ok` when all is as configured, a controller keeps it so, and packets have passed the
    whole chain within the last seconds; `quiet` when only the last is not known. `exit_ipv4` and
    `exit_ipv6` are the addresses that sites see, `exit_ip` the first of them, and `document` the
    file that the controller keeps, where it has a name.
    """

    ok: bool
    state: str
    controller_pid: int | None
    probed: bool
    hops: list[HopStatus]
    clients: list[ClientStatus]
    exit_ip: str | None
    warp_trace: str | None
    processes: dict[str, int]
    pending: list[str]
    left_out: dict[str, str]
    trouble: list[str] = field(default_factory=list)
    firewalls: list[str] = field(default_factory=list)
    listen_port: int | None = None
    file: FileNote | None = None
    exit_ipv4: str | None = None
    exit_ipv6: str | None = None
    obfuscation_level: int = 0
    document: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


def status_from(found: Mapping[str, Any]) -> NodeStatus:
    """A status from what `as_dict` made of it, where D-Bus has left out what was None."""
    hops = [_filled(HopStatus, hop) for hop in found["hops"]]
    clients = [_filled(ClientStatus, client) for client in found["clients"]]
    note = found.get("file")
    state = {} if note is None else {"file": _filled(FileNote, _with_state(note))}
    status: NodeStatus = _filled(NodeStatus, {**found, "hops": hops, "clients": clients, **state})
    return status


def _with_state(note: Mapping[str, Any]) -> dict[str, Any]:
    return {**note, "state": FileState(note["state"])}


def _filled(kind: type[Any], found: Mapping[str, Any]) -> Any:
    """One of that kind of dataclass, None for what is not there and has no default."""
    names = [one.name for one in fields(kind) if one.name in found or _is_needed(one)]
    return kind(**{name: found.get(name) for name in names})


def _is_needed(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING
