"""The register of client devices."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import secrets
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from privacy_router.chain.addresses import client_addresses, client_mtu_bytes
from privacy_router.errors import ConflictError, InvalidError, PrivacyRouterError, StorageError
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.gateway.clients import Client, ClientSettings, render_client
from privacy_router.hops.gateway.hop import GATEWAY_NAMESPACE, GATEWAY_TUNNEL
from privacy_router.hops.gateway.reachability import endpoint_remark
from privacy_router.host.files import make_directory, read_bounded, write_private
from privacy_router.json_input import JsonError, read_json_untrusted
from privacy_router.node.made import is_there, note_made
from privacy_router.values.wireguard import generate_private_key, public_key_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.node.paths import NodePaths

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_REGISTER_LIMIT_BYTES = 16 * 1024 * 1024
_KEY_BYTES = 32
_CLIENTS_VALUE = (
    f"the device has the peers: ip netns exec {GATEWAY_NAMESPACE} wg showconf {GATEWAY_TUNNEL}"
)
_FIRST_NUMBER = 2  # the gateway itself has number 1


class ClientNameError(InvalidError):
    """That cannot be a client's name."""


@dataclass(frozen=True)
class NewClient:
    """A client that was just added, and the only copy of its configuration; `remark` says when the
    address in it cannot be dialled from everywhere, and what to do."""

    client: Client
    configuration: str
    remark: str = ""


def load(
    config: PrivacyRouterConfig, paths: NodePaths, *, known: bool = False
) -> tuple[Client, ...]:
    """Every client, by number; `known`: there were some.

    Raises StorageError for a register that cannot be read, MissingFileError for one that was there
    before: clients without it are not the same as no clients.
    """
    if not is_there(paths.clients, known=known, last_value=_CLIENTS_VALUE):
        return ()
    try:
        data = read_bounded(paths.clients, _REGISTER_LIMIT_BYTES)
        return _clients_untrusted(config, data)
    except (JsonError, ValueError) as error:
        raise StorageError(
            f"the register of clients {paths.clients} is damaged",
            remedy="restore it from a backup; to begin without clients, write [] into it",
        ) from error


def load_fitting(
    config: PrivacyRouterConfig, paths: NodePaths, *, known: bool = False
) -> tuple[Client, ...]:
    """The same, all of which have an address. Raises ConflictError for subnets that are too small
    for one of them."""
    found = load(config, paths, known=known)
    require_room(config, found)
    return found


def _clients_untrusted(config: PrivacyRouterConfig, data: bytes) -> tuple[Client, ...]:
    """The clients of a register, no two of a name, number or key. Raises JsonError, ValueError."""
    entries = read_json_untrusted(data, limit_bytes=_REGISTER_LIMIT_BYTES)
    if not isinstance(entries, list):
        raise ValueError("not a list")  # noqa: TRY004 - one error for all defects of the file
    found = tuple(_client(config, entry) for entry in entries)
    for values in zip(*((c.name, c.number, c.public_key) for c in found), strict=True):
        if len(set(values)) != len(values):
            raise ValueError("two clients are one")
    return found


def _client(config: PrivacyRouterConfig, entry: Any) -> Client:
    if not isinstance(entry, dict):
        raise ValueError("not an object")  # noqa: TRY004 - as above
    number, name = entry.get("number"), entry.get("name")
    if type(number) is not int or number < _FIRST_NUMBER:
        raise ValueError("not a client's number")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("not a client's name")
    v4, v6 = client_addresses(config, number)
    return Client(
        name=name,
        public_key=_key(entry.get("public_key")),
        preshared_key=_key(entry.get("preshared_key")),
        number=number,
        v4=v4,
        v6=v6,
        created=str(entry.get("created")),
    )


def _key(value: Any) -> str:
    if not isinstance(value, str) or len(base64.b64decode(value, validate=True)) != _KEY_BYTES:
        raise ValueError("not a WireGuard key")
    return value


