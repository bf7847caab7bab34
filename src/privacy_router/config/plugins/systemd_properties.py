"""Properties of units that can be set while they run, as systemd.resource-control(5) names them.

A value is kept in the form in which it is read back from the service manager, so that the two can
be compared.
"""

from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict, StringConstraints

from privacy_router.config.sections import Section
from privacy_router.config.values import Expected, Flag, Sentence

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_LIMIT: Final = "infinity"
_UINT64_MAX: Final = 2**64 - 1
_NUMBERS_MAX: Final = 8192
_LIST_MAX_ITEMS: Final = 1024
_SUFFIXES: Final = "KMGTPE"
_SIZE: Final = re.compile(rf"([0-9]{{1,18}}(?:\.[0-9]{{1,6}})?)([{_SUFFIXES}]?)\Z")
_NETWORKS: Final = {
    "any": ("0.0.0.0/0", "::/0"),
    "localhost": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/64"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
}

Network = IPv4Network | IPv6Network


def _size(value: object) -> int | str:
    if value == NO_LIMIT:
        return NO_LIMIT
    found = _SIZE.match(str(value)) if isinstance(value, int | str) else None
    if found is None or isinstance(value, bool):
        raise ValueError("not a size")
    power = _SUFFIXES.find(found[2]) + 1 if found[2] else 0
    size = int(Decimal(found[1]) * 1024**power)
    if size >= _UINT64_MAX:
        raise ValueError("more than there can be")
    return size


def _limit(size: int | str) -> int | str:
    if size == 0:
        raise ValueError("nothing at all")
    return size


def _quota(text: str) -> str:
    return text if text == NO_LIMIT else f"{int(text.removesuffix('%'))}%"


def _numbers(text: str) -> str:
    found: set[int] = set()
    for part in re.split(r"[, ]+", text):
        first, _, last = part.partition("-")
        span = range(int(first), int(last or first) + 1)
        if not span or span[-1] >= _NUMBERS_MAX:
            raise ValueError("not a range")
        found.update(span)
    return as_ranges(found)


