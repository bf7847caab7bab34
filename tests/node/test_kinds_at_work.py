"""What each kind does at the machine for a change: which calls, of what, in which order."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from privacy_router.chain.stations import SWITCH_NAMESPACE
from privacy_router.errors import StorageError
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.host import namespaces, nftables, processes, sysctl
from privacy_router.host.nftables import Table
from privacy_router.host.processes import Process
from privacy_router.node import ownership
from privacy_router.node.kinds import (
    address,
    device,
    device_setting,
    firewall,
    namespace,
    port,
    process,
)
from privacy_router.node.kinds.registry import KINDS
from privacy_router.values.bridges import (
    BridgeKey,
    BridgeSettingKey,
    PortKey,
    PortRow,
    PortSpec,
    SwitchSetting,
    SwitchValue,
)
from privacy_router.values.items import HOST, Change, ItemValue, Key, Present
from privacy_router.values.network import (
    AddressKey,
    AddressValue,
    Device,
    DeviceKey,
    Link,
    NamespaceKey,
    Neighbour,
    NeighbourKey,
    Route,
    RouteKey,
    Routes,
    Rule,
    RuleKey,
)
from privacy_router.values.processes import ProcessKey, ProcessState
from privacy_router.values.rulesets import FirewallKey, ForeignTable, RulesetValue, TableRole
from privacy_router.values.sysctls import DeviceSettingKey, SettingKey, SettingValue, Sysctl
from privacy_router.values.wireguard import SilentTunnel, TunnelKey, TunnelState, WireGuardConfig

if TYPE_CHECKING:
    from privacy_router.node.kinds.place import Look, Place
    from privacy_router.node.kinds.session import Session

WARP = "pr-warp"
CONFIGURATION = WireGuardConfig("private key", ())


class Calls:
    """Anything: each method that is called on it is noted, with its arguments."""

    def __init__(self, done: list[Any], **answers: Any) -> None:
        self._done = done
        self._answers = answers

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self._done.append((name, *arguments))
            return self._answers.get(name)

        return call


class Work:
    """A session on a machine that does nothing but note what it is told."""

    def __init__(self, **answers: Any) -> None:
        self.done: list[Any] = []
        calls = Calls(self.done, **answers)
        paths = SimpleNamespace(endpoints=Path("/nonexistent/endpoints.json"))
        machine = SimpleNamespace(
            borrowed=calls, owner="owner", wireguard=calls, hops=CATALOGUE, paths=paths
        )
        desired = SimpleNamespace(tunnels={"wgcf": CONFIGURATION})
        found = SimpleNamespace(
            netlink=lambda _: calls, switch=calls, machine=machine, desired=desired
        )
        self._session = cast("Session", found)

    def make(self, key: Key, before: ItemValue | None, after: ItemValue | None) -> list[Any]:
        """What is done for that change."""
        KINDS.by_kind[key.kind].make(self._session, Change(key, before, after))
        return self.done


OLD_RULE, RULE = Rule(100, 101, 2, extra=b"x"), Rule(100, 101, 2)
OLD_ROUTE = Route(ip_network("0.0.0.0/0"), None, "wgcf")
ROUTE = Route(ip_network("0.0.0.0/0"), ip_address("10.102.0.1"), "warp0")
NEIGHBOUR = Neighbour(ip_address("10.102.0.2"), "02:00:00:00:00:01", "warp0")
OLD_NEIGHBOUR = Neighbour(ip_address("10.102.0.2"), "02:00:00:00:00:02", "warp0")
ADDRESS = ip_interface("10.102.0.1/24")
ADDRESSED = AddressValue("warp0", ADDRESS)
SFLOW = SwitchSetting("sflow", "Bridge", "ovsbr0")
THE_RULE, THE_ROUTE = RuleKey.of(WARP, RULE), RouteKey.of(WARP, ROUTE)
THE_NEIGHBOUR = NeighbourKey(WARP, "warp0", NEIGHBOUR.address)
THE_ADDRESS = AddressKey(WARP, "warp0", ADDRESS)

DONE: list[tuple[Key, ItemValue | None, ItemValue | None, list[Any]]] = [
    (THE_RULE, None, RULE, [("add_rule", RULE)]),
    (THE_RULE, OLD_RULE, RULE, [("delete_rule", OLD_RULE), ("add_rule", RULE)]),
    (THE_RULE, RULE, None, [("delete_rule", RULE)]),
    (THE_ROUTE, None, ROUTE, [("replace_route", ROUTE)]),
    (THE_ROUTE, OLD_ROUTE, ROUTE, [("delete_route", OLD_ROUTE), ("replace_route", ROUTE)]),
    (THE_ROUTE, ROUTE, None, [("delete_route", ROUTE)]),
    (THE_NEIGHBOUR, OLD_NEIGHBOUR, NEIGHBOUR, [("replace_neighbour", NEIGHBOUR)]),
    (THE_NEIGHBOUR, NEIGHBOUR, None, [("delete_neighbour", NEIGHBOUR)]),
    (THE_ADDRESS, None, ADDRESSED, [("replace_address", "warp0", ADDRESS)]),
    (DeviceKey(WARP, "idle0"), Device(None, 1500), None, [("delete_link", "idle0")]),
    (BridgeSettingKey("ovsbr0", SFLOW), SwitchValue("1 set"), None, [("begin",)]),
    (BridgeKey("ovsbr0"), None, Present(), [("begin",)]),
    (BridgeKey("ovsbr0"), Present(), None, [("delete_bridge", "ovsbr0")]),
    (PortKey("ovsbr0", "old0"), PortSpec("old0", "", 0), None, [("begin",)]),
    (TunnelKey(WARP, "wgcf"), SilentTunnel("it hangs"), None, []),
]


@pytest.mark.parametrize(
    ("key", "before", "after", "done"), DONE, ids=lambda value: type(value).__name__
)
def test_a_change_is_these_calls(
    key: Key, before: ItemValue | None, after: ItemValue | None, done: list[Any]
) -> None:
    assert Work().make(key, before, after) == done


def test_an_address_goes_with_its_device_and_is_taken_off_else() -> None:
    assert Work(index=None).make(THE_ADDRESS, ADDRESSED, None) == [("index", "warp0")]
    taken = ("delete_address", "warp0", ADDRESS)
    assert Work(index=7).make(THE_ADDRESS, ADDRESSED, None) == [("index", "warp0"), taken]


def test_a_tunnel_with_another_key_or_no_answer_is_told_everything() -> None:
    key, wanted = TunnelKey(WARP, "wgcf"), TunnelState("key", None, {}, 7)
    told = ("apply", "wgcf", namespaces.path_of(WARP), CONFIGURATION)
    for before in (None, SilentTunnel("it hangs"), TunnelState("other", None, {}, 7)):
        assert Work().make(key, before, wanted) == [told]


def place(where: str, items: dict[Key, ItemValue], **more: Any) -> Place:
    """A look at a namespace, with what it finds there."""
    desired = SimpleNamespace(items=items)
    return cast("Place", SimpleNamespace(where=where, desired=desired, **more))


# --- kernel settings ------------------------------------------------------------------------------

FORWARDING = Sysctl("ipv4", "forwarding", "eth0")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    monkeypatch.setattr(sysctl, "write", lambda path, values: found.append((path, values)))
    return found


def test_what_a_setting_of_the_host_was_is_noted_before_it_is_changed(written: list[Any]) -> None:
    key = DeviceSettingKey(HOST, FORWARDING)
    path = "ipv4/conf/eth0/forwarding"
    assert Work().make(key, SettingValue("0"), SettingValue("1")) == [("note", path, "0")]
    assert written == [(None, {path: "1"})]
    assert Work().make(key, SettingValue("1"), None) == [("give_one_back", path)]


def test_a_setting_of_a_hop_is_not_noted_and_goes_with_it(written: list[Any]) -> None:
    key = SettingKey(WARP, Sysctl("ipv4", "ip_forward"))
    assert Work().make(key, SettingValue("0"), SettingValue("1")) == []
    assert written == [(namespaces.path_of(WARP), {"ipv4/ip_forward": "1"})]
    assert Work().make(key, SettingValue("1"), None) == []


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that has none of the settings."""

    def write(path: Path, values: object) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(sysctl, "write", write)


