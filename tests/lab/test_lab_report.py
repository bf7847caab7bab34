"""A report is good only when every promise holds."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from privacy_router.lab.picture import Meter, Scene, amount, bars, picture, proof
from privacy_router.lab.report import Report

GOOD = Report(
    exit_ip="198.18.200.1",
    exit_is_vps=True,
    vps_sees_warp=True,
    warp_trace="on",
    tcp=True,
    udp=True,
    dns=True,
    ipv6=True,
    cleartext_packets=0,
    foreign_packets=0,
    capture_drops=0,
    payload_seen_at_web=True,
    hops=[
        {"name": "warp", "state": "up", "rx_bytes": 1, "tx_bytes": 2, "flows": ["a → b"]},
    ],
    elapsed_s=1.5,
)


def test_a_report_has_the_fields_that_scripts_rely_on() -> None:
    fields = GOOD.as_dict()
    assert fields["ok"] is True
    assert {
        *("ok", "exit_ip", "exit_is_vps", "vps_sees_warp", "warp_trace", "tcp", "udp", "dns"),
        *("ipv6", "cleartext_packets", "hops", "elapsed_s"),
    } <= set(fields)
    assert {"name", "rx_bytes", "tx_bytes", "flows"} <= set(fields["hops"][0])


@pytest.mark.parametrize(
    "change",
    [
        {"exit_is_vps": False},
        {"vps_sees_warp": False},
        {"warp_trace": "off"},
        {"warp_trace": None},
        {"tcp": False},
        {"udp": False},
        {"dns": False},
        {"ipv6": False},
        {"cleartext_packets": 1},
        {"foreign_packets": 1},
        {"capture_drops": 1},
        {"payload_seen_at_web": False},
        {"hops": []},
        {"hops": [{"name": "warp", "state": "down"}]},
    ],
    ids=str,
)
def test_one_broken_promise_spoils_it_and_is_shown(change: dict[str, Any]) -> None:
    report = replace(GOOD, **change)
    assert not report.ok
    assert sum(not promise.holds for promise in report.promises()) == 1
    assert _drawn(proof(report)).count("✗") == 1


def test_the_picture_fits_and_shows_what_passes() -> None:
    scene = Scene(
        links=[Meter(f"link {n}", "secret") for n in range(4)],
        hops=[Meter(hop, "flows", indent=True) for hop in ("gateway", "warp", "xray")],
    )
    for meter in scene.rows():
        meter.take(1234, 5_000_000, 0.5)
    scene.readable = 3
    for width in (100, 80):
        drawn = _drawn(picture(scene, width), width)
        assert max(map(len, drawn.splitlines())) <= width
        assert "5.0 MB" in drawn
        assert " 3  packets that the ISP can read" in drawn
    assert "Cloudflare │" in _drawn(picture(scene))


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB"), (7e9, "7.0 GB")],
)
def test_amounts_are_for_people(count: float, text: str) -> None:
    assert amount(count) == text


def test_bars_show_the_last_rates_on_the_right() -> None:
    assert bars([0, 50, 100]).endswith(" ▄█")
    assert bars([]).strip() == ""


def _drawn(renderable: object, width: int = 100) -> str:
    written = io.StringIO()
    Console(file=written, width=width, color_system=None).print(renderable)
    return written.getvalue()
