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
from privacy_router.hops.keys import Part
from privacy_router.hops.warp.endpoints import KnownEndpoints
from privacy_router.hops.warp.profile import parse_profile_untrusted
from privacy_router.host.files import write_private
from privacy_router.node import warp_endpoint
from privacy_router.node.paths import NodePaths
from privacy_router.node.planning_keys import plan_keys
from privacy_router.node.secrets import gateway_key, xray_identity
from privacy_router.node.warp import change_endpoint, endpoint_name, make_tunnel, read_tunnel
from privacy_router.node.warp_endpoint import look_up, note_given
from privacy_router.values.wireguard import public_key_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.values.wireguard import WarpTunnel

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


def answering(*addresses: str) -> Callable[..., list[Any]]:
    """A resolver that gives these."""
    return lambda *_, **__: [(None, None, 17, "", (one, 2408)) for one in addresses]


def can_reach(monkeypatch: pytest.MonkeyPatch, *versions: int) -> None:
    monkeypatch.setattr(warp_endpoint, "has_way_to", lambda found: found[0].version in versions)


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrivacyRouterConfig:
    """A profile whose endpoint is a name, on a host that reaches both families."""
    can_reach(monkeypatch, 4, 6)
    file = tmp_path / "named.conf"
    file.write_text(NAMED)
    return importing(file)


def where(config: PrivacyRouterConfig, paths: NodePaths) -> str:
    return str(read_tunnel(config, paths).endpoint[0])


def test_an_endpoints_name_is_looked_up_at_each_start(
    paths: NodePaths, named: PrivacyRouterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _nobody)
    with pytest.raises(RemoteServiceError, match=r"engage\.example\.net") as refusal:
        load_tunnel(named, paths)
    assert refusal.value.retryable
    monkeypatch.setattr(socket, "getaddrinfo", answering("192.0.2.9"))
    assert str(load_tunnel(named, paths).endpoint[0]) == "192.0.2.9"
    monkeypatch.setattr(socket, "getaddrinfo", answering("192.0.2.10"))
    assert where(named, paths) == "192.0.2.9"  # reading looks nothing up
    assert str(load_tunnel(named, paths).endpoint[0]) == "192.0.2.10"


def test_the_old_address_stays_while_the_look_up_fails(
    paths: NodePaths, named: PrivacyRouterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering("192.0.2.9"))
    make_tunnel(named, paths)
    monkeypatch.setattr(socket, "getaddrinfo", _nobody)
    make_tunnel(named, paths)
    assert where(named, paths) == "192.0.2.9"
    (paths.state / "warp-endpoint").write_text("engage.example.net:2408 rubbish")
    with pytest.raises(RemoteServiceError):
        make_tunnel(named, paths)
    monkeypatch.setattr(socket, "getaddrinfo", answering("192.0.2.9"))
    make_tunnel(named, paths)
    assert where(named, paths) == "192.0.2.9"


def test_the_address_in_use_stays_when_the_answers_come_in_another_order(
    paths: NodePaths, named: PrivacyRouterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering("192.0.2.9", "192.0.2.10"))
    make_tunnel(named, paths)
    monkeypatch.setattr(socket, "getaddrinfo", answering("192.0.2.10", "192.0.2.9"))
    make_tunnel(named, paths)
    assert where(named, paths) == "192.0.2.9"


def test_an_address_is_chosen_that_the_host_reaches(
    paths: NodePaths, named: PrivacyRouterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    can_reach(monkeypatch, 6)
    monkeypatch.setattr(socket, "getaddrinfo", answering("192.0.2.9", "2001:db8::9"))
    make_tunnel(named, paths)
    assert where(named, paths) == "2001:db8::9"


@pytest.mark.parametrize("answers", [("127.0.0.1", "::1"), ("0.0.0.0",), ()])
def test_answers_that_are_nowhere_are_none(
    paths: NodePaths,
    named: PrivacyRouterConfig,
    monkeypatch: pytest.MonkeyPatch,
    answers: tuple[str, ...],
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering(*answers))
    with pytest.raises(RemoteServiceError, match="cannot be resolved"):
        make_tunnel(named, paths)


def test_a_plan_looks_no_name_up(
    paths: NodePaths, named: PrivacyRouterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert Part.WARP in plan_keys(named, paths).stand_ins


def test_a_silent_endpoint_is_looked_up_again(
    paths: NodePaths, named: PrivacyRouterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering("192.0.2.9"))
    make_tunnel(named, paths)
    name = endpoint_name(named, paths)
    assert name == ("engage.example.net", 2408)
    assert not change_endpoint(named, paths, look_up(name))
    monkeypatch.setattr(socket, "getaddrinfo", answering("192.0.2.10"))
    assert not change_endpoint(named, paths)
    assert change_endpoint(named, paths, look_up(name))
    assert where(named, paths) == "192.0.2.10"
    monkeypatch.setattr(socket, "getaddrinfo", _nobody)
    with pytest.raises(RemoteServiceError, match="cannot be resolved"):
        look_up(name)


def test_a_silent_endpoint_is_left_for_the_other_family(
    paths: NodePaths, named: PrivacyRouterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering("192.0.2.9", "192.0.2.10", "2001:db8::9"))
    make_tunnel(named, paths)
    monkeypatch.setattr(socket, "getaddrinfo", _nobody)
    visited = []
    for _ in range(5):
        visited.append(where(named, paths))
        assert change_endpoint(named, paths)
    assert visited == ["192.0.2.9", "2001:db8::9", "192.0.2.10", "2001:db8::9", "192.0.2.9"]


def test_an_imported_address_is_all_that_there_is(
    paths: NodePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _nobody)
    file = tmp_path / "wgcf-profile.conf"
    file.write_text(PROFILE)
    make_tunnel(importing(file), paths)
    assert endpoint_name(importing(file), paths) is None
    assert not change_endpoint(importing(file), paths)
    assert where(importing(file), paths) == "162.159.192.1"
    assert not paths.warp_endpoint.exists()


GIVEN = KnownEndpoints(
    ((ip_address("162.159.192.1"), 2408), (ip_address("2606:4700:d0::1"), 2408)),
    ("engage.example.net", 2408),
)


def test_a_registered_account_has_an_address_of_each_family_and_a_name(
    paths: NodePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the account service gave; its name is looked up only where neither answers."""
    monkeypatch.setattr(socket, "getaddrinfo", _nobody)
    can_reach(monkeypatch, 6)
    write_private(paths.warp_profile, PROFILE.encode())
    note_given(parse_profile_untrusted(PROFILE), paths.warp_endpoint, GIVEN)
    config = config_with()
    assert where(config, paths) == "162.159.192.1"
    make_tunnel(config, paths)
    assert where(config, paths) == "2606:4700:d0::1"
    can_reach(monkeypatch, 4, 6)
    assert change_endpoint(config, paths)
    assert where(config, paths) == "162.159.192.1"
    assert endpoint_name(config, paths) == ("engage.example.net", 2408)
    assert change_endpoint(config, paths, [(ip_address("192.0.2.9"), 2408)])
    assert where(config, paths) == "2606:4700:d0::1"
    assert change_endpoint(config, paths)
    assert where(config, paths) == "192.0.2.9"