@pytest.mark.usefixtures("lacking")
def test_a_setting_that_every_kernel_has_must_be_there() -> None:
    with pytest.raises(FileNotFoundError):
        Work().make(SettingKey(WARP, Sysctl("ipv4", "ip_forward")), None, SettingValue("1"))


@pytest.mark.usefixtures("lacking")
@pytest.mark.parametrize(
    "one", [Sysctl("ipv6", "seg6_enabled", "all"), Sysctl("netfilter", "nf_conntrack_checksum")]
)
def test_a_setting_that_kernels_may_lack_need_not_be_there(one: Sysctl) -> None:
    assert Work().make(SettingKey(WARP, one), None, SettingValue("1")) == []


def test_of_the_host_what_the_node_changed_is_read_though_it_is_not_wanted_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sysctl, "read_here", lambda names: dict.fromkeys(names, "1"))
    machine = SimpleNamespace(borrowed=SimpleNamespace(names=lambda: [FORWARDING.path]))
    found = dict(device_setting.observe(place(HOST, {}, machine=machine)))
    assert found == {DeviceSettingKey(HOST, FORWARDING): SettingValue("1")}
    assert dict(device_setting.observe(place(WARP, {}, machine=machine))) == {}


def test_a_note_that_cannot_be_read_holds_up_no_look() -> None:
    def names() -> list[str]:
        raise StorageError("the note is damaged")

    machine = SimpleNamespace(borrowed=SimpleNamespace(names=names))
    assert dict(device_setting.observe(place(HOST, {}, machine=machine))) == {}


