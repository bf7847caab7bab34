"""What no event tells of is seen every second, and files are read only where they must be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from privacy_router.host import namespaces, sysctl
from privacy_router.host.wireguard_uapi import DeviceStatus, PeerStatus, UapiError
from privacy_router.node import unheard_watch
from privacy_router.node.kinds import setting
from privacy_router.node.unheard_watch import Expectation
from privacy_router.values.items import HOST
from privacy_router.values.sysctls import DeviceSettingKey, SettingKey, SettingValue, Sysctl
from privacy_router.values.wireguard import (
    PeerState,
    SecretTag,
    TunnelKey,
    TunnelState,
    generate_private_key,
    public_key_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState
    from privacy_router.values.items import ItemValue, Key

ALL, DEVICES = "ipv4/conf/all/rp_filter", "ipv4/conf/warp0/rp_filter"
SECRET, OTHER_SECRET = generate_private_key(), generate_private_key()
PRIVATE = generate_private_key()
PEER = public_key_of(generate_private_key())


def desired(items: Mapping[Key, ItemValue]) -> DesiredState:
    return cast("DesiredState", SimpleNamespace(items=items))


def machine(read: Callable[[], DeviceStatus | None]) -> NodeHost:
    wireguard = SimpleNamespace(read=lambda *_: read())
    return cast("NodeHost", SimpleNamespace(wireguard=wireguard))


class Kernel:
    """The settings of a namespace, and which of them were read."""

    def __init__(self) -> None:
        self.settings: dict[str, str] = {ALL: "0", DEVICES: "0"}
        self.asked: set[str] = set()

    def read(self, names: Mapping[str, str]) -> dict[str, str | None]:
        self.asked = set(names)
        return {name: self.settings.get(name) for name in names}

    def snapshot(self) -> str:
        return self.settings[DEVICES]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel()
    monkeypatch.setattr(sysctl, "read_here", found.read)
    monkeypatch.setattr(unheard_watch, "snapshot_here", found.snapshot)
    return found


@pytest.fixture
def look() -> Callable[[], list[str]]:
    wanted: dict[Key, ItemValue] = {
        SettingKey(HOST, Sysctl.at(ALL)): SettingValue("0"),
        DeviceSettingKey(HOST, Sysctl.at(DEVICES)): SettingValue("0"),
    }
    expected = Expectation(desired(wanted))
    return lambda: expected.differences(machine(lambda: None))


def test_the_files_of_devices_are_read_when_the_kernels_own_list_changes(
    kernel: Kernel, look: Callable[[], list[str]]
) -> None:
    assert look() == []
    assert kernel.asked == {ALL, DEVICES}
    assert look() == []
    assert kernel.asked == {ALL}
    kernel.settings[DEVICES] = "1"
    assert look() == [DEVICES]
    assert look() == [DEVICES]  # as long as it is wrong
    kernel.settings[DEVICES] = "0"
    assert look() == []


def test_a_setting_of_all_devices_is_read_every_time(
    kernel: Kernel, look: Callable[[], list[str]]
) -> None:
    assert look() == []
    kernel.settings[ALL] = "2"
    assert look() == [ALL]


def test_a_setting_that_is_gone_is_missing_and_one_that_kernels_may_lack_is_not(
    kernel: Kernel,
) -> None:
    gone, optional = Sysctl("ipv4", "gone"), Sysctl("ipv6", "seg6_enabled", "all")
    assert setting.read_here({gone: "1", optional: "0"}) == {gone: None, optional: "0"}


# --- tunnels --------------------------------------------------------------------------------------

TUNNEL = TunnelKey("pr-warp", "wgcf")
ENDPOINT, STRANGER = (("192.0.2.1", 2408), ("192.0.2.66", 2408))


def tunnel(endpoint: Any = ENDPOINT) -> TunnelState:
    peer = PeerState(frozenset(), 25, SecretTag.of(SECRET), endpoint)
    return TunnelState(public_key_of(PRIVATE), None, {PEER: peer}, 7)


def status(**changes: Any) -> DeviceStatus:
    peer = {"endpoint": ENDPOINT, "keepalive_s": 25, "preshared_key": SECRET}
    peer |= {name: changes[name] for name in peer.keys() & changes.keys()}
    return DeviceStatus(
        private_key=changes.get("private_key", PRIVATE),
        listen_port=4711,
        peers=(
            PeerStatus(
                changes.get("public_key", PEER),
                allowed_ips=frozenset(),
                last_handshake=0.0,
                rx_bytes=0,
                tx_bytes=0,
                **peer,  # type: ignore[arg-type]
            ),
        ),
        firewall_mark=changes.get("firewall_mark", 7),
    )


@pytest.fixture(autouse=True)
def _every_namespace_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "exists", lambda _: True)


def different(read: Callable[[], DeviceStatus | None], wanted: TunnelState) -> bool:
    found = Expectation(desired({TUNNEL: wanted})).differences(machine(read))
    return found == ["wgcf"]


def test_a_tunnel_as_it_should_be_is_no_difference() -> None:
    assert not different(status, tunnel())


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": STRANGER},
        {"endpoint": None},
        {"keepalive_s": 0},
        {"preshared_key": OTHER_SECRET},
        {"preshared_key": None},
        {"private_key": generate_private_key()},
        {"private_key": ""},
        {"public_key": public_key_of(generate_private_key())},
        {"firewall_mark": 0},
    ],
    ids=lambda changes: next(iter(changes)),  # the keys are others in each run
)
def test_whatever_is_changed_in_a_tunnel_is_a_difference(changes: dict[str, Any]) -> None:
    assert different(lambda: status(**changes), tunnel())


def test_a_peer_that_may_move_is_no_difference_wherever_it_is() -> None:
    assert not different(lambda: status(endpoint=STRANGER), tunnel(endpoint=None))


def test_a_tunnel_that_is_gone_or_does_not_answer_is_a_difference() -> None:
    def silent() -> DeviceStatus | None:
        raise UapiError("it does not answer")

    assert different(lambda: None, tunnel())
    assert different(silent, tunnel())


def test_a_state_prints_no_secret() -> None:
    assert SECRET not in f"{tunnel()!r} {status()!r}"


# --- the watch ------------------------------------------------------------------------------------


async def test_a_look_that_fails_is_no_end_of_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    class SeenError(BaseException):
        """The watch told."""

    def tell() -> None:
        raise SeenError

    answers: list[Any] = [PermissionError("not now"), [], ["wgcf"]]

    def differences(self: Expectation, machine: NodeHost) -> list[str]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast("list[str]", answer)

    monkeypatch.setattr(unheard_watch, "_PERIOD_S", 0.0)
    monkeypatch.setattr(Expectation, "differences", differences)
    state = desired({})
    watch = unheard_watch.UnheardWatch(lambda: state, machine(lambda: None), tell)
    with pytest.raises(SeenError):
        await watch.run()
    assert answers == []
