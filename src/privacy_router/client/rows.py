"""What a node answers, as types; and as the tuples that carry it over the bus (pure)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NEVER: Final = -1.0


@dataclass(frozen=True)
class ClientRow:
    """A registered client, and what its tunnel says of it.

    `created` is in ISO 8601, `endpoint` the address and port that it was seen at last ("" for
    none), `handshake_age_s` the seconds since its last handshake, None where there was none.
    """

    name: str
    ipv4: str
    ipv6: str
    public_key: str
    created: str
    endpoint: str = ""
    handshake_age_s: float | None = None
    rx_bytes: int = 0
    tx_bytes: int = 0

    def facts(self) -> dict[str, str]:
        """What was decided when it was registered."""
        names = ("name", "ipv4", "ipv6", "public_key", "created")
        return {name: getattr(self, name) for name in names}

    def as_tuple(self) -> tuple[Any, ...]:
        """For the bus: (ssssssdtt), -1 seconds for never."""
        age_s = _NEVER if self.handshake_age_s is None else self.handshake_age_s
        return tuple((asdict(self) | {"handshake_age_s": age_s}).values())

    @classmethod
    def from_tuple(cls, row: Sequence[Any]) -> ClientRow:
        """From the bus."""
        name, ipv4, ipv6, public_key, created, endpoint, age_s, rx_bytes, tx_bytes = row
        seen_s = None if age_s == _NEVER else age_s
        return cls(name, ipv4, ipv6, public_key, created, endpoint, seen_s, rx_bytes, tx_bytes)


CLIENT_SIGNATURE: Final = "(ssssssdtt)"


@dataclass(frozen=True)
class AddedClient:
    """A client that was just added, and the only copy of its configuration.

    `remark` says when the address in the configuration cannot be dialled from everywhere, and what
    to do. `in_force`: the gateway's device was read back and has the client; False where no node is
    up that could have it.
    """

    client: ClientRow
    configuration: str = field(repr=False)
    remark: str = ""
    in_force: bool = True


@dataclass(frozen=True)
class ClientList:
    """All clients by their addresses; `trouble`: why the gateway could not be asked about them."""

    clients: list[ClientRow]
    trouble: str = ""


@dataclass(frozen=True)
class ChangeRow:
    """A change of a resource; `before` and `after` None where there is none."""

    verb: str
    plugin: str
    kind: str
    name: str
    before: Any
    after: Any
    mode: str
    by: str
    note: str = ""

    @classmethod
    def from_bus(cls, row: Sequence[Any]) -> ChangeRow:
        """From what the bus carries: (ssssa{sv})."""
        verb, plugin, kind, name, more = row
        sides = (more.get("before"), more.get("after"))
        return cls(verb, plugin, kind, name, *sides, more["mode"], *_words_of(more))

    @property
    def flow(self) -> dict[str, Any] | None:
        """The value of a flow; None of another resource."""
        value = (self.after or self.before) if self.kind == "flow" else None
        return value if isinstance(value, dict) else None

    @property
    def named(self) -> str:
        """The resource: of a flow, whose name ends in a match with the numbers of ports, the match
        and the actions with their names."""
        if self.flow is None:
            return self.name
        place = " ".join(self.name.split(" ", 2)[:2])
        return f"{place} {self.flow['match']} → {self.flow['actions']}"

    @property
    def short(self) -> str:
        """The change in a few words."""
        return f"{self.verb} {self.kind} {self.named}"

    def as_dict(self) -> dict[str, Any]:
        """What scripts are told."""
        return {**vars(self)}


def _words_of(more: Mapping[str, Any]) -> tuple[str, str]:
    return more.get("by", ""), more.get("note", "")


@dataclass(frozen=True)
class Obstacle:
    """One thing that stops `up`: the `key` of the configuration that it is about, or what else."""

    key: str
    reason: str
    remedy: str

    def as_json(self) -> dict[str, str]:
        """The obstacle for scripts, one member per field."""
        return asdict(self)