def as_ranges(numbers: Iterable[int]) -> str:
    """Numbers in ascending order, neighbours as a range: `0-3,5`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)


def of_ranges(text: str) -> list[int]:
    """The numbers that `as_ranges` has written."""
    spans = [part.partition("-") for part in text.split(",") if part]
    return [n for a, _, b in spans for n in range(int(a), int(b or a) + 1)]


def _rules(rules: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(rules)))


def _rule(text: str) -> str:
    node, _, access = text.partition(" ")
    return f"{node} {access or 'rwm'}"


def _networks(items: tuple[str, ...]) -> tuple[str, ...]:
    written = [text for item in items for text in _NETWORKS.get(item, (item,))]
    return without_covered({ip_network(text, strict=False) for text in written})


def without_covered(networks: set[Network]) -> tuple[str, ...]:
    """These networks but for those that lie in another one: what the service manager keeps."""

    def is_covered(network: Network) -> bool:
        above = (network.supernet(new_prefix=length) for length in range(network.prefixlen))
        return any(one in networks for one in above)

    return tuple(sorted(str(network) for network in networks if not is_covered(network)))


Size = Annotated[
    int | str,
    BeforeValidator(_size),
    Expected("a number of bytes, a size such as 512M (K, M, G, T of 1024), or infinity"),
]
Limit = Annotated[
    int | str,
    BeforeValidator(_size),
    AfterValidator(_limit),
    Expected("a number of bytes from 1 up, a size such as 512M (K, M, G, T of 1024), or infinity"),
]
Count = Annotated[
    Annotated[int, Strict(), Field(ge=1, lt=2**63)] | Literal["infinity"],
    Expected("a number from 1 up, or infinity"),
]
CpuWeight = Annotated[
    Annotated[int, Strict(), Field(ge=1, le=10000)] | Literal["idle"],
    Expected("a weight, 1 to 10000, or idle"),
]
IoWeight = Annotated[int, Strict(), Field(ge=1, le=10000), Expected("a weight, 1 to 10000")]
Quota = Annotated[
    str,
    StringConstraints(strict=True, pattern=r"^([1-9][0-9]{0,5}%|infinity)$"),
    AfterValidator(_quota),
    Expected("a share of one CPU's time in whole percent such as 50% or 200%, or infinity"),
]
Numbers = Annotated[
    str,
    StringConstraints(
        strict=True,
        max_length=1000,
        pattern=r"^[0-9]{1,4}(-[0-9]{1,4})?([, ]+[0-9]{1,4}(-[0-9]{1,4})?)*$",
    ),
    AfterValidator(_numbers),
    Expected("numbers and ranges such as 0-3,5"),
]
Rule = Annotated[
    str,
    StringConstraints(
        strict=True,
        max_length=255,
        pattern=r"^(/dev/[!-~]+|(char|block)-[!-~]+)( (r|w|m|rw|rm|wm|rwm))?$",
    ),
    AfterValidator(_rule),
    Expected("a device and what may be done with it in the order r, w, m, such as /dev/null rw"),
]
Rules = Annotated[tuple[Rule, ...], Field(max_length=_LIST_MAX_ITEMS), AfterValidator(_rules)]
Networks = Annotated[
    tuple[Annotated[str, StringConstraints(strict=True, max_length=64)], ...],
    Field(max_length=_LIST_MAX_ITEMS),
    AfterValidator(_networks),
    Expected(
        "a list of addresses and subnets such as 10.0.0.0/8, or any, localhost, link-local,"
        " multicast"
    ),
]
PolicyForDevices = Annotated[
    Literal["auto", "closed", "strict"], Expected("auto, closed or strict")
]
OomAction = Annotated[Literal["auto", "kill"], Expected("auto or kill")]
OomPreference = Annotated[Literal["none", "avoid", "omit"], Expected("none, avoid or omit")]


class UnitProperties(Section):
    """Properties of a unit; what is null is left alone."""

    Description: (
        Annotated[
            Sentence, Field(min_length=1), Expected("one line of 1 to 200 printable characters")
        ]
        | None
    ) = Field(None, description="What the unit is, for people.")
    CPUAccounting: Flag | None = Field(None, description="Whether CPU time is counted.")
    IOAccounting: Flag | None = Field(None, description="Whether block I/O is counted.")
    IPAccounting: Flag | None = Field(None, description="Whether IP traffic is counted.")
    MemoryAccounting: Flag | None = Field(None, description="Whether memory is counted.")
    TasksAccounting: Flag | None = Field(None, description="Whether tasks are counted.")
    CPUWeight: CpuWeight | None = Field(None, description="Share of CPU time, 100 for all alike.")
    StartupCPUWeight: CpuWeight | None = Field(
        None, description="The same while the machine starts and stops."
    )
    CPUQuota: Quota | None = Field(None, description="CPU time at most, in percent of one CPU.")
    AllowedCPUs: Numbers | None = Field(None, description="CPUs to run on, such as 0-3.")
    AllowedMemoryNodes: Numbers | None = Field(None, description="NUMA nodes to take memory of.")
    MemoryMin: Size | None = Field(None, description="Memory that is never taken away.")
    MemoryLow: Size | None = Field(
        None, description="Memory that is taken away only when there is no other."
    )
    MemoryHigh: Limit | None = Field(
        None, description="Memory from which on the unit is slowed down."
    )
    MemoryMax: Limit | None = Field(None, description="Memory at most; beyond it, it is killed.")
    MemorySwapMax: Size | None = Field(None, description="Swap space at most.")
    TasksMax: Count | None = Field(None, description="Tasks (threads and processes) at most.")
    IOWeight: IoWeight | None = Field(None, description="Share of block I/O, 100 for all alike.")
    StartupIOWeight: IoWeight | None = Field(
        None, description="The same while the machine starts and stops."
    )
    IPAddressAllow: Networks | None = Field(
        None, description="Addresses that stay allowed when IPAddressDeny names them."
    )
    IPAddressDeny: Networks | None = Field(
        None, description="Addresses that may not be spoken with."
    )
    DeviceAllow: Rules | None = Field(None, description="Devices that may be used, and how.")
    DevicePolicy: PolicyForDevices | None = Field(
        None, description="Which devices may be used beside those of DeviceAllow."
    )
    ManagedOOMSwap: OomAction | None = Field(
        None, description="Whether systemd-oomd may kill it when swap runs out."
    )
    ManagedOOMMemoryPressure: OomAction | None = Field(
        None, description="Whether systemd-oomd may kill it under memory pressure."
    )
    ManagedOOMPreference: OomPreference | None = Field(
        None, description="Whether systemd-oomd should rather spare it."
    )

    def declared(self) -> dict[str, object]:
        """Those that are declared, by name, as JSON values."""
        found = self.model_dump(mode="json")
        return {name: value for name, value in found.items() if value is not None}
