"""Where WARP's tunnel leads: chosen by what the host can reach, and chosen again when nothing
answers there.

What is known is in a file of the state directory, the address in use first. Only bringing a node
up, and the controller of one that is up and hears nothing from WARP, look a name up: by the host's
own resolver, which learns no more than the tunnel's first packet tells the ISP.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import structlog

from privacy_router.errors import RemoteServiceError, StorageError
from privacy_router.hops.warp import endpoints
from privacy_router.hops.warp.endpoints import KnownEndpoints
from privacy_router.hops.warp.hop import WARP_NAMESPACE, WARP_TUNNEL
from privacy_router.host.files import read_bounded, write_private
from privacy_router.host.reach import has_way_to
from privacy_router.host.wireguard_uapi import format_endpoint
from privacy_router.node.made import is_there

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from privacy_router.hops.warp.endpoints import Name
    from privacy_router.hops.warp.profile import WarpProfile
    from privacy_router.values.wireguard import Endpoint

_log = structlog.get_logger()

_FILE_LIMIT_BYTES: Final = 64 * 1024
_LAST_VALUE: Final = (
    f"the device has the address: ip netns exec {WARP_NAMESPACE} wg show {WARP_TUNNEL} endpoints"
)


def in_use(profile: WarpProfile, file: Path) -> Endpoint:
    """Where the tunnel of that profile leads, without looking anything up.

    Raises StorageError (MissingFileError for a file that was there before).
    """
    own = _address_of(profile)
    if not is_there(file, known=own is None, last_value=_LAST_VALUE) and own is not None:
        return own
    known = _remembered(profile, file)
    if known is not None:
        return known.in_use
    if own is not None:
        return own
    raise StorageError(
        f"{file} does not hold the address of the WARP endpoint of this profile",
        remedy="privacy-router up looks it up anew",
    )


def settle(profile: WarpProfile, file: Path) -> None:
    """Choose where the tunnel leads, as a node is brought up: a name is looked up, and the address
    in use stays if it is among the answers and can be reached.

    Raises RemoteServiceError when the name cannot be looked up and no address of it is known,
    StorageError.
    """
    known = _known(profile, file)
    addresses = known.addresses
    if _address_of(profile) is None:
        try:
            addresses = endpoints.with_answers(addresses, look_up(_name_of(profile)))
        except RemoteServiceError as error:
            if not addresses:
                raise
            _log.warning("the last known address of WARP stays", reason=error.message)
    addresses = endpoints.reachable_first(addresses, has_way_to)
    if not has_way_to(addresses[0]):
        _log.warning(
            "this machine has no route to any known address of WARP",
            known=", ".join(map(format_endpoint, addresses)),
        )
    _keep(profile, file, known, addresses)


def name_of(profile: WarpProfile, file: Path) -> Name | None:
    """What to look up for more addresses: the profile's endpoint, or the name that the account
    service gave beside the addresses. Raises StorageError."""
    if _address_of(profile) is None:
        return _name_of(profile)
    return _known(profile, file).name


def change_over(profile: WarpProfile, file: Path, answers: Collection[Endpoint]) -> bool:
    """Choose another address, since nothing answers at the one in use; whether there is another.

    `answers` are those of a new look-up, if there was one. Raises StorageError as `in_use` does.
    """
    in_use(profile, file)
    known = _known(profile, file)
    found = known.addresses
    if answers:  # what the account service gave stays known beside them
        given = found if _address_of(profile) is not None else ()
        found = endpoints.with_answers(found, (*given, *answers))
    order = endpoints.after_failure if found[0] == known.in_use else endpoints.reachable_first
    found = order(found, has_way_to)
    _keep(profile, file, known, found)
    return found[0] != known.in_use


def note_given(profile: WarpProfile, file: Path, given: KnownEndpoints) -> None:
    """Keep what the account service says of where the peer is, if it says an address. Raises
    StorageError."""
    if given.addresses:
        write_private(file, endpoints.encode(profile.endpoint, given).encode())


def look_up(name: Name) -> tuple[Endpoint, ...]:
    """The addresses that the host's resolver has for a name, its preferred ones first.

    Raises RemoteServiceError.
    """
    host, port = name
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        answers = endpoints.usable((ip_address(each[4][0]), port) for each in found)
    except (OSError, ValueError) as error:  # ValueError: a label too long, and the like
        raise _not_resolved(host) from error
    if not answers:
        raise _not_resolved(host)
    return answers


def _not_resolved(host: str) -> RemoteServiceError:
    return RemoteServiceError(
        f"the WARP endpoint {host} cannot be resolved",
        remedy="check the node's DNS, or write the endpoint's address into the profile",
        retryable=True,
    )


def _keep(
    profile: WarpProfile, file: Path, before: KnownEndpoints, addresses: tuple[Endpoint, ...]
) -> None:
    """Write what is known now, if it is more than the profile says itself."""
    after = replace(before, addresses=addresses)
    own = _address_of(profile)
    is_new = _remembered(profile, file) != after
    if is_new and (own is None or after != KnownEndpoints((own,))):
        note_given(profile, file, after)


def _known(profile: WarpProfile, file: Path) -> KnownEndpoints:
    """What was kept, else what the profile says; no address for a name that is new."""
    kept = _remembered(profile, file)
    own = _address_of(profile)
    return kept or KnownEndpoints(() if own is None else (own,))


def _address_of(profile: WarpProfile) -> Endpoint | None:
    """The endpoint, if the profile has it as an address."""
    try:
        return (ip_address(profile.endpoint_host), profile.endpoint_port)
    except ValueError:
        return None


def _name_of(profile: WarpProfile) -> Name:
    return profile.endpoint_host, profile.endpoint_port


def _remembered(profile: WarpProfile, file: Path) -> KnownEndpoints | None:
    """What is kept for that profile; None where there is nothing, or it is damaged."""
    if not file.exists():
        return None
    text = read_bounded(file, _FILE_LIMIT_BYTES).decode(errors="replace")
    try:
        return endpoints.decode_untrusted(text, profile.endpoint)
    except ValueError:
        return None
