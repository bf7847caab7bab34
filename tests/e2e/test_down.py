"""`down` leaves the machine as it was found, also when things are not as they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.lab import stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.hosts import LabHost

pytestmark = pytest.mark.e2e


@pytest.fixture
def node(lab_prefix: str) -> Iterator[LabHost]:
    wishes: dict[str, Any] = {"plugins": {"privacy_router": {"bridge_name": "own-bridge"}}}
    try:
        yield stage.up(f"{lab_prefix}-d", overrides=wishes)["node"]
    finally:
        stage.down(f"{lab_prefix}-d")


def output(node: LabHost, *argv: str) -> list[str]:
    result = node.run(argv)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_a_broken_configuration_and_a_neighbour_do_not_stand_in_the_way(node: LabHost) -> None:
    # `ip netns add` makes /run/netns a mount of its own, after our namespaces were bound there
    output(node, "ip", "netns", "add", "pr-foreign")
    output(node, "sh", "-c", "echo '{' > $PRIVACY_ROUTER_CONFIG")
    result = node.run(("privacy-router", "down"))
    assert result.returncode == 0, result.stderr
    assert "cannot be used" in result.stderr
    assert output(node, "ip", "netns") == ["pr-foreign"]
    links = output(node, "ip", "-brief", "link")
    assert not {"own-bridge", "ovs-netdev", "wg100", "wgcf"} & set(links)
    processes = node.run(("pgrep", "-f", "ovs-vswitchd|wireguard-go|xray.runner")).stdout
    assert processes == ""
