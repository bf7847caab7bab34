"""What is ordered over netlink is what `ip` shows, and what `ip` makes is what is read."""

from __future__ import annotations

import errno
import json
import subprocess
import threading
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.host import libc, namespaces
from privacy_router.host.libc import CloneFlag
from privacy_router.host.netlink import Netlink
from privacy_router.host.rtnetlink import NetlinkError
from privacy_router.values.network import FAMILY, KERNELS_RULES, Neighbour, Route, Rule

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.e2e

MAC = "02:00:00:00:00:01"


def ip(*arguments: str) -> Any:
    command = ["ip", "-j", "-d", "-N", *arguments]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout or "[]")


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def in_new_network(work: Callable[[Netlink], None]) -> None:
    """Do it in a network of its own, with `va` and `vb`, the two ends of a cable, up."""
    failures: list[BaseException] = []

    def inside() -> None:
        try:
            libc.unshare(CloneFlag.NEWNET)
            with Netlink() as netlink:
                netlink.add_veth("va", "vb")
                for name in ("lo", "va", "vb"):
                    netlink.set_link(name, up=True)
                work(netlink)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def code(work: Callable[[], object]) -> int:
    """The number with which the kernel refuses something."""
    with pytest.raises(NetlinkError) as refusal:
        work()
    assert "the kernel does not" in refusal.value.message
    return refusal.value.code


def test_devices() -> None:
    def work(netlink: Netlink) -> None:
        netlink.set_link("va", mtu_bytes=1400, mac=MAC)
        run("ip link property add dev va altname another-name")
        (shown,) = ip("link", "show", "va")
        assert (shown["mtu"], shown["address"], "UP" in shown["flags"]) == (1400, MAC, True)
        found = netlink.links()["va"]
        assert (found.mac, found.mtu_bytes, found.up, found.kind) == (MAC, 1400, True, "veth")
        assert found.index == shown["ifindex"] == netlink.index("va")
        assert netlink.names() == {"lo", "va", "vb", "another-name"}
        assert netlink.index("nope") is netlink.index("") is netlink.index("x" * 16) is None
        assert code(lambda: netlink.add_veth("va", "vc")) == errno.EEXIST
        assert code(lambda: netlink.set_link("va", mtu_bytes=10)) == errno.EINVAL
        with pytest.raises(OSError, match="no network device named nope"):
            netlink.set_link("nope", up=True)
        with namespaces.opened(None) as here:
            netlink.add_veth("vc", "vd", here)
        netlink.delete_link("vc")
        netlink.delete_link("vc")
        assert netlink.names() == {"lo", "va", "vb", "another-name"}

    in_new_network(work)


def test_counters() -> None:
    def work(netlink: Netlink) -> None:
        for name in ("va", "vb"):
            netlink.set_link(name, mac=f"02:00:00:00:00:0{'ab'.index(name[1])}")
        netlink.replace_address("va", ip_interface("192.0.2.1/24"))
        netlink.replace_neighbour(Neighbour(ip_address("192.0.2.2"), "02:00:00:00:00:01", "va"))
        subprocess.run(["ping", "-c1", "-W1", "192.0.2.2"], capture_output=True, check=False)
        sent, received = netlink.links()["va"], netlink.links()["vb"]
        assert sent.tx_packets == received.rx_packets > 0
        assert sent.tx_bytes == received.rx_bytes >= 98

    in_new_network(work)


def test_addresses() -> None:
    def work(netlink: Netlink) -> None:
        wanted = {ip_interface(text) for text in ("192.0.2.1/24", "192.0.2.9/32", "fd00::1/64")}
        for _ in range(2):  # the second time anew
            for address in wanted:
                netlink.replace_address("va", address)
        assert netlink.addresses("va") == wanted
        shown = {
            (one["local"], one["scope"], one.get("nodad", False))
            for one in ip("addr", "show", "va")[0]["addr_info"]
        }
        assert shown >= {("192.0.2.1", "0", False), ("fd00::1", "0", True)}
        netlink.replace_address("lo", ip_interface("127.0.0.53/32"))
        scopes = {one["local"]: one["scope"] for one in ip("addr", "show", "lo")[0]["addr_info"]}
        assert scopes["127.0.0.53"] == "254"
        netlink.delete_address("va", ip_interface("192.0.2.9/32"))
        assert netlink.addresses("va") == wanted - {ip_interface("192.0.2.9/32")}
        gone = ip_interface("192.0.2.77/24")
        assert code(lambda: netlink.delete_address("va", gone)) == errno.EADDRNOTAVAIL

    in_new_network(work)


def test_an_address_with_another_end_is_read_and_taken_away_by_its_own() -> None:
    def work(netlink: Netlink) -> None:
        run("ip addr add 10.7.0.1 peer 10.7.0.2/32 dev va")
        assert ("va", ip_interface("10.7.0.1/32")) in netlink.all_addresses()
        made = {route.destination for route in netlink.routes().added}
        assert ip_network("10.7.0.2/32") not in made, "the kernel made it for the other end"
        netlink.delete_address("va", ip_interface("10.7.0.1/32"))
        assert netlink.addresses("va") == set()

    in_new_network(work)


