"""Cross-checks of container ids, their bridge ports, and the names on the bridge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy_router.config.reserved import whose
from privacy_router.config.rule import problem, rule
from privacy_router.config.sections import socket_name
from privacy_router.config.values import INTERFACE_NAME_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.config.problems import Problem
    from privacy_router.config.sections import MeshSocket, PrivacySocket


@dataclass(frozen=True)
class _Socket:
    """A container id and the port name given beside it, and the paths of both."""

    id_path: str
    container_id: int
    name_path: str
    name: str | None


@dataclass(frozen=True)
class _Claim:
    """A place of the document that takes a name on the bridge, and often a container id.

    Claims of one family in different groups may be about the same thing: the seed names a mesh
    container under `containers` and again under `mesh_sockets`.
    """

    path: str
    name: str
    container_id: int | None
    family: str
    group: str


def _gateway_socket(config: PrivacyRouterConfig) -> list[_Socket]:
    hop = config.wireguard
    return [
        _Socket(
            "wireguard.container_id", hop.container_id, "wireguard.socket_port", hop.socket_port
        )
    ]


def _xray_socket(config: PrivacyRouterConfig) -> list[_Socket]:
    hop = config.xray
    return [_Socket("xray.container_id", hop.container_id, "xray.socket_port", hop.socket_port)]


def _container_sockets(config: PrivacyRouterConfig) -> list[_Socket]:
    return [
        _Socket(f"containers[{i}].id", one.id, f"containers[{i}].socket_port", one.socket_port)
        for i, one in enumerate(config.containers)
    ]


def _listed_sockets(config: PrivacyRouterConfig) -> list[_Socket]:
    networking = config.socket_networking
    lists: dict[str, tuple[PrivacySocket | MeshSocket, ...]] = {
        "privacy_sockets": networking.privacy_sockets or (),
        "mesh_sockets": networking.mesh_sockets or (),
    }
    return [
        _Socket(
            f"socket_networking.{key}[{i}].container_id",
            socket.container_id,
            f"socket_networking.{key}[{i}].name",
            socket.name,
        )
        for key, sockets in lists.items()
        for i, socket in enumerate(sockets)
    ]


def _name_problems(sockets: list[_Socket]) -> Iterator[Problem]:
    for socket in sockets:
        derived = socket_name(socket.container_id)
        if socket.name not in {None, derived}:
            yield problem(
                socket.name_path,
                socket.name,
                derived,
                because=f"the port is named after {socket.id_path}",
            )
        if len(derived) > INTERFACE_NAME_MAX_BYTES:
            yield problem(
                socket.id_path,
                socket.container_id,
                "a container id up to 999999",
                because=f"{derived} would be a name over {INTERFACE_NAME_MAX_BYTES} bytes",
            )


def _interface_claims(config: PrivacyRouterConfig) -> Iterator[_Claim]:
    yield _Claim("bridge_name", config.bridge_name, None, "bridge", "bridge")
    if config.warp.enabled:
        yield _Claim("warp.interface", config.warp.interface, None, "warp", "warp")
    if config.netmaker.enabled:
        yield _Claim("netmaker.interface", config.netmaker.interface, None, "netmaker", "netmaker")


def _reserved_names(config: PrivacyRouterConfig) -> Iterator[Problem]:
    for claim in _interface_claims(config):
        reason = whose(claim.name)
        if reason:
            expected = "a name that is not reserved"
            yield problem(claim.path, claim.name, expected, because=f"{claim.name} is {reason}")


def _container_claims(config: PrivacyRouterConfig) -> Iterator[_Claim]:
    if config.wireguard.enabled:
        yield _claim(_gateway_socket(config)[0], "privacy", "hops")
    if config.xray_enabled:
        yield _claim(_xray_socket(config)[0], "privacy", "hops")
    for container, socket in zip(config.containers, _container_sockets(config), strict=True):
        yield _claim(socket, container.network_type, "containers")
    for socket in _listed_sockets(config):
        family = "privacy" if "privacy_sockets" in socket.id_path else "mesh"
        yield _claim(socket, family, f"{family}_sockets")


def _claim(socket: _Socket, family: str, group: str) -> _Claim:
    # The derived name: a given one that differs is a problem of its own.
    name = socket_name(socket.container_id)
    return _Claim(socket.id_path, name, socket.container_id, family, group)


def _double_claims(config: PrivacyRouterConfig) -> Iterator[Problem]:
    taken: dict[str, dict[str, _Claim]] = {}
    for claim in (*_interface_claims(config), *_container_claims(config)):
        # Ids decide names, one to one, so that looking at the names finds double ids too.
        holders = taken.setdefault(claim.name, {})
        other = next((held for held in holders.values() if not _may_share(claim, held)), None)
        if other is not None:
            yield _double(claim, other)
        holders.setdefault(claim.group, claim)


def _may_share(one: _Claim, other: _Claim) -> bool:
    return one.family == other.family and one.group != other.group


def _double(claim: _Claim, other: _Claim) -> Problem:
    if claim.container_id is not None and other.container_id is not None:
        return problem(
            claim.path,
            claim.container_id,
            "a container id that nothing else has",
            because=f"{other.path} has it",
        )
    return problem(
        claim.path,
        claim.name if claim.container_id is None else claim.container_id,
        "a name on the bridge that nothing else has",
        because=f"{other.path} takes {claim.name}",
    )


def _strangers_on_the_privacy_segment(config: PrivacyRouterConfig) -> Iterator[Problem]:
    hops = {config.wireguard.container_id: "gateway", config.xray.container_id: "xray"}
    known = " or ".join(f"{number} ({hop})" for number, hop in hops.items())
    for i, socket in enumerate(config.socket_networking.privacy_sockets or ()):
        if socket.container_id not in hops:
            path = f"socket_networking.privacy_sockets[{i}].container_id"
            yield problem(path, socket.container_id, f"the container id of a hop: {known}")
    for i, container in enumerate(config.containers):
        if container.network_type == "privacy" and container.id not in hops:
            yield problem(
                f"containers[{i}].network_type",
                container.network_type,
                "mesh",
                because=f"only the hops are on the privacy segment: {known}",
            )


def _hops_without_ports(config: PrivacyRouterConfig) -> Iterator[Problem]:
    if config.chain_hops and not config.socket_networking.enabled:
        yield problem(
            "socket_networking.enabled",
            found=False,
            expected="true while a hop is enabled",
            because=f"enabled: {', '.join(config.chain_hops)}",
        )


RULES = (
    rule("bridge_name warp netmaker", _reserved_names),
    rule("wireguard", lambda config: _name_problems(_gateway_socket(config))),
    rule("xray", lambda config: _name_problems(_xray_socket(config))),
    rule("containers", lambda config: _name_problems(_container_sockets(config))),
    rule("socket_networking", lambda config: _name_problems(_listed_sockets(config))),
    rule(
        "bridge_name warp netmaker wireguard xray vps containers socket_networking", _double_claims
    ),
    rule("wireguard xray containers socket_networking", _strangers_on_the_privacy_segment),
    rule("wireguard warp xray vps socket_networking", _hops_without_ports),
)
