"""Keys and accounts: made once, kept private, refused when damaged, never quoted."""

from __future__ import annotations

import base64
import json
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from privacy_router.config import parse_document
from privacy_router.errors import (
    ConflictError,
    ExitCode,
    PrivacyRouterError,
    RemoteServiceError,
    StorageError,
)
from privacy_router.host.wireguard import public_key_of
from privacy_router.node.paths import NodePaths
from privacy_router.node.planning_keys import plan_keys
from privacy_router.node.secrets import gateway_key, xray_identity
from privacy_router.node.warp import make_tunnel, read_tunnel

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.plan.keys import WarpTunnel

SECRET = base64.b64encode(bytes(range(32))).decode()  # fixed: test ids must not change
PEER = public_key_of(SECRET)
PROFILE = f"""[Interface]
PrivateKey = {SECRET}
Address = 172.16.0.2/32
Address = 2606:4700:110::2/128
[Peer]
PublicKey = {PEER}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 162.159.192.1:2408
"""


@pytest.fixture
def paths(tmp_path: Path) -> NodePaths:
    return NodePaths(state=tmp_path / "state", run=tmp_path / "run")


def config_with(**sections: Any) -> PrivacyRouterConfig:
    document = {"version": 1, "plugins": {"privacy_router": sections}}
    return parse_document(json.dumps(document), "test").config


def importing(path: Path) -> PrivacyRouterConfig:
    return config_with(warp={"wgcf_config": str(path)})


def load_tunnel(config: PrivacyRouterConfig, paths: NodePaths) -> WarpTunnel:
    make_tunnel(config, paths)
    return read_tunnel(config, paths)


def test_the_gateways_key_is_made_once(paths: NodePaths) -> None:
    key = gateway_key(config_with(), paths)
    assert gateway_key(config_with(), paths) == key
    assert paths.gateway_key.stat().st_mode & 0o777 == 0o600


def test_planning_makes_no_key_and_asks_nobody(paths: NodePaths) -> None:
    config = config_with(xray={"vps_address": "192.0.2.7"})
    keys = plan_keys(config, paths)
    assert keys.gateway_private_key
    assert keys.warp
    assert keys.xray
    assert not paths.state.exists()


def test_a_key_file_of_the_users_own(paths: NodePaths, tmp_path: Path) -> None:
    file = tmp_path / "own.key"
    file.write_text(SECRET + "\n")
    config = config_with(wireguard={"private_key_file": str(file), "zero_config": False})
    assert gateway_key(config, paths) == SECRET
    assert not paths.state.exists()


@pytest.mark.parametrize("content", [b"", b"not a key", b"\xff" * 44, SECRET[:-4].encode()])
def test_a_damaged_key_is_refused_and_kept(paths: NodePaths, content: bytes) -> None:
    paths.state.mkdir()
    paths.gateway_key.write_bytes(content)
    with pytest.raises(StorageError, match=r"gateway\.key") as refusal:
        gateway_key(config_with(), paths)
    assert "wg genkey" in refusal.value.remedy
    assert paths.gateway_key.read_bytes() == content


def test_a_damaged_identity_is_refused_and_not_quoted(paths: NodePaths) -> None:
    identity = xray_identity(paths)
    text = paths.xray_identity.read_text()
    for broken in ("", "[]", text[:-3], text.replace(identity.uuid, "nobody")):
        paths.xray_identity.write_text(broken)
        with pytest.raises(StorageError, match="damaged") as refusal:
            xray_identity(paths)
        told = f"{refusal.value} {refusal.value.remedy}"
        assert identity.reality_private_key not in told
        assert identity.short_id not in told


def test_an_imported_profile(paths: NodePaths, tmp_path: Path) -> None:
    file = tmp_path / "wgcf-profile.conf"
    file.write_text(PROFILE)
    tunnel = load_tunnel(importing(file), paths)
    assert (tunnel.private_key, tunnel.peer_public_key) == (SECRET, PEER)
    assert tunnel.endpoint == (ip_address("162.159.192.1"), 2408)
    assert SECRET not in repr(tunnel)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (f"PrivateKey = {SECRET}\n", ""),
        (SECRET, SECRET[:-2]),
        (SECRET, SECRET[:-1] + "!"),
        (f"PublicKey = {PEER}\n", ""),
        (PEER, PEER[1:]),
        ("Endpoint = 162.159.192.1:2408\n", ""),
        (":2408", ":99999"),
        (":2408", ""),
        ("172.16.0.2/32", "172.16.0.2/64"),
        ("172.16.0.2/32", "nowhere"),
        ("[Peer]\n", ""),
        ("[Interface]\n", "[Peer]\n"),
        ("::/0", "::/200"),
        ("AllowedIPs", "MTU = 99999999\nAllowedIPs"),
        (PROFILE, ""),
        (PROFILE, "\x00" * 100),
        (PROFILE, '{"json": true}'),
        (PROFILE, PROFILE + PROFILE),
    ],
)
def test_a_broken_profile_is_refused_by_name_and_never_quoted(
    paths: NodePaths, tmp_path: Path, good: str, bad: str
) -> None:
    assert good in PROFILE
    file = tmp_path / "broken.conf"
    file.write_text(PROFILE.replace(good, bad))
    with pytest.raises(PrivacyRouterError) as refusal:
        load_tunnel(importing(file), paths)
    assert refusal.value.exit_code == ExitCode.INVALID_CONFIG
    told = f"{refusal.value} {refusal.value.remedy}"
    assert str(file) in told
    assert "wgcf generate" in told
    assert SECRET[:12] not in told


def test_without_accepted_terms_nobody_is_asked(
    paths: NodePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _nobody)
    with pytest.raises(ConflictError, match="terms") as refusal:
        load_tunnel(config_with(), paths)
    assert "warp.accept_terms" in refusal.value.remedy
    assert not paths.state.exists()


def _nobody(*_: object, **__: object) -> NoReturn:
    raise OSError("no such host")


NAMED = PROFILE.replace("162.159.192.1", "engage.example.net")


def test_an_endpoints_name_is_looked_up_once(
    paths: NodePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "named.conf"
    file.write_text(NAMED)
    monkeypatch.setattr(socket, "getaddrinfo", _nobody)
    with pytest.raises(RemoteServiceError, match=r"engage\.example\.net") as refusal:
        load_tunnel(importing(file), paths)
    assert refusal.value.retryable
    answer = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.9", 2408))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    assert load_tunnel(importing(file), paths).endpoint[0] == ip_address("192.0.2.9")
    monkeypatch.setattr(socket, "getaddrinfo", _nobody)
    assert load_tunnel(importing(file), paths).endpoint[0] == ip_address("192.0.2.9")
    (paths.state / "warp-endpoint").write_text("engage.example.net:2408 rubbish")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    assert load_tunnel(importing(file), paths).endpoint[0] == ip_address("192.0.2.9")
