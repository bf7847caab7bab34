"""What will stop `up` on this machine, though the document is valid: all of it at once.

Nothing is made, written or looked up in the network. Without root only what the caller may read is
looked at.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privacy_router.client.rows import Obstacle
from privacy_router.config import ConfigError
from privacy_router.errors import PrivacyRouterError, StorageError
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.keys import Part
from privacy_router.hops.warp.store import load_profile
from privacy_router.node import clients, room, warp
from privacy_router.node import machine as machines
from privacy_router.node.made import is_there
from privacy_router.node.secrets import read_identity, read_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.node.paths import NodePaths

    Look = Callable[[], object]

MACHINE: Final = "this machine"
STATE: Final = "the state directory"


def obstacles(config: PrivacyRouterConfig, paths: NodePaths) -> list[Obstacle]:
    """Everything that stops `up`, as far as the caller may see it. Raises nothing."""
    looks = [*_key_looks(config, paths), *_machine_looks(config, paths)]
    return [obstacle for key, look in looks for obstacle in _found(key, look)]


def sees_all() -> bool:
    """Whether the caller may see everything that stops `up`."""
    return os.geteuid() == 0


def _key_looks(config: PrivacyRouterConfig, paths: NodePaths) -> Iterator[tuple[str, Look]]:
    needs = CATALOGUE.needs(config)
    if Part.GATEWAY in needs:
        yield STATE, partial(clients.load, config, paths)
        yield "wireguard.client_subnet", partial(_require_room, config, paths)
        own = config.wireguard.private_key_file
        if own is None:
            yield STATE, partial(_read_kept_key, paths)
        else:
            yield "wireguard.private_key_file", partial(read_key, Path(own))
    if Part.WARP in needs:
        if config.warp.wgcf_config is None:
            yield "warp.accept_terms", partial(_require_account, config, paths)
        else:
            yield "warp.wgcf_config", partial(load_profile, Path(config.warp.wgcf_config))
    if Part.XRAY in needs:
        yield STATE, partial(_read_kept_identity, paths)


def _require_room(config: PrivacyRouterConfig, paths: NodePaths) -> None:
    try:
        known = clients.load(config, paths)
    except StorageError:
        return  # another look says it
    clients.require_room(config, known)


def _read_kept_key(paths: NodePaths) -> None:
    if is_there(paths.gateway_key):
        read_key(paths.gateway_key)


def _read_kept_identity(paths: NodePaths) -> None:
    if is_there(paths.xray_identity):
        read_identity(paths)


def _require_account(config: PrivacyRouterConfig, paths: NodePaths) -> None:
    """The account's profile, or what it takes to get one."""
    if paths.warp_profile.exists():
        load_profile(paths.warp_profile)
        return
    if not is_there(paths.warp_account):  # whose profile can be had from Cloudflare again
        is_there(paths.warp_profile)
    warp.require_terms(config, paths)


def _machine_looks(config: PrivacyRouterConfig, paths: NodePaths) -> Iterator[tuple[str, Look]]:
    if not sees_all():
        return
    yield MACHINE, partial(machines.inspect, config, paths, to_run=True)
    try:
        machine = machines.inspect(config, paths)
    except PrivacyRouterError:
        return  # the look before says it
    for look in room.looks_for_room(config, machine):
        yield MACHINE, look


def _found(key: str, look: Look) -> Iterator[Obstacle]:
    try:
        look()
    except ConfigError as error:
        for problem in error.problems:
            found = f"found {problem.found}; expected {problem.expected}"
            yield Obstacle(problem.path, found, "change it in the configuration")
    except PrivacyRouterError as error:
        if not _is_denied(error):
            yield Obstacle(key, error.message, error.remedy)
    except PermissionError:
        if sees_all():
            raise
    except OSError as error:
        yield Obstacle(key, str(error), "see that this machine has it, and that it can be read")


def _is_denied(error: PrivacyRouterError) -> bool:
    """Whether it says no more than that the caller is not root."""
    return not sees_all() and isinstance(error.__cause__, PermissionError)