def add(
    config: PrivacyRouterConfig, paths: NodePaths, name: str, gateway_public_key: str
) -> NewClient:
    """Register a new client and make its keys.

    Raises ConflictError for a name that is taken or a subnet that is full, ClientNameError for
    one that is not allowed, StorageError.
    """
    if not _NAME.fullmatch(name):
        raise ClientNameError(
            f"{name!r} cannot be a client's name",
            remedy="use up to 32 letters, digits, dots, dashes and underscores",
        )
    port, host = config.wireguard.listen_port, config.wireguard.endpoint or str(_own_address())
    settings = ClientSettings(
        gateway_public_key=gateway_public_key,
        endpoint=_with_port(host, port),
        dns=tuple(str(server) for server in config.wireguard.dns),
        mtu_bytes=client_mtu_bytes(config, CATALOGUE.segment(config)),
    )
    private_key = generate_private_key()
    with _locked(paths.state):
        known = load(config, paths)
        if any(client.name == name for client in known):
            raise ConflictError(
                f"there is a client named {name} already",
                remedy="choose another name, or remove it first: privacy-router client remove",
            )
        number = _free_number(config, known)
        v4, v6 = client_addresses(config, number)
        client = Client(
            name=name,
            public_key=public_key_of(private_key),
            preshared_key=base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode(),
            number=number,
            v4=v4,
            v6=v6,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        _store(paths, (*known, client))
    configuration = render_client(client, private_key, settings)
    return NewClient(client, configuration, endpoint_remark(host, port))


def remove(config: PrivacyRouterConfig, paths: NodePaths, name: str) -> Client:
    """Forget a client. Raises ConflictError when there is none of that name."""
    with _locked(paths.state):
        known = load(config, paths)
        found = find(known, name)
        _store(paths, tuple(client for client in known if client != found))
        return found


def find(known: tuple[Client, ...], name: str) -> Client:
    """The client of that name. Raises ConflictError naming those that there are."""
    for client in known:
        if client.name == name:
            return client
    names = ", ".join(client.name for client in known) or "none yet"
    raise ConflictError(f"there is no client named {name}", remedy=f"clients: {names}")


def require_room(config: PrivacyRouterConfig, known: tuple[Client, ...]) -> None:
    """Raise ConflictError when the client subnets became too small for a client that there is."""
    subnet, subnet6 = config.wireguard.client_subnet, config.wireguard.client_subnet6
    outside = [c.name for c in known if c.v4 not in subnet or c.v6 not in subnet6]
    if outside:
        raise ConflictError(
            f"the client subnet {subnet} has no place for: {', '.join(outside)}",
            remedy="make wireguard.client_subnet larger, or remove these clients",
        )


def _free_number(config: PrivacyRouterConfig, known: tuple[Client, ...]) -> int:
    taken = {client.number for client in known}
    last = config.wireguard.client_subnet.num_addresses - 2
    for number in range(_FIRST_NUMBER, last + 1):
        if number not in taken:
            return number
    raise ConflictError(
        f"the client subnet {config.wireguard.client_subnet} is full",
        remedy="set wireguard.client_subnet to a larger one",
    )


def _store(paths: NodePaths, known: tuple[Client, ...]) -> None:
    entries = [
        {
            "name": client.name,
            "public_key": client.public_key,
            "preshared_key": client.preshared_key,
            "number": client.number,
            "created": client.created,
        }
        for client in sorted(known, key=lambda client: client.number)
    ]
    write_private(paths.clients, json.dumps(entries, indent=2).encode())
    note_made(paths.clients)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Two commands at once must not give two clients one number."""
    make_directory(directory)
    path = directory / "clients.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}", remedy="make room there, or make it writable"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _own_address() -> IPv4Address | IPv6Address:
    """The address that the node itself would use towards the Internet. Sends nothing."""
    for family, far in ((socket.AF_INET, "1.1.1.1"), (socket.AF_INET6, "2606:4700:4700::1111")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 53))
            except OSError:
                continue
            return ip_address(probe.getsockname()[0])
    raise PrivacyRouterError(
        "this machine has no route to the Internet, so that its public address is unknown",
        remedy="set wireguard.endpoint to the address or name that clients are to dial",
    )
