"""A client is added when the gateway's device has it, and removed when it has it no more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.client.rows import ClientRow
from privacy_router.config import PrivacyRouterConfig
from privacy_router.daemon.clients import Clients
from privacy_router.errors import (
    ConflictError,
    MachineError,
    StorageError,
    VerificationError,
)
from privacy_router.host import namespaces
from privacy_router.host.wireguard_uapi import DeviceStatus, PeerStatus, UapiError, parse_endpoint
from privacy_router.node import clients
from privacy_router.node.paths import NodePaths

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = PrivacyRouterConfig.model_validate({"wireguard": {"endpoint": "192.0.2.1"}})


class Gateway:
    """A gateway's device, and a controller that gives it the clients of the register."""

    def __init__(self, paths: NodePaths) -> None:
        self.paths = paths
        self.is_there = True
        self.takes = True
        self.silent_looks = 0
        self.failure: Exception | None = None
        self.peers: dict[str, PeerStatus] = {}
        self.told = 0

    async def tell(self) -> bool:
        self.told += 1
        if not self.is_there:
            return False
        if self.takes:
            known = clients.load(CONFIG, self.paths)
            self.peers = {one.public_key: peer(one.public_key) for one in known}
        if self.failure is not None:
            raise self.failure
        return True

    def read(self, name: str, namespace: Path | None) -> DeviceStatus | None:
        assert name == "wg100"
        if self.silent_looks:
            self.silent_looks -= 1
            raise UapiError("it does not answer")
        return DeviceStatus("", 51820, tuple(self.peers.values())) if self.is_there else None


def peer(key: str, **more: Any) -> PeerStatus:
    zero = dict.fromkeys(("last_handshake", "rx_bytes", "tx_bytes", "keepalive_s"), 0)
    return PeerStatus(**{"public_key": key, "endpoint": None, "allowed_ips": (), **zero, **more})


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.setattr(namespaces, "path_of", lambda _: tmp_path)
    return Gateway(NodePaths(tmp_path / "state", tmp_path / "run"))


@pytest.fixture
def registered(gateway: Gateway) -> Clients:
    machine: Any = SimpleNamespace(paths=gateway.paths, wireguard=gateway)
    return Clients(CONFIG, machine, gateway.tell, patience_s=0.2)


def names(gateway: Gateway) -> list[str]:
    return [one.name for one in clients.load(CONFIG, gateway.paths)]


async def test_a_client_is_answered_when_the_device_has_it(
    gateway: Gateway, registered: Clients
) -> None:
    gateway.silent_looks = 2
    new = await registered.add("phone")
    assert (new.in_force, gateway.told) == (True, 1)
    assert new.client.public_key in gateway.peers
    assert "PrivateKey" in new.configuration
    assert "PrivateKey" not in repr(new)


async def test_without_a_node_it_is_registered_and_not_in_force(
    gateway: Gateway, registered: Clients
) -> None:
    gateway.is_there = False
    assert (await registered.add("phone")).in_force is False
    assert names(gateway) == ["phone"]


async def test_a_start_that_has_no_gateway_yet_reads_the_register_itself(
    gateway: Gateway, registered: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gateway.takes = False
    monkeypatch.setattr(namespaces, "path_of", lambda _: tmp_path / "not yet")
    assert (await registered.add("phone")).in_force is False
    assert (names(gateway), gateway.told) == (["phone"], 1)


async def test_what_the_device_does_not_get_is_not_registered(
    gateway: Gateway, registered: Clients
) -> None:
    gateway.takes = False
    with pytest.raises(VerificationError, match="is not as the register"):
        await registered.add("phone")
    assert names(gateway) == []


async def test_a_pass_that_fails_elsewhere_does_not_matter(
    gateway: Gateway, registered: Clients
) -> None:
    gateway.failure = MachineError("XRay does not start")
    assert (await registered.add("phone")).in_force


async def test_a_pass_that_fails_is_the_reason_where_the_device_has_no_such_peer(
    gateway: Gateway, registered: Clients
) -> None:
    gateway.takes, gateway.failure = False, StorageError("the register is damaged")
    with pytest.raises(StorageError, match="damaged"):
        await registered.add("phone")
    assert names(gateway) == []


async def test_a_removed_client_is_gone_from_the_device(
    gateway: Gateway, registered: Clients
) -> None:
    new = await registered.add("phone")
    assert (await registered.remove("phone")).name == "phone"
    assert gateway.peers == {}
    await registered.add("phone")
    gateway.takes = False
    with pytest.raises(VerificationError):
        await registered.remove("phone")
    assert new.client.public_key not in gateway.peers


@pytest.mark.parametrize("ask", [Clients.show, Clients.remove])
async def test_who_is_not_there_is_a_conflict(
    registered: Clients, ask: Callable[[Clients, str], Any]
) -> None:
    with pytest.raises(ConflictError, match="no client named phone"):
        await ask(registered, "phone")


async def test_what_the_tunnel_says_is_shown(gateway: Gateway, registered: Clients) -> None:
    new = await registered.add("phone")
    key = new.client.public_key
    place = parse_endpoint("198.18.0.7:4000")
    gateway.peers[key] = peer(key, endpoint=place, last_handshake=1, rx_bytes=5, tx_bytes=7)
    found = await registered.show("phone")
    assert (found.endpoint, found.rx_bytes, found.tx_bytes) == ("198.18.0.7:4000", 5, 7)
    assert found.handshake_age_s is not None
    assert (await registered.list()).clients[0].facts() == new.client.facts()


async def test_a_silent_gateway_does_not_keep_the_list_from_being_shown(
    gateway: Gateway, registered: Clients
) -> None:
    await registered.add("phone")
    gateway.silent_looks = 1
    found = await registered.list()
    assert [one.name for one in found.clients] == ["phone"]
    assert found.trouble == "it does not answer"


@pytest.mark.parametrize("age_s", [None, 1.5])
def test_a_row_is_the_same_after_the_bus(age_s: float | None) -> None:
    row = ClientRow("phone", "10.0.0.2", "fd00::2", "key", "now", "", age_s, 1, 2)
    assert ClientRow.from_tuple(row.as_tuple()) == row