# --- processes ------------------------------------------------------------------------------------

RUNNING = [Process("wgcf", 5, "old"), Process("wgcf", 6, "new"), Process("wg100", 7, "x")]


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr(processes, "running", lambda _: RUNNING)
    monkeypatch.setattr(processes, "stop", lambda one: found.append(one.pid))
    return found


def test_one_too_many_ends_alone_and_else_all_of_a_name(stopped: list[int]) -> None:
    Work().make(ProcessKey("wgcf", 6), ProcessState("new"), None)
    assert stopped == [6]
    stopped.clear()
    Work().make(ProcessKey("wgcf"), ProcessState("old"), None)
    assert stopped == [5, 6]


@pytest.mark.usefixtures("stopped")
def test_a_second_one_of_a_name_is_an_item_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "is_reachable", lambda one, *_: one.pid != 7)
    monkeypatch.setattr(processes, "is_inside", lambda one, _: one.pid != 5)
    specs = {"wgcf": SimpleNamespace(namespace=None)}
    desired = SimpleNamespace(bridge=SimpleNamespace(name="ovsbr0"), processes=specs)
    look = SimpleNamespace(desired=desired, machine=SimpleNamespace(owner="owner"))
    assert dict(process.observe(cast("Look", look))) == {
        ProcessKey("wgcf"): ProcessState("old", is_elsewhere=True),
        ProcessKey("wgcf", 6): ProcessState("new"),
        ProcessKey("wg100"): ProcessState("x", is_unreachable=True),
    }


# --- firewalls ------------------------------------------------------------------------------------

CHAIN: list[dict[str, Any]] = [{"chain": {"name": "input", "policy": "drop"}}]
OWN, THEIRS = "privacy_router", "theirs"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    done: list[Any] = []
    there = [Table("inet", OWN), Table("ip", THEIRS, 1), Table("ip", OWN)]
    monkeypatch.setattr(nftables, "tables_here", lambda: there)
    monkeypatch.setattr(nftables, "tables", lambda *_: [f"{OWN}_guard_1"])
    monkeypatch.setattr(nftables, "read", lambda *_: CHAIN)
    monkeypatch.setattr(nftables, "apply", lambda *told: done.append(("apply", *told)))
    monkeypatch.setattr(nftables, "delete", lambda *told: done.append(("delete", *told)))
    return done


@pytest.mark.usefixtures("tables")
def test_in_a_hop_every_other_table_is_foreign() -> None:
    assert dict(firewall.observe(place(WARP, {}))) == {
        FirewallKey(WARP, OWN): RulesetValue.of(CHAIN),
        FirewallKey(WARP, THEIRS, TableRole.FOREIGN, "ip"): ForeignTable("ip", THEIRS, 1),
        FirewallKey(WARP, OWN, TableRole.FOREIGN, "ip"): ForeignTable("ip", OWN),
    }


