"""A state file goes missing, the keys are read again: the node keeps what it has, and says so."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from privacy_router.lab import stage
from tests.e2e.bus import ENV, MANAGER, await_true, busctl, on_the_bus, read, start_bus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

STATE = "/var/lib/privacy-router"
LOG = "/run/privacy-router/log/controller.log"
FILES = ("gateway.key", "xray.json", "wgcf-profile.conf", "warp-endpoint", "clients.json")


@pytest.fixture(scope="module")
def bus_lab(lab_prefix: str) -> Iterator[Lab]:
    """A lab whose node is on a bus of its own."""
    try:
        lab = stage.up(lab_prefix, with_node=False)
        start_bus(lab["node"])
        up = lab["node"].run(("privacy-router", "up", "--detach"), 60.0, env=ENV)
        assert up.returncode == 0, up.stderr
        stage.connect_client(lab)
        await_true(lambda: on_the_bus(lab))
        yield lab
    finally:
        stage.down(lab_prefix)


READ = """
from pathlib import Path
from privacy_router.host.wireguard import UserspaceWireGuard
for device, hop in (("wg100", "gateway"), ("wgcf", "warp")):
    found = UserspaceWireGuard().read(device, Path(f"/run/netns/pr-{hop}"))
    print(device, found.listen_port, sorted((p.public_key, p.allowed_ips) for p in found.peers))
"""


def devices(lab: Lab) -> list[str]:
    """The tunnels' keys and peers, and which processes run: all that other keys would change."""
    tunnels = lab["node"].run(("python", "-c", READ))
    assert tunnels.returncode == 0, tunnels.stderr
    status = lab["node"].run(("privacy-router", "status", "--json", "--no-probe"))
    return [tunnels.stdout, json.dumps(json.loads(status.stdout)["processes"])]


def hang_up(lab: Lab) -> None:
    pid = lab["node"].file("/run/privacy-router/controller.lock").read_text().strip()
    assert lab["node"].run(("kill", f"-{int(signal.SIGHUP)}", pid)).returncode == 0


def traffic_goes(lab: Lab) -> bool:
    asking = ("curl", "-s4", "-m", "2", "http://web.example.net/ip")
    return bool(lab["client"].run(asking).stdout.strip())


def told_of(lab: Lab, path: str, since: int) -> bool:
    text = lab["node"].file(LOG).read_text()[since:]
    return f"{path} is missing" in text


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_changes_nothing_and_is_named(bus_lab: Lab, name: str) -> None:
    before = devices(bus_lab)
    path = f"{STATE}/{name}"
    file = bus_lab["node"].file(path)
    content, since = file.read_bytes(), len(bus_lab["node"].file(LOG).read_text())
    file.unlink()
    try:
        hang_up(bus_lab)
        await_true(lambda: told_of(bus_lab, path, since))
        refused = busctl(bus_lab, "call", "org.opdbus", *MANAGER, "Reload")
        assert refused.returncode != 0
        assert f"{path} is missing" in refused.stderr
        assert path in read(bus_lab, *MANAGER, "Trouble")
        assert read(bus_lab, *MANAGER, "State") == "degraded"
        status = bus_lab["node"].run(("privacy-router", "status", "--json", "--no-probe"))
        assert any(path in words for words in json.loads(status.stdout)["pending"])
        assert devices(bus_lab) == before
        assert traffic_goes(bus_lab)
        assert not file.exists()  # nothing was made in its place
    finally:
        bus_lab["node"].write(Path(path), content)
    assert busctl(bus_lab, "call", "org.opdbus", *MANAGER, "Reload").returncode == 0
    assert read(bus_lab, *MANAGER, "Trouble") == ""
    assert devices(bus_lab) == before


def test_without_its_file_a_node_does_not_start_anew_with_other_keys(bus_lab: Lab) -> None:
    node = bus_lab["node"]
    key = node.file(f"{STATE}/gateway.key")
    content = key.read_bytes()
    assert node.run(("privacy-router", "down")).returncode == 0
    key.unlink()
    try:
        up = node.run(("privacy-router", "up", "--detach"), 60.0, env=ENV)
        assert up.returncode != 0
        assert "gateway.key is missing" in up.stderr
        assert not key.exists()
    finally:
        node.write(Path(f"{STATE}/gateway.key"), content)
    up = node.run(("privacy-router", "up", "--detach"), 60.0, env=ENV)
    assert up.returncode == 0, up.stderr
    await_true(lambda: traffic_goes(bus_lab))
