"""The register of clients: numbers, names, and what becomes of a damaged one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.config import parse_document
from privacy_router.errors import ConflictError, ExitCode, PrivacyRouterError, StorageError
from privacy_router.json_input import JsonError
from privacy_router.node import clients
from privacy_router.node.paths import NodePaths
from privacy_router.values.wireguard import generate_private_key, public_key_of

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig

GATEWAY = public_key_of(generate_private_key())


def config_with(**wireguard: Any) -> PrivacyRouterConfig:
    section = {"wireguard": {"endpoint": "192.0.2.1", **wireguard}}
    document = {"version": 1, "plugins": {"privacy_router": section}}
    return parse_document(json.dumps(document), "test").config


CONFIG = config_with()


@pytest.fixture
def paths(tmp_path: Path) -> NodePaths:
    return NodePaths(state=tmp_path / "state", run=tmp_path / "run")


def add(paths: NodePaths, name: str, config: PrivacyRouterConfig = CONFIG) -> clients.NewClient:
    return clients.add(config, paths, name, GATEWAY)


def test_nobody_is_registered_at_first(paths: NodePaths) -> None:
    assert clients.load(CONFIG, paths) == ()
    assert not paths.state.exists(), "asking makes nothing"


def test_what_is_added_is_loaded(paths: NodePaths) -> None:
    new = add(paths, "phone")
    assert clients.load(CONFIG, paths) == (new.client,)
    assert paths.clients.stat().st_mode & 0o777 == 0o600
    assert paths.state.stat().st_mode & 0o777 == 0o700


def test_the_configuration_fits_the_register_and_its_private_key_is_not_kept(
    paths: NodePaths,
) -> None:
    new = add(paths, "phone")
    fields = dict(line.split(" = ", 1) for line in new.configuration.splitlines() if " = " in line)
    assert public_key_of(fields["PrivateKey"]) == new.client.public_key
    assert fields["PublicKey"] == GATEWAY
    assert fields["PresharedKey"] == new.client.preshared_key
    assert fields["Endpoint"] == "192.0.2.1:51820"
    assert fields["PrivateKey"] not in paths.clients.read_text()


def test_a_guessed_private_address_is_told_and_a_name_is_not(
    paths: NodePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind NAT the node's own address is not the one that clients dial."""
    monkeypatch.setattr(clients, "_own_address", lambda: ip_address("192.168.178.20"))
    guessed = add(paths, "phone", config_with(endpoint=None))
    assert "Endpoint = 192.168.178.20:51820" in guessed.configuration
    assert "private" in guessed.remark
    assert "forward UDP port 51820" in guessed.remark
    named = add(paths, "tablet", config_with(endpoint="vpn.example.com"))
    assert "Endpoint = vpn.example.com:51820" in named.configuration
    assert named.remark == ""


def test_a_removed_number_is_given_again_and_the_others_stay(paths: NodePaths) -> None:
    numbers = {name: add(paths, name).client.number for name in ("a", "b", "c")}
    assert list(numbers.values()) == [2, 3, 4], "the gateway itself is number 1"
    clients.remove(CONFIG, paths, "b")
    assert add(paths, "d").client.number == numbers["b"]
    found = {client.name: client.number for client in clients.load(CONFIG, paths)}
    assert found == {"a": 2, "d": 3, "c": 4}


def test_a_full_subnet_is_refused(paths: NodePaths) -> None:
    narrow = config_with(client_subnet="10.101.0.0/28")
    for number in range(13):  # of 16 addresses: network, broadcast and the gateway are taken
        add(paths, f"client{number}", narrow)
    with pytest.raises(ConflictError, match=r"10\.101\.0\.0/28 is full") as refusal:
        add(paths, "one-more", narrow)
    assert "client_subnet" in refusal.value.remedy
    assert len(clients.load(narrow, paths)) == 13


def test_many_at_once_get_one_number_each(paths: NodePaths) -> None:
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda n: add(paths, f"c{n}").client.number, range(16)))
    assert sorted(added) == list(range(2, 18))
    assert len(clients.load(CONFIG, paths)) == 16


def test_a_name_is_taken_once(paths: NodePaths) -> None:
    add(paths, "phone")
    with pytest.raises(ConflictError, match="phone"):
        add(paths, "phone")
    assert len(clients.load(CONFIG, paths)) == 1


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "-x", "x" * 33, "é", "a/b", "a\n"])
def test_names_that_cannot_be(paths: NodePaths, name: str) -> None:
    with pytest.raises(PrivacyRouterError, match="cannot be a client's name") as refusal:
        add(paths, name)
    assert refusal.value.exit_code == ExitCode.INVALID_CONFIG
    assert not paths.clients.exists()


def test_an_unknown_client_is_told_with_those_that_there_are(paths: NodePaths) -> None:
    with pytest.raises(ConflictError) as refusal:
        clients.remove(CONFIG, paths, "phone")
    assert "none yet" in refusal.value.remedy
    add(paths, "tablet")
    with pytest.raises(ConflictError) as refusal:
        clients.remove(CONFIG, paths, "phone")
    assert "tablet" in refusal.value.remedy


KEY, OTHER_KEY = generate_private_key(), generate_private_key()
WHOLE = {"name": "a", "public_key": KEY, "preshared_key": KEY, "number": 2, "created": "now"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b'"text"',
        b"[7]",
        json.dumps([{}]).encode(),
        json.dumps([WHOLE | {"number": "two"}]).encode(),
        json.dumps([WHOLE | {"number": 2**40}]).encode(),
        json.dumps([WHOLE | {"public_key": "short"}]).encode(),
        json.dumps([WHOLE | {"preshared_key": None}]).encode(),
        json.dumps([WHOLE]).encode()[:-5],
        b"[" * 100_000,
        json.dumps([WHOLE]).encode().replace(b": 2", b": 1e999"),
        json.dumps([WHOLE | {"number": 1}]).encode(),
        json.dumps([WHOLE | {"number": -5}]).encode(),
        json.dumps([WHOLE | {"number": True}]).encode(),
        json.dumps([WHOLE | {"name": ["a"]}]).encode(),
        json.dumps([WHOLE | {"name": "../a b"}]).encode(),
        json.dumps([WHOLE, WHOLE | {"name": "b", "number": 3}]).encode(),
        json.dumps([WHOLE, WHOLE | {"name": "b", "public_key": OTHER_KEY}]).encode(),
        json.dumps([WHOLE, WHOLE | {"number": 3, "public_key": OTHER_KEY}]).encode(),
    ],
)
def test_a_damaged_register_is_refused_and_kept(paths: NodePaths, content: bytes) -> None:
    paths.state.mkdir()
    paths.clients.write_bytes(content)
    for attempt in (lambda: clients.load(CONFIG, paths), lambda: add(paths, "phone")):
        with pytest.raises(StorageError, match=r"clients\.json is damaged") as refusal:
            attempt()
        assert "backup" in refusal.value.remedy
        assert KEY not in str(refusal.value)
    assert paths.clients.read_bytes() == content


def test_a_register_that_is_a_directory(paths: NodePaths) -> None:
    paths.clients.mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot read .*clients\.json"):
        clients.load(CONFIG, paths)


def test_a_state_directory_that_is_a_file(paths: NodePaths) -> None:
    paths.state.touch()
    with pytest.raises(StorageError):
        add(paths, "phone")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*WHOLE, "else"]), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
def test_no_register_is_more_than_one_error(content: bytes) -> None:
    try:
        clients._clients_untrusted(CONFIG, content)
    except (JsonError, ValueError):
        return
