"""A silent peer of WARP's tunnel is looked for elsewhere; one that is heard is left alone."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

from privacy_router.errors import RemoteServiceError, StorageError
from privacy_router.host import namespaces
from privacy_router.host.wireguard_uapi import DeviceStatus, PeerStatus
from privacy_router.node import endpoint_watch, warp
from privacy_router.node.endpoint_watch import EndpointWatch
from privacy_router.values.wireguard import WireGuardConfig, WireGuardPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.wireguard import Endpoint

OLD: Endpoint = (ip_address("192.0.2.1"), 2408)
NEW: Endpoint = (ip_address("2001:db8::1"), 2408)
NAME = "engage.example.net"
PERIOD_S = 2.0


class Site:
    """A node as the watch sees it: its desired peer, the counters of the device, and a clock."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.endpoint = OLD
        self.rx_bytes = 0
        self.calls: list[str] = []
        self.answers: list[Endpoint] = []
        self.has_another = False
        machine = SimpleNamespace(paths=None, wireguard=self)
        self.watch = EndpointWatch(self.desired, cast("NodeHost", machine), self.adopt)

    def desired(self) -> DesiredState:
        peer = WireGuardPeer("peer", (), self.endpoint, keepalive_s=25)
        state = SimpleNamespace(
            tunnels={"wgcf": WireGuardConfig("", (peer,))}, pipeline=SimpleNamespace(config=None)
        )
        return cast("DesiredState", state)

    async def adopt(self) -> None:
        self.calls.append("adopt")
        self.endpoint = NEW

    def read(self, *_: object) -> DeviceStatus:
        peer = PeerStatus("peer", self.endpoint, frozenset(), 25, 0.0, self.rx_bytes, 0)
        return DeviceStatus("", 0, (peer,))

    def look_up(self, name: tuple[str, int]) -> tuple[Endpoint, ...]:
        self.calls.append(f"ask {name[0]}")
        if not self.answers:
            raise RemoteServiceError(f"the WARP endpoint {name[0]} cannot be resolved")
        return tuple(self.answers)

    def change(self, _: object, __: object, answers: tuple[Endpoint, ...]) -> bool:
        self.calls.append(f"change {len(answers)}")
        return self.has_another

    async def passes(self, seconds: float) -> None:
        for _ in range(int(seconds / PERIOD_S)):
            await self.watch._look()
            self.now_s += PERIOD_S


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site()
    clock: Callable[[], float] = lambda: site.now_s  # noqa: E731
    monkeypatch.setattr(endpoint_watch, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(namespaces, "exists", lambda _: True)
    monkeypatch.setattr(endpoint_watch, "has_way_to", lambda _: True)
    monkeypatch.setattr(warp, "endpoint_name", lambda *_: (NAME, 2408))
    monkeypatch.setattr(warp, "change_endpoint", site.change)
    monkeypatch.setattr(endpoint_watch, "look_up", site.look_up)
    return site


async def test_a_silent_peer_is_looked_up_and_followed(site: Site) -> None:
    site.answers, site.has_another = [NEW], True
    await site.passes(14)
    assert site.calls == []
    await site.passes(6)
    assert site.calls == [f"ask {NAME}", "change 1", "adopt"]


async def test_a_peer_that_is_heard_is_left_alone(site: Site) -> None:
    for _ in range(60):
        site.rx_bytes += 92
        await site.passes(4)
    assert site.calls == []
    assert site.watch.trouble == ""


async def test_a_look_up_that_fails_is_told_until_the_peer_is_heard(site: Site) -> None:
    await site.passes(20)
    assert site.calls == [f"ask {NAME}", "change 0"]
    await site.passes(16)
    assert site.calls == [f"ask {NAME}", "change 0", "change 0"]
    assert site.watch.trouble == (
        f"WARP does not answer, and the WARP endpoint {NAME} cannot be resolved"
    )
    site.rx_bytes += 92
    await site.passes(4)
    assert site.watch.trouble == ""


async def test_a_name_that_has_answers_again_is_no_trouble(site: Site) -> None:
    await site.passes(20)
    assert site.watch.trouble
    site.answers = [OLD]
    await site.passes(60)
    assert site.calls.count(f"ask {NAME}") == 2
    assert site.watch.trouble == ""


async def test_a_state_file_that_is_gone_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> NoReturn:
        raise StorageError("warp-endpoint is missing")

    monkeypatch.setattr(warp, "change_endpoint", missing)
    site.answers = [NEW]
    await site.passes(20)
    assert site.watch.trouble == "WARP does not answer, and warp-endpoint is missing"
    assert "adopt" not in site.calls


async def test_where_no_address_is_left_nothing_is_changed(site: Site) -> None:
    site.answers = [OLD]
    await site.passes(120)
    assert set(site.calls) == {f"ask {NAME}", "change 0", "change 1"}
    assert 3 <= sum(call.startswith("change") for call in site.calls) <= 6


async def test_an_endpoint_without_a_name_is_looked_up_nowhere(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warp, "endpoint_name", lambda *_: None)
    await site.passes(60)
    assert set(site.calls) == {"change 0"}
    assert site.watch.trouble == ""


async def test_a_node_without_the_hop_has_nothing_to_listen_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    without: Any = SimpleNamespace(tunnels={})
    monkeypatch.setattr(site.watch, "_desired", lambda: without)
    await site.passes(60)
    assert site.calls == []
