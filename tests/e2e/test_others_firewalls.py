"""Another program's firewall on the host is named, and no hop is blamed for it."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.lab import stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

PATIENCE_S = 30.0
ESTABLISHED = "ct state established,related accept"


@pytest.fixture(scope="module")
def lab(lab_prefix: str) -> Iterator[Lab]:
    """A node without WARP, so that the host forwards what XRay sends."""
    overrides = {"plugins": {"privacy_router": {"warp": {"enabled": False}}}}
    try:
        yield stage.up(lab_prefix, overrides=overrides)
    finally:
        stage.down(lab_prefix)


def status(lab: Lab, *arguments: str) -> dict[str, Any]:
    shown = lab["node"].run(("privacy-router", "status", "--json", *arguments))
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def nft(lab: Lab, *commands: str) -> None:
    done = lab["node"].run(("nft", "; ".join(commands)))
    assert done.returncode == 0, done.stderr


@contextmanager
def closed(lab: Lab, hook: str, *rules: str) -> Iterator[None]:
    """A firewall as ufw or Docker make it: what no rule accepts is dropped."""
    chain = f"ip filter {hook.upper()}"
    nft(
        lab,
        "add table ip filter",
        f"add chain {chain} {{ type filter hook {hook} priority 0 ; policy drop ; }}",
        *(f"add rule {chain} {rule}" for rule in rules),
    )
    try:
        yield
    finally:
        nft(lab, "delete table ip filter")


def test_without_others_nothing_is_said_and_no_port_of_ours_is_a_stranger(lab: Lab) -> None:
    found = status(lab, "--no-probe")
    assert found["firewalls"] == []
    assert found["left_out"] == {}
    assert found["listen_port"] == 51820
    log = lab["node"].run(("cat", "/run/privacy-router/log/controller.log")).stdout
    assert "port left out" not in log


def test_a_firewall_that_keeps_clients_out_is_named(lab: Lab) -> None:
    with closed(lab, "input", "iifname lo accept", ESTABLISHED, "tcp dport 22 accept"):
        (remark,) = status(lab, "--no-probe")["firewalls"]
        assert "chain ip filter INPUT" in remark
        assert "let UDP port 51820 in" in remark
    with closed(lab, "input", ESTABLISHED, "udp dport 51820 accept"):
        assert status(lab, "--no-probe")["firewalls"] == []


def test_a_firewall_that_does_not_forward_is_named_and_not_the_vps_alone(lab: Lab) -> None:
    with closed(lab, "forward", "iifname docker0 accept"):
        deadline = time.monotonic() + PATIENCE_S
        while "chain ip filter FORWARD" not in (reason := xray(lab)["detail"]):
            assert time.monotonic() < deadline, reason
            time.sleep(0.2)
        assert "or the host's firewall" in reason
        (remark,) = status(lab, "--no-probe")["firewalls"]
        assert "let through what comes in by pr-exit" in remark


def xray(lab: Lab) -> dict[str, Any]:
    hops: list[dict[str, Any]] = status(lab)["hops"]
    return next(hop for hop in hops if hop["name"] == "xray")
