"""Keys, identities and accounts: read from the state directory, made where there never were any.

Two ways to get them, by what they are for:

* `make_keys` before a node is brought up: what never was is made and kept.
* `read_keys` for a node that is up or was: everything was made before, so what is missing is an
  error, and nothing is made, written or looked up.

Keys to show a plan with are of another type: planning_keys.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privacy_router.errors import StorageError
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.hops.gateway.hop import GATEWAY_NAMESPACE, GATEWAY_TUNNEL
from privacy_router.hops.keys import NodeKeys, Part
from privacy_router.hops.xray.keys import XrayIdentity
from privacy_router.host.files import read_bounded, write_private
from privacy_router.node import clients, warp
from privacy_router.node.made import is_there, note_made
from privacy_router.values.wireguard import generate_private_key, public_key_of

if TYPE_CHECKING:
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.node.paths import NodePaths

_KEY_FILE_LIMIT_BYTES: Final = 64 * 1024
_GATEWAY_VALUE: Final = (
    f"the device has its value: ip netns exec {GATEWAY_NAMESPACE} wg show {GATEWAY_TUNNEL}"
    " private-key"
)
_XRAY_VALUE: Final = "the settings of the running XRay (xray.json in the run directory) have it"


@dataclass(frozen=True)
class KeptNode:
    """The node that runs: its configuration, and the keys that it has. Files of which it has the
    content were there."""

    config: PrivacyRouterConfig
    keys: NodeKeys

    @property
    def had_gateway_key(self) -> bool:
        """Whether its gateway's key came from the state directory."""
        has_own_file = self.config.wireguard.private_key_file is not None
        return self.keys.gateway_private_key is not None and not has_own_file

    @property
    def had_account(self) -> bool:
        """Whether its WARP account came from the state directory."""
        return self.keys.warp is not None and self.config.warp.wgcf_config is None


def make_keys(
    config: PrivacyRouterConfig, paths: NodePaths, kept: KeptNode | None = None
) -> NodeKeys:
    """Everything secret that the enabled hops need; what never was is made and kept, which for
    WARP asks Cloudflare for an account.

    Raises StorageError (MissingFileError for what is gone, also of the node that runs),
    RemoteServiceError, ConflictError.
    """
    needs = CATALOGUE.needs(config)
    if Part.GATEWAY in needs:
        gateway_key(config, paths, known=kept is not None and kept.had_gateway_key)
    if Part.WARP in needs:
        warp.make_tunnel(config, paths, known=kept is not None and kept.had_account)
    if Part.XRAY in needs:
        xray_identity(paths, known=kept is not None and kept.keys.xray is not None)
    found = read_keys(config, paths, kept)
    note_files(paths)
    return found


def note_files(paths: NodePaths) -> None:
    """Remember of all files that are there that they were made."""
    for path in (
        *(paths.gateway_key, paths.clients, paths.xray_identity),
        *(paths.warp_account, paths.warp_profile, paths.warp_endpoint),
    ):
        note_made(path)


def read_keys(
    config: PrivacyRouterConfig, paths: NodePaths, kept: KeptNode | None = None
) -> NodeKeys:
    """The same of a node that was up before: all of it is there, or it is an error. Makes nothing,
    writes nothing and looks up no name.

    Raises StorageError (MissingFileError for what is gone), ConflictError, ProfileError.
    """
    needs = CATALOGUE.needs(config)
    has_some = kept is not None and bool(kept.keys.clients)
    found = clients.load_fitting(config, paths, known=has_some)
    return NodeKeys(
        gateway_private_key=_kept_gateway_key(config, paths) if Part.GATEWAY in needs else None,
        warp=warp.read_tunnel(config, paths) if Part.WARP in needs else None,
        xray=_kept_identity(paths) if Part.XRAY in needs else None,
        clients=found,
    )


# --- the gateway's key ----------------------------------------------------------------------------


def gateway_key(config: PrivacyRouterConfig, paths: NodePaths, *, known: bool = False) -> str:
    """The gateway's private key: from the file that the user names, or made on first use.

    Raises StorageError, MissingFileError for one that was there before.
    """
    own = config.wireguard.private_key_file
    path = paths.gateway_key if own is None else Path(own)
    if own is None and not is_there(path, known=known, last_value=_GATEWAY_VALUE):
        write_private(path, generate_private_key().encode() + b"\n")
        note_made(path)
    return read_key(path)


def _kept_gateway_key(config: PrivacyRouterConfig, paths: NodePaths) -> str:
    if config.wireguard.private_key_file is not None:
        return read_key(Path(config.wireguard.private_key_file))
    is_there(paths.gateway_key, known=True, last_value=_GATEWAY_VALUE)
    return read_key(paths.gateway_key)


def read_key(path: Path) -> str:
    """A WireGuard private key from a file. Raises StorageError."""
    key = read_bounded(path, _KEY_FILE_LIMIT_BYTES).decode(errors="replace").strip()
    try:
        public_key_of(key)
    except ValueError as error:
        raise StorageError(
            f"{path} does not hold a WireGuard private key",
            remedy="put one there (wg genkey), or restore the file from a backup",
        ) from error
    return key


# --- who the node is to its VPS -------------------------------------------------------------------


def xray_identity(paths: NodePaths, *, known: bool = False) -> XrayIdentity:
    """Who this node is to its VPS; made on first use.

    Raises StorageError, MissingFileError for one that was there before.
    """
    if not is_there(paths.xray_identity, known=known, last_value=_XRAY_VALUE):
        write_private(paths.xray_identity, XrayIdentity.generate().to_json().encode())
        note_made(paths.xray_identity)
    return read_identity(paths)


def _kept_identity(paths: NodePaths) -> XrayIdentity:
    is_there(paths.xray_identity, known=True, last_value=_XRAY_VALUE)
    return read_identity(paths)


def read_identity(paths: NodePaths) -> XrayIdentity:
    """The identity that is kept. Raises StorageError."""
    text = read_bounded(paths.xray_identity, _KEY_FILE_LIMIT_BYTES).decode(errors="replace")
    try:
        return XrayIdentity.from_json_untrusted(text)
    except StorageError as error:
        message = f"{paths.xray_identity}: {error.message}"
        raise StorageError(message, remedy=error.remedy) from error
