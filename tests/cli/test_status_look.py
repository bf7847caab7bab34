"""What `status` shows: at once, after asking, and of a file that the node does not keep."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console, Group

from privacy_router.cli.status_view import outcome, parts
from privacy_router.client.status import ClientStatus, FileState, HopStatus, NodeStatus
from privacy_router.config import ConfigError, PrivacyRouterConfig
from privacy_router.daemon.local import in_force
from privacy_router.daemon.local.in_force import subject_of
from privacy_router.engine.document import Source
from privacy_router.engine.journal import Journal
from privacy_router.errors import StorageError
from privacy_router.node.paths import NodePaths
from privacy_router.node.status import Kept

if TYPE_CHECKING:
    from pathlib import Path

QUIET = "nothing passes at the moment"
HANDSHAKE = "handshake 160 s ago"


def hop(name: str, state: str, detail: str = "", rtt_ms: float | None = None) -> HopStatus:
    return HopStatus(
        *(name, state, detail, "internal_100", 998_700_000_000, 998_700_000_000, 170.0, rtt_ms),
        flows=[],
        health={"evidence": HANDSHAKE},
        rx_rate=12_300_000.0,
        tx_rate=998_700_000.0,
    )


BEFORE = NodeStatus(
    ok=False,
    state="quiet",
    controller_pid=7,
    probed=False,
    hops=[hop("gateway", "quiet", QUIET), hop("warp", "up"), hop("xray", "quiet", QUIET)],
    clients=[ClientStatus("phone", "198.18.1.2:51820", 20.0, 1000, 2000)],
    exit_ip=None,
    warp_trace=None,
    processes={},
    pending=[],
    left_out={},
    obfuscation_level=2,
    document="/etc/privacy-router/config.json",
)
AFTER = replace(
    BEFORE,
    ok=True,
    state="up",
    probed=True,
    hops=[
        hop("gateway", "quiet", QUIET),
        hop("warp", "up", rtt_ms=33.0),
        hop("xray", "up", rtt_ms=1100.4),
    ],
    exit_ip="198.18.200.1",
    exit_ipv4="198.18.200.1",
    exit_ipv6="2001:db8:200::1",
    warp_trace="on",
)


def shown(*renderables: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(Group(*renderables))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_local_facts_need_no_answer_and_fit_a_narrow_terminal() -> None:
    lines = shown(*parts(BEFORE, asking=True))
    assert lines[0] == "● node quiet, controller process 7, asking whether packets pass …"
    assert lines[1] == "  obfuscation level 2, as /etc/privacy-router/config.json says"
    assert lines[2].split() == ["HOP", "STATE", "IN", "OUT", "IN/S", "OUT/S", "HANDSHAKE"]
    assert lines[3] == ("gateway  quiet  998.7 GB  998.7 GB  12.3 MB  998.7 MB  3 min ago")
    assert not any("sites see" in line for line in lines)


def test_the_addresses_that_sites_see_and_what_cloudflare_says() -> None:
    lines = shown(*parts(AFTER))
    assert "sites see 198.18.200.1 and 2001:db8:200::1; Cloudflare: warp=on" in lines
    assert lines[2].split()[-1] == "RTT"
    assert lines[5].endswith("1100 ms")
    assert "  warp is up (handshake 160 s ago)" in lines


@pytest.mark.parametrize(
    ("v4", "v6", "words"),
    [
        ("192.0.2.1", None, "sites see 192.0.2.1, and no request by IPv6 came back"),
        (None, "2001:db8::1", "sites see 2001:db8::1, and no request by IPv4 came back"),
        (None, None, "sites see nothing: no answer comes back through the chain"),
    ],
)
def test_a_family_that_has_no_way_out_is_named(v4: str | None, v6: str | None, words: str) -> None:
    status = replace(AFTER, exit_ipv4=v4, exit_ipv6=v6, warp_trace=None)
    assert words in shown(*parts(status))


def test_a_reader_of_a_pipe_is_told_what_asking_found_and_nothing_twice() -> None:
    assert shown(*outcome(BEFORE, AFTER)) == [
        "● node up, controller process 7",
        "  xray is up (handshake 160 s ago)",
        "round trips: warp 33 ms, xray 1100 ms",
        "sites see 198.18.200.1 and 2001:db8:200::1; Cloudflare: warp=on",
    ]


# --- which file ----------------------------------------------------------------------------------


def document(port: int) -> str:
    section = {"wireguard": {"listen_port": port}}
    return json.dumps({"version": 1, "plugins": {"privacy_router": section}})


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodePaths:
    """Of a node that a controller keeps."""
    monkeypatch.setattr(in_force, "controller_pid", lambda _: 7)
    monkeypatch.setenv("PRIVACY_ROUTER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PRIVACY_ROUTER_RUN", str(tmp_path / "run"))
    return NodePaths.from_environment()


def keep(paths: NodePaths, file: Path, text: str) -> None:
    """As the controller does of a document that stands."""
    paths.state.mkdir(exist_ok=True)
    journal = Journal(paths.journal)
    journal.adopt(Source(text, str(file.parent), str(file)), "mark")
    journal.close()


@pytest.mark.usefixtures("paths")
def test_without_a_node_the_file_is_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(document(5000))
    found = subject_of(file, is_named=False)
    assert found.config.wireguard.listen_port == 5000
    assert found.kept == Kept()
    file.write_text("{")
    with pytest.raises(ConfigError):
        subject_of(file, is_named=False)


@pytest.mark.parametrize("now", [None, "{", document(6000)])
def test_a_node_is_measured_by_what_it_keeps(
    paths: NodePaths, tmp_path: Path, now: str | None
) -> None:
    """Also where its file says something else by now, is broken or is not there."""
    file = tmp_path / "kept.json"
    file.write_text(document(5000))
    keep(paths, file, document(5000))
    assert subject_of(file, is_named=False).kept == Kept(str(file))
    file.unlink()
    if now is not None:
        file.write_text(now)
    found = subject_of(file, is_named=False)
    assert found.config.wireguard.listen_port == 5000
    assert found.kept.document == str(file)
    assert found.kept.differing is not None
    assert found.kept.differing.state is FileState.CHANGED


def test_a_damaged_journal_does_not_hide_the_node(paths: NodePaths, tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(document(5000))
    paths.state.mkdir()
    paths.journal.write_bytes(b"no database")
    assert subject_of(file, is_named=False).config.wireguard.listen_port == 5000
    with pytest.raises(StorageError):
        subject_of(tmp_path / "missing.json", is_named=False)


def test_what_is_kept_may_be_no_node(paths: NodePaths, tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text('{"version": 1, "plugins": {"privacy_router": {}}}')
    keep(paths, file, '{"version": 1, "plugins": {}}')
    assert subject_of(file, is_named=False).config == PrivacyRouterConfig()