ROUTES = [
    Route(ip_network("0.0.0.0/0"), ip_address("192.0.2.254"), "va"),
    Route(ip_network("10.50.0.0/16"), device="va", table=100, metric=5, mtu_bytes=1300),
    Route(ip_network("10.60.0.0/16"), table=300, kind="unreachable", metric=4278198272),
    Route(ip_network("::/0"), ip_address("fd00::fe"), "va"),
    Route(ip_network("fd01::/64"), device="va", table=1000, metric=7),
    Route(ip_network("::/0"), table=1000, kind="unreachable", metric=4278198272),
    Route(ip_network("0.0.0.0/0"), device="lo", table=77, kind="local"),
    Route(ip_network("::/0"), device="lo", table=77, kind="local"),
]


def test_routes() -> None:
    def work(netlink: Netlink) -> None:
        for address in ("192.0.2.1/24", "fd00::1/64"):
            netlink.replace_address("va", ip_interface(address))
        for route in (*ROUTES, *ROUTES):
            netlink.replace_route(route)
        assert netlink.routes().added == set(ROUTES)
        assert netlink.default_device() == "va"
        (shown,) = ip("route", "show", "table", "100")
        assert (shown["dst"], shown["metric"]) == ("10.50.0.0/16", 5)
        assert shown["metrics"] == [{"mtu": 1300}]
        assert (shown["protocol"], shown["scope"]) == ("4", "0")
        run("ip route add 10.80.0.0/16 via 192.0.2.9 src 192.0.2.1 proto 99")
        run("ip route add 10.81.0.0/16 nexthop via 192.0.2.9 nexthop via 192.0.2.10")
        others = netlink.routes().added - set(ROUTES)
        assert [bool(route.extra) for route in others] == [True, True]
        far = Route(ip_network("10.70.0.0/16"), ip_address("172.16.0.1"), "va")
        assert code(lambda: netlink.replace_route(far)) == errno.ENETUNREACH
        for route in (*others, *ROUTES, *ROUTES):  # the second time they are gone
            netlink.delete_route(route)
        assert netlink.routes().added == set()

    in_new_network(work)


RULES = {
    Rule(100, 100, FAMILY[4], source=ip_network("192.0.2.0/24")),
    Rule(101, 300, FAMILY[4], mark=0x10),
    Rule(102, 1000, FAMILY[6], input_device="va"),
    Rule(103, 77, FAMILY[6], destination=ip_network("fd00::/64")),
    Rule(104, 77, FAMILY[4], destination=ip_network("10.2.0.0/16"), input_device="vb", mark=7),
}


def test_rules() -> None:
    def work(netlink: Netlink) -> None:
        for rule in (*RULES, *RULES):
            netlink.add_rule(rule)
        assert netlink.rules() == {*RULES, *KERNELS_RULES}
        run("ip rule add pref 110 not from 10.0.0.0/8 table 5")
        run("ip -6 rule add pref 111 tos 4 table 5")
        others = netlink.rules() - {*RULES, *KERNELS_RULES}
        assert sorted(rule.priority for rule in others if rule.extra) == [110, 111]
        for rule in (*others, *RULES, *KERNELS_RULES):
            netlink.delete_rule(rule)
        assert netlink.rules() == set()
        assert code(lambda: netlink.delete_rule(Rule(100, 100, FAMILY[4]))) == errno.ENOENT
        for rule in KERNELS_RULES:
            netlink.add_rule(rule)
        assert {rule["protocol"] for rule in ip("rule")} == {"2"}, "as the kernel makes them"

    in_new_network(work)


def test_neighbours() -> None:
    def work(netlink: Netlink) -> None:
        wanted = {Neighbour(ip_address(text), MAC, "va") for text in ("192.0.2.9", "fd00::9")}
        run("ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev va nud reachable")
        for neighbour in (*wanted, *wanted):
            netlink.replace_neighbour(neighbour)
        assert netlink.neighbours() == wanted
        for neighbour in wanted:
            netlink.delete_neighbour(neighbour)
        assert netlink.neighbours() == set()
        assert code(lambda: netlink.delete_neighbour(wanted.pop())) == errno.ENOENT

    in_new_network(work)


def test_a_session_belongs_to_a_namespace() -> None:
    def work(netlink: Netlink) -> None:
        namespaces.create("pr-netlink-test", lambda: None)
        try:
            path = namespaces.path_of("pr-netlink-test")
            with namespaces.opened(path) as target:
                netlink.move("vb", target)
            with Netlink(path) as there:
                assert there.names() == {"lo", "vb"}
                assert not there.links()["vb"].up, "it arrives down"
            assert netlink.index("vb") is None
        finally:
            namespaces.delete("pr-netlink-test")
        with pytest.raises(FileNotFoundError):
            Netlink(namespaces.path_of("pr-netlink-test"))

    in_new_network(work)
