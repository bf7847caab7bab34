"""Where WARP's peer may be: the addresses that are known, and which of them to try (pure).

A profile names one endpoint, which may be a host name with several addresses; the account service
gives one address of each family. A node reaches some of them only, and not the same ones for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from privacy_router.config.values import split_host_port
from privacy_router.host.wireguard_uapi import format_endpoint, parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from privacy_router.values.wireguard import Endpoint

    CanReach = Callable[[Endpoint], bool]

Name = tuple[str, int]
"""A host name and a port."""

ADDRESSES_MAX: Final = 16


@dataclass(frozen=True)
class KnownEndpoints:
    """The addresses of one profile's peer; the first is in use, the others are to be tried next in
    this order. `name` is what to look up for more, if there is such a name."""

    addresses: tuple[Endpoint, ...]
    name: Name | None = None

    @property
    def in_use(self) -> Endpoint:
        """Where the tunnel leads."""
        return self.addresses[0]


def given(places: Iterable[Name]) -> KnownEndpoints:
    """What the account service says of where the peer is: addresses as text, or a name. There may
    be no address."""
    addresses: list[Endpoint] = []
    name: Name | None = None
    for host, port in places:
        try:
            addresses.append((ip_address(host), port))
        except ValueError:
            name = (host, port)
    return KnownEndpoints(tuple(addresses), name)


def encode(wanted: str, known: KnownEndpoints) -> str:
    """The text of the file that keeps them: on each line the endpoint that the profile names, and
    where it is: the address in use, the other addresses, the name."""
    places = [format_endpoint(endpoint) for endpoint in known.addresses]
    if known.name is not None:
        places.append("{}:{}".format(*known.name))
    return "".join(f"{wanted} {place}\n" for place in places)


def decode_untrusted(text: str, wanted: str) -> KnownEndpoints:
    """What `encode` wrote for the profile that names `wanted`. Raises ValueError for the file of
    another profile, and for a damaged one."""
    addresses: list[Endpoint] = []
    name: Name | None = None
    for line in text.splitlines():
        subject, _, place = line.rpartition(" ")
        if subject != wanted or name is not None or len(addresses) > ADDRESSES_MAX:
            raise ValueError("not the endpoints of this profile")
        try:
            addresses.append(parse_endpoint(place))
        except ValueError:
            name = split_host_port(place)
    if not addresses:
        raise ValueError("no address")
    return KnownEndpoints(tuple(addresses), name)


def with_answers(known: Iterable[Endpoint], answers: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """The answers of a new look-up: those that were known first, in the order they had, so that
    another order of the same answers changes nothing. What is no answer any more is left out."""
    found = usable(answers)
    return tuple(dict.fromkeys([*(one for one in known if one in found), *found]))


def usable(answers: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Without those at which no peer in the Internet can be, each once."""
    found = dict.fromkeys(one for one in answers if not _is_nowhere(one))
    return tuple(found)[:ADDRESSES_MAX]


def _is_nowhere(endpoint: Endpoint) -> bool:
    address = endpoint[0]
    return (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
    )


def reachable_first(known: Iterable[Endpoint], can_reach: CanReach) -> tuple[Endpoint, ...]:
    """The same with those first that the host has a way to, else in the order they had."""
    return tuple(sorted(known, key=lambda endpoint: not can_reach(endpoint)))


def after_failure(known: tuple[Endpoint, ...], can_reach: CanReach) -> tuple[Endpoint, ...]:
    """The same with another in use, since the one that was does not answer: of those that the host
    has a way to the first of the other family, else the first. The failed one comes last."""
    failed, *rest = known
    others = sorted(
        (one for one in rest if can_reach(one)),
        key=lambda endpoint: endpoint[0].version == failed[0].version,
    )
    if not others:
        return known
    return (others[0], *(one for one in rest if one != others[0]), failed)
