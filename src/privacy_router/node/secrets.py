"""Keys, identities and accounts: read from the state directory, made where they are missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.errors import StorageError
from privacy_router.hops.xray.keys import XrayIdentity
from privacy_router.host.files import read_bounded, write_private
from privacy_router.host.wireguard import generate_private_key, public_key_of
from privacy_router.node import clients, warp
from privacy_router.plan.keys import NodeKeys

if TYPE_CHECKING:
    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.node.paths import NodePaths

_KEY_FILE_LIMIT_BYTES = 64 * 1024


def load_keys(config: PrivacyRouterConfig, paths: NodePaths, *, make: bool = True) -> NodeKeys:
    """Everything secret that the enabled hops need.

    With `make`, what is missing is made and kept (which for WARP asks Cloudflare for an account);
    without, stand-ins that nobody keeps take its place, good enough to plan with.
    Raises StorageError, RemoteServiceError, ConflictError.
    """
    hops = config.chain_hops
    known = clients.load(config, paths)
    clients.require_room(config, known)
    return NodeKeys(
        gateway_private_key=gateway_key(config, paths, make=make) if "gateway" in hops else None,
        warp=warp.load_tunnel(config, paths, make=make) if "warp" in hops else None,
        xray=xray_identity(paths, make=make) if "xray" in hops else None,
        clients=known,
    )


def gateway_key(config: PrivacyRouterConfig, paths: NodePaths, *, make: bool = True) -> str:
    """The gateway's private key: from the file that the user names, or made on first use."""
    if config.wireguard.private_key_file is not None:
        return _read_key(Path(config.wireguard.private_key_file))
    if paths.gateway_key.exists():
        return _read_key(paths.gateway_key)
    key = generate_private_key()
    if make:
        write_private(paths.gateway_key, key.encode() + b"\n")
    return key


def _read_key(path: Path) -> str:
    key = read_bounded(path, _KEY_FILE_LIMIT_BYTES).decode(errors="replace").strip()
    try:
        public_key_of(key)
    except ValueError as error:
        raise StorageError(
            f"{path} does not hold a WireGuard private key",
            remedy="put one there (wg genkey), or remove the file to have a new one made",
        ) from error
    return key


def xray_identity(paths: NodePaths, *, make: bool = True) -> XrayIdentity:
    """Who this node is to its VPS; made on first use."""
    if paths.xray_identity.exists():
        text = read_bounded(paths.xray_identity, _KEY_FILE_LIMIT_BYTES).decode(errors="replace")
        try:
            return XrayIdentity.from_json_untrusted(text)
        except StorageError as error:
            message = f"{paths.xray_identity}: {error.message}"
            raise StorageError(message, remedy=error.remedy) from error
    identity = XrayIdentity.generate()
    if make:
        write_private(paths.xray_identity, identity.to_json().encode())
    return identity
