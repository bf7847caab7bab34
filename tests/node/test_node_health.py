"""Reading counters, what the controller tells of them, and the question's failures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.config import PrivacyRouterConfig
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.node import health, question
from privacy_router.node.counted import Sample, Tap
from privacy_router.node.evidence import Answer
from privacy_router.node.health import HealthWatch, parse_counters, read_told, told_untrusted
from privacy_router.node.health_reading import _with_answer
from privacy_router.node.paths import NodePaths

if TYPE_CHECKING:
    from pathlib import Path

NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo:       0       0    0    0    0     0          0         0        0       0    0 0 0 0 0 0
  wgcf: 1234567    4321    0    0    0     0          0         0     7654      32    0 0 0 0 0 0
"""
REPORT = {
    "at_s": 100.0,
    "pid": 7,
    "proven": True,
    "counted": False,
    "troubles": ["the watch of the bridge ended: odd"],
    "hops": {"warp": {"state": "up", "reason": "", "since": 1.0, "evidence": "seen"}},
}


def test_counters_are_read_by_device() -> None:
    found = parse_counters(NET_DEV)
    assert found == {"lo": Tap(), "wgcf": Tap(4321, 1234567, 32, 7654)}


def test_a_report_is_of_that_process_and_of_now() -> None:
    data = json.dumps(REPORT).encode()
    told = told_untrusted(data, 7, 101.0)
    assert told is not None
    assert told.troubles == ("the watch of the bridge ended: odd",)
    assert told.hops["warp"]["state"] == "up"
    assert told_untrusted(data, 8, 101.0) is None
    assert told_untrusted(data, 7, 105.0) is None, "it hangs"
    assert told_untrusted(data, 7, 99.0) is None, "of before the machine started"


@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(list(REPORT)), inner),
    ).map(lambda found: json.dumps(found).encode())
)
def test_a_broken_report_raises_one_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        told_untrusted(data, 7, 100.0)


def test_a_report_that_is_not_there_or_broken_is_none(tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    assert read_told(file, 7) is None
    file.write_bytes(b"[" * 60_000)
    assert read_told(file, 7) is None
    assert read_told(file, None) is None


def test_a_question_of_just_now_outvotes_one_of_some_time_ago() -> None:
    down = {"state": "down", "reason": "the VPS does not answer", "since": 1.0, "evidence": ""}
    told = health.Told(False, (), {"warp": dict(down), "xray": dict(down)})
    good = _with_answer(told, Answer(1.0, proven=("warp", "xray")))
    assert good.proven
    assert {row["state"] for row in good.hops.values()} == {"up"}
    bad = _with_answer(told, Answer(1.0, "xray", "closed", ("warp",)))
    assert not bad.proven
    assert (bad.hops["warp"]["state"], bad.hops["xray"]["reason"]) == ("up", "closed")


# --- the watch -----------------------------------------------------------------------------------


class Script:
    """A machine's counters and answers, as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
        self.answer = Answer(0.0, "xray", "the VPS does not answer", ("warp",))
        self.now_s = 1000.0
        self.machine: Any = SimpleNamespace(paths=NodePaths(run, run), hops=CATALOGUE)
        self.config = PrivacyRouterConfig.model_validate(
            {"xray": {"enabled": True, "vps_address": "198.18.200.1"}}
        )
        monkeypatch.setattr(health.Sampler, "read", lambda _: self.sample())
        monkeypatch.setattr(health, "ask", self.ask)

    def sample(self) -> Sample:
        self.now_s = time.monotonic()
        return Sample(self.now_s, {}, session_age_s=1.0)

    async def ask(self, *_: Any) -> Answer:
        return Answer(time.monotonic(), self.answer.hop, "silent", self.answer.proven)


async def test_an_outage_is_told_when_it_begins_and_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Script(monkeypatch, tmp_path)
    watch = HealthWatch(script.machine, lambda: script.config, lambda: ["odd"], lambda: False)
    told: list[dict[str, str]] = []
    watch.on_change = lambda: told.append(
        {hop: str(one.state) for hop, one in watch.health.items()}
    )
    running = asyncio.create_task(watch.run())

    async def until(state: str) -> None:
        while not told or told[-1].get("xray") != state:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(until("down"), 30)
    report = json.loads(script.machine.paths.health.read_bytes())
    assert report["troubles"] == ["odd"]
    assert report["hops"]["xray"]["reason"] == "silent"
    script.answer = Answer(0.0, proven=("warp", "xray"))
    await asyncio.wait_for(until("up"), 30)
    assert watch.is_proven
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not script.machine.paths.health.exists()
    lines = [line for line in capsys.readouterr().out.splitlines() if "outage" in line]
    assert len(lines) == 2
    assert "xray" in lines[0]
    assert "lasted_s" in lines[1]


async def test_a_closed_tunnel_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """XRay would wait for the lost query of the VPS' name, and all new connections with it."""
    script = Script(monkeypatch, tmp_path)
    asked: list[bool] = []
    closed = [True]

    async def ask(*_: Any) -> Answer:
        asked.append(closed[0])
        return Answer(time.monotonic(), proven=("warp", "xray"))

    monkeypatch.setattr(health, "ask", ask)
    watch = HealthWatch(script.machine, lambda: script.config, list, lambda: closed[0])
    running = asyncio.create_task(watch.run())
    report = script.machine.paths.health
    while not report.exists():
        await asyncio.sleep(0.01)
    await watch.prove(0.1)
    closed[0] = False
    async with asyncio.timeout(30):
        while not asked:
            await asyncio.sleep(0.01)
    assert asked == [False]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# --- the question --------------------------------------------------------------------------------


def dns_name(data: bytes) -> bytes:
    return data[12:-4]


def test_the_question_is_one_of_dns() -> None:
    asked = question._question(PrivacyRouterConfig())
    _, flags, count, *rest = struct.unpack("!HHHHHH", asked[:12])
    assert (flags, count, rest) == (0x0100, 1, [0, 0, 0])
    assert dns_name(asked) == b"\x03www\x0acloudflare\x03com\x00"
    assert len(asked) < 64
    response = asked[:2] + b"\x81\x80" + asked[4:]
    assert question._answers(response, asked)
    another = bytes([asked[0] ^ 1]) + response[1:]
    for other in (b"", asked, another, response[:5]):
        assert not question._answers(other, asked)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "XRay does not answer in its namespace"),
        (b"\x05\xff", "XRay does not answer in its namespace"),
    ],
)
def test_a_proxy_that_does_not_greet_is_xray_itself(said: bytes, reason: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(question._NoAnswerError, match=reason):
            question._greet(ours)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"\x05\x00\x00\x01" + bytes(6), "the VPS does not answer"),
        (b"\x05\x00\x00\x01" + bytes(6) + b"\x00\x0c" + b"\xff" * 12, "not the answer"),
    ],
)
def test_a_proxy_whose_server_does_not_answer_is_the_vps(said: bytes, reason: str) -> None:
    config = PrivacyRouterConfig()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        asked = b"\x01\x02" + question._question(config)[2:]
        with pytest.raises(question._NoAnswerError, match=reason):
            question._ask_stream(ours, config.xray.dns[0], asked)
