"""Prove the chain from outside: try everything as the client while every link is captured."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from privacy_router.chain.addresses import client_mtu_bytes
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.lab import internet
from privacy_router.lab.capture import Captures
from privacy_router.lab.hosts import PYTHON_MODULE
from privacy_router.lab.leak_rules import Rules
from privacy_router.lab.report import Report

if TYPE_CHECKING:
    from pathlib import Path

    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.lab.hosts import LabHost
    from privacy_router.lab.stage import Lab

_PROBE_TIMEOUT_S = 15.0
_STATUS_TIMEOUT_S = 15.0
_VPS_LINK = internet.cable("cloudflare", "vps").name
_WEB_LINK = internet.cable("vps", "web").name
_VPS_ADDRESSES = frozenset(str(address) for address in internet.VPS)


def new_token() -> str:
    """A secret word: 32 hexadecimal digits, fit for URLs and host names."""
    return secrets.token_hex(16)


def rules_for(config: PrivacyRouterConfig, token: str) -> Rules:
    """What the captures look for in a lab whose node has that configuration."""
    client = [internet.address_of("client", version) for version in (4, 6)]
    node = [internet.address_of("node", version) for version in (4, 6)]
    return Rules(
        token=token.encode(),
        clients=(config.wireguard.client_subnet, config.wireguard.client_subnet6),
        askers=frozenset((*client, *node)),
        known=frozenset((*internet.WARP_ENDPOINT, *internet.WARP_API, *client)),
        own=frozenset(node),
    )


def run_check(lab: Lab, pcap_dir: Path | None = None) -> Report:
    """Try everything once. Raises VerificationError when a capture broke."""
    started = time.monotonic()
    token, config = new_token(), lab.config
    with (
        Captures(lab.hosts, rules_for(config, token), pcap_dir) as captures,
        ThreadPoolExecutor(2) as pool,
    ):
        status = pool.submit(_node_status, lab["node"])
        probes = _probe(lab["client"], token, path_mtu_bytes(config))
        node = status.result()
    return _report(probes, node, captures, config.vps_port, time.monotonic() - started)


def path_mtu_bytes(config: PrivacyRouterConfig) -> int:
    """The size up to which each packet of a client, to and fro, has to pass.

    XRay ends the clients' packets and sends others; without it they are those that WARP carries.
    """
    own = client_mtu_bytes(config, CATALOGUE.segment(config))
    return own if config.xray_enabled else min(own, config.warp.mtu_bytes)


def _probe(client: LabHost, token: str, mtu_bytes: int) -> list[dict[str, Any]]:
    argv = (*PYTHON_MODULE, "privacy_router.lab.probe", token, str(mtu_bytes))
    try:
        result = client.run(argv, _PROBE_TIMEOUT_S)
        probes: list[dict[str, Any]] = json.loads(result.stdout)
    except subprocess.TimeoutExpired:
        return []
    except ValueError:
        return [_failed("probe", result.stderr.strip()[-200:])]
    return probes


def _failed(name: str, detail: str) -> dict[str, Any]:
    return {"name": name, "version": 4, "ok": False, "seen_as": "", "detail": detail}


def _node_status(node: LabHost) -> dict[str, Any]:
    try:
        result = node.run(("privacy-router", "status", "--json"), _STATUS_TIMEOUT_S)
        status: dict[str, Any] = json.loads(result.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return {}
    return status


def _report(
    probes: list[dict[str, Any]],
    node: dict[str, Any],
    captures: Captures,
    vps_port: int,
    elapsed_s: float,
) -> Report:
    evidence = captures.evidence
    exits = {probe["seen_as"] for probe in probes if probe["seen_as"]}
    openers: set[Any] = set()
    for address in internet.VPS:
        openers |= evidence[_VPS_LINK].openers.get((address, vps_port), set())
    failed = [f"{p['name']}: {p['detail']}" for p in probes if not p["ok"]]
    return Report(
        exit_ip=_first_exit(probes),
        exit_is_vps=bool(exits) and exits <= _VPS_ADDRESSES,
        vps_sees_warp=bool(openers) and openers <= set(internet.WARP_EGRESS),
        warp_trace=node.get("warp_trace"),
        tcp=_all_ok(probes, "http"),
        udp=_all_ok(probes, "udp"),
        dns=_all_ok(probes, "dns") and _all_ok(probes, "system-dns"),
        ipv6=bool(probes) and all(probe["ok"] for probe in probes if probe["version"] == 6),
        cleartext_packets=captures.cleartext_packets,
        foreign_packets=captures.foreign_packets,
        capture_drops=captures.dropped,
        payload_seen_at_web=evidence[_WEB_LINK].payload_packets > 0,
        hops=list(node.get("hops", [])),
        elapsed_s=round(elapsed_s, 2),
        problems=[*failed, *captures.examples],
    )


def _first_exit(probes: list[dict[str, Any]]) -> str | None:
    for probe in probes:
        if probe["seen_as"]:
            return str(probe["seen_as"])
    return None


def _all_ok(probes: list[dict[str, Any]], prefix: str) -> bool:
    fitting = [probe["ok"] for probe in probes if probe["name"].startswith(prefix)]
    return bool(fitting) and all(fitting)
