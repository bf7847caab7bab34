"""Who runs DHCP on a device, by what they leave in the file system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from privacy_router.host.dbus import Bus
from privacy_router.plugins.net import dhcp
from privacy_router.plugins.target import Machine

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = {"eth0", "eth1", "lo"}


@pytest.mark.parametrize(
    ("program", "command", "devices"),
    [
        ("dhclient", "dhclient -4 -pf /run/dhclient.eth0.pid -I eth0", {"eth0"}),
        ("dhclient", "/sbin/dhclient eth0 eth1", {"eth0", "eth1"}),
        ("dhclient", "dhclient", KNOWN),
        ("udhcpc", "udhcpc -n -p /run/udhcpc.eth1.pid -i eth1", {"eth1"}),
        ("udhcpc", "udhcpc", {"eth0"}),
        ("dhcpcd", "dhcpcd -b", KNOWN),
    ],
)
def test_a_client_serves_the_devices_that_it_names(
    program: str, command: str, devices: set[str]
) -> None:
    assert dhcp.Process(1, program, tuple(command.split())).devices(KNOWN) == devices


def test_dhcpcd_says_in_its_title_whom_it_serves() -> None:
    assert dhcp.Process(1, "dhcpcd", ("dhcpcd: eth1 [ip4] [ip6]",)).devices(KNOWN) == {"eth1"}


def networkd(tmp_path: Path, link: str, network: str) -> dhcp.Managed | None:
    place = Machine(Bus(None), tmp_path)
    for name, text in (
        ("run/systemd/netif/links/2", link),
        ("etc/systemd/network/10-eth0.network", network),
        ("etc/systemd/network/10-eth0.network.d/more.conf", "[Network]\nIPv6AcceptRA=no\n"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return dhcp.by_networkd(place, 2)


FILE = "NETWORK_FILE=/etc/systemd/network/10-eth0.network\n"


@pytest.mark.parametrize(("word", "on"), [("yes", True), ("ipv4", True), ("no", False)])
def test_networkd_is_asked_by_its_files(tmp_path: Path, word: str, on: bool) -> None:
    link = f"# private\nADMIN_STATE=configured\n{FILE}"
    found = networkd(tmp_path, link, f"[Network]\n# DHCP=no\nDHCP={word}\n")
    assert found == dhcp.Managed(dhcp.NETWORKD, on, ipv6_ra=True)


def test_its_drop_ins_count(tmp_path: Path) -> None:
    more = 'NETWORK_FILE_DROPINS="/etc/systemd/network/10-eth0.network.d/more.conf"\n'
    found = networkd(tmp_path, f"ADMIN_STATE=configured\n{FILE}{more}", "[Network]\nDHCP=yes\n")
    assert found == dhcp.Managed(dhcp.NETWORKD, dhcp=True, ipv6_ra=False)


@pytest.mark.parametrize("link", ["", f"ADMIN_STATE=unmanaged\n{FILE}", "ADMIN_STATE=configured\n"])
def test_networkd_leaves_others_alone(tmp_path: Path, link: str) -> None:
    assert networkd(tmp_path, link, "[Network]\nDHCP=yes\n") is None


async def test_without_a_bus_there_is_no_network_manager() -> None:
    assert await dhcp.by_network_manager(Bus(None), "eth0") is None