@pytest.mark.usefixtures("tables")
def test_of_the_host_only_the_nodes_table_and_the_guard_count() -> None:
    assert [key for key, _ in firewall.observe(place(HOST, {}))] == [
        FirewallKey(HOST, OWN),
        FirewallKey(HOST, f"{OWN}_guard_1", TableRole.GUARD),
    ]


def test_a_table_is_put_in_place_and_anothers_is_taken_away_in_its_family(
    tables: list[Any],
) -> None:
    path, theirs = namespaces.path_of(WARP), FirewallKey(WARP, THEIRS, TableRole.FOREIGN, "ip")
    Work().make(FirewallKey(WARP, OWN), None, RulesetValue.of(CHAIN))
    Work().make(theirs, ForeignTable("ip", THEIRS), None)
    assert tables == [("apply", path, OWN, CHAIN), ("delete", path, THEIRS, "ip")]


# --- namespaces, devices, addresses and ports -----------------------------------------------------


@pytest.mark.parametrize(("marked", "count"), [(False, 1), (True, 2)])
def test_a_namespace_counts_where_it_is_wanted_or_marked(
    marked: bool, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = ["pr-gateway", "pr-warp"]
    monkeypatch.setattr(namespaces, "exists", there.__contains__)
    monkeypatch.setattr(ownership, "is_own_namespace", lambda *_: marked)
    desired = SimpleNamespace(items={NamespaceKey(there[0]): Present()})
    hops = SimpleNamespace(namespaces=[*there, "pr-xray"])
    machine = SimpleNamespace(owner="owner", hops=hops)
    look = SimpleNamespace(desired=desired, machine=machine)
    found = [key.where for key, _ in namespace.observe(cast("Look", look))]
    assert found == there[:count]


def link(name: str, *, up: bool = True) -> Link:
    return Link(name, 1, "02:00:00:00:00:01", 1500, up, up, "", 0, 0, 0, 0)


def test_devices_that_are_up_count_and_idle_ones_where_they_are_wanted() -> None:
    items: dict[Key, ItemValue] = {
        DeviceKey(WARP, "warp0"): Device("02:00:00:00:00:09", 1500),
        DeviceKey(WARP, "wgcf"): Device(None, 1280),
    }
    links = [link("warp0"), link("wgcf", up=False), link("tunl0", up=False), link("stray0")]
    named = {one.name: one for one in links}
    assert dict(device.observe(place(WARP, items, links=named))) == {
        DeviceKey(WARP, "warp0"): Device("02:00:00:00:00:01", 1500),
        DeviceKey(WARP, "wgcf"): Device(None, 1500, up=False, carrier=False),
        DeviceKey(WARP, "stray0"): Device(None, 1500),
    }
    assert dict(device.observe(place(SWITCH_NAMESPACE, {}, links=named))) == {}


def test_an_address_whose_kernels_routes_are_gone_is_missing() -> None:
    netlink = SimpleNamespace(all_addresses=lambda: {("warp0", ADDRESS)})
    kernels = {
        Route(ADDRESS.network, None, "warp0"),
        Route(ip_network("10.102.0.1/32"), None, "warp0", kind="local"),
    }
    gone = place(WARP, {}, netlink=netlink, routes=Routes(set(), set()))
    there = place(WARP, {}, netlink=netlink, routes=Routes(set(), kernels))
    assert dict(address.observe(gone)) == {}
    assert dict(address.observe(there)) == {THE_ADDRESS: ADDRESSED}


def test_ports_count_that_are_the_nodes_by_mark_or_by_plan() -> None:
    rows = {
        name: PortRow(name, "internal", None, 1, None, ours=name == "ours0")
        for name in ("ours0", "planned0", "theirs0")
    }
    items = {PortKey("ovsbr0", "planned0"): rows["planned0"].spec}
    desired = SimpleNamespace(bridge=SimpleNamespace(name="ovsbr0"), items=items)
    row = SimpleNamespace(ports=rows, port_settings={SFLOW: "1 set"})
    look = SimpleNamespace(bridge=row, desired=desired)
    found = [key.name for key, _ in port.observe(cast("Look", look))]
    assert found == ["sflow of bridge ovsbr0", "ours0", "planned0"]
    none = SimpleNamespace(bridge=None, desired=desired)
    assert list(port.observe(cast("Look", none))) == []
