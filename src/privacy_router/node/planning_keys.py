"""Keys to show a plan with: what is known, and stand-ins for the rest.

Nothing is made, written or looked up in the network for a plan, and of a caller's document no path
is opened: the daemon may read what the caller may not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.errors import PrivacyRouterError, StorageError
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.keys import Part, PlanningKeys, stand_in_tunnel
from privacy_router.hops.xray.keys import XrayIdentity
from privacy_router.node import clients, warp
from privacy_router.node.made import is_there
from privacy_router.node.secrets import read_identity, read_key
from privacy_router.values.wireguard import generate_private_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.hops.gateway.clients import Client
    from privacy_router.node.paths import NodePaths
    from privacy_router.node.secrets import KeptNode
    from privacy_router.values.wireguard import WarpTunnel

    T = TypeVar("T")


class NotOpenedError(PrivacyRouterError):
    """A file is not opened, since a caller named it."""


def plan_keys(
    config: PrivacyRouterConfig,
    paths: NodePaths,
    *,
    kept: KeptNode | None = None,
    opens_named_files: bool = True,
) -> PlanningKeys:
    """What the running node has, else what the files hold, else stand-ins, which say why.

    Without `opens_named_files` no path that the configuration names is opened. Raises nothing for
    what is missing or damaged, and ConflictError where clients have no room.
    """
    look = _Look(config, paths, kept, opens_named_files)
    needs = CATALOGUE.needs(config)
    known = look.known_or(Part.CLIENTS, look.clients, _nobody)
    clients.require_room(config, known)
    gateway = look.gateway() if Part.GATEWAY in needs else None
    tunnel = look.tunnel() if Part.WARP in needs else None
    identity = look.identity() if Part.XRAY in needs else None
    return PlanningKeys(gateway, tunnel, identity, known, look.stand_ins)


def _nobody() -> tuple[Client, ...]:
    return ()


@dataclass(frozen=True)
class _Look:
    """One look for keys, and why some were not found."""

    config: PrivacyRouterConfig
    paths: NodePaths
    kept: KeptNode | None
    opens_named_files: bool
    stand_ins: dict[Part, str] = field(default_factory=dict)

    def known_or(self, part: Part, look: Callable[[], T], stand_in: Callable[[], T]) -> T:
        """What is there, or a stand-in with a note of why."""
        try:
            return look()
        except PrivacyRouterError as error:
            self.stand_ins[part] = error.message
            return stand_in()

    def clients(self) -> tuple[Client, ...]:
        """The clients that are registered."""
        known = self.kept is not None and bool(self.kept.keys.clients)
        return clients.load(self.config, self.paths, known=known)

    def gateway(self) -> str:
        """The gateway's key."""
        own, kept = self.config.wireguard.private_key_file, self.kept
        if kept is not None and kept.config.wireguard.private_key_file == own:
            key = kept.keys.gateway_private_key
            if key is not None:
                return key

        def read() -> str:
            if own is not None:
                self._require_may_open("wireguard.private_key_file")
                return read_key(Path(own))
            if not is_there(self.paths.gateway_key):
                raise StorageError("the gateway's key is made when the node is brought up")
            return read_key(self.paths.gateway_key)

        return self.known_or(Part.GATEWAY, read, generate_private_key)

    def tunnel(self) -> WarpTunnel:
        """The tunnel of the WARP account."""
        settings, kept = self.config.warp, self.kept
        same = kept is not None and kept.config.warp.wgcf_config == settings.wgcf_config
        if kept is not None and same and kept.keys.warp is not None:
            return kept.keys.warp

        def read() -> WarpTunnel:
            if settings.wgcf_config is not None:
                self._require_may_open("warp.wgcf_config")
            elif not is_there(self.paths.warp_profile):
                raise StorageError("the WARP account is registered when the node is brought up")
            return warp.read_tunnel(self.config, self.paths)

        return self.known_or(Part.WARP, read, stand_in_tunnel)

    def identity(self) -> XrayIdentity:
        """Who the node is to its VPS."""
        if self.kept is not None and self.kept.keys.xray is not None:
            return self.kept.keys.xray

        def read() -> XrayIdentity:
            if not is_there(self.paths.xray_identity):
                raise StorageError("the identity is made when the node is brought up")
            return read_identity(self.paths)

        return self.known_or(Part.XRAY, read, XrayIdentity.generate)

    def _require_may_open(self, what: str) -> None:
        if not self.opens_named_files:
            raise NotOpenedError(f"{what} is not opened for a plan of a caller's document")
