"""The process says what is wrong with its file before XRay would die of it in silence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.errors import ExitCode, StorageError
from privacy_router.hops.xray import command, runner

FREEDOM = {"protocol": "freedom"}
SOCKS = {"protocol": "socks", "listen": "127.0.0.1", "port": 1}
SECRET = "do-not-show-this"


def run(*arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command.arguments("")[:-1], *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PATH": path},
    )


def private(file: Path, content: str | bytes) -> str:
    file.touch(mode=0o600)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file)


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (f"{{ {SECRET}", ExitCode.INVALID_CONFIG, "not JSON"),
        ("[" * 100_000, ExitCode.INVALID_CONFIG, "not JSON"),
        ("[]", ExitCode.INVALID_CONFIG, "not a JSON object"),
        ("{}", ExitCode.INVALID_CONFIG, "inbounds"),
        (json.dumps({"inbounds": [SOCKS], "outbounds": []}), ExitCode.INVALID_CONFIG, "outbounds"),
        (
            json.dumps({"inbounds": [{"secret": SECRET}], "outbounds": [FREEDOM]}),
            ExitCode.INVALID_CONFIG,
            "no protocol",
        ),
        (b"\xff\xfe", ExitCode.STORAGE, "UTF-8"),
        (" " * (runner.CONFIG_LIMIT_BYTES + 1), ExitCode.STORAGE, "over"),
    ],
)
def test_a_broken_file_is_refused(
    tmp_path: Path, content: str | bytes, code: ExitCode, message: str
) -> None:
    ended = run(private(tmp_path / "xray.json", content))
    assert ended.returncode == code
    assert message in ended.stderr
    assert "privacy-router up" in ended.stderr
    assert SECRET not in ended.stderr


GOOD = {"inbounds": [SOCKS], "outbounds": [FREEDOM, FREEDOM]}


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (GOOD, None),
        ({**GOOD, "inbounds": [SOCKS, {"port": 1}]}, "an entry of inbounds has no protocol"),
        (
            {**GOOD, "outbounds": [FREEDOM, {"protocol": 1}]},
            "an entry of outbounds has no protocol",
        ),
        ({**GOOD, "outbounds": [FREEDOM, "freedom"]}, "an entry of outbounds has no protocol"),
        ({**GOOD, "outbounds": {}}, "outbounds is not a list with entries"),
        ({"outbounds": [FREEDOM]}, "inbounds is not a list with entries"),
        ([], "it is not a JSON object"),
    ],
)
def test_what_xray_would_die_of_is_said(document: object, complaint: str | None) -> None:
    if complaint is None:
        runner.check_shape_untrusted(json.dumps(document))
        return
    with pytest.raises(runner.XrayConfigError) as caught:
        runner.check_shape_untrusted(json.dumps(document))
    assert caught.value.message == f"the configuration for XRay is broken: {complaint}"


def test_what_is_no_json_is_said() -> None:
    with pytest.raises(runner.XrayConfigError, match=r"broken: it is not JSON$"):
        runner.check_shape_untrusted("{")


def test_the_process_becomes_the_program_or_runs_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    monkeypatch.setattr("os.execv", lambda *call: done.append(call))
    monkeypatch.setattr("signal.signal", lambda *call: done.append(call))
    monkeypatch.setitem(sys.modules, "xray", SimpleNamespace(startFromJSON=done.append))
    path = private(tmp_path / "xray.json", json.dumps(GOOD))
    monkeypatch.setattr("shutil.which", {"xray": None}.__getitem__)
    assert runner.main([path]) == ExitCode.FAILURE, "XRay's library does not return"
    assert done == [(signal.SIGINT, signal.SIG_DFL), json.dumps(GOOD)]
    monkeypatch.setattr("shutil.which", {"xray": "/bin/xray"}.__getitem__)
    runner.main([path])
    assert done[2] == ("/bin/xray", ["/bin/xray", "run", "-c", path])


def test_a_file_may_be_as_long_as_the_limit_and_no_longer(tmp_path: Path) -> None:
    path = private(tmp_path / "xray.json", " " * runner.CONFIG_LIMIT_BYTES)
    assert runner.read_config(path) == " " * runner.CONFIG_LIMIT_BYTES
    private(tmp_path / "xray.json", " " * (runner.CONFIG_LIMIT_BYTES + 1))
    with pytest.raises(StorageError, match="is over 1048576 bytes"):
        runner.read_config(path)


def test_why_a_file_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file or directory"):
        runner.read_config(str(tmp_path / "none"))
    with pytest.raises(StorageError, match="it is not UTF-8"):
        runner.read_config(private(tmp_path / "xray.json", b"\xff\xfe"))


def test_a_missing_file_and_a_missing_argument_are_refused(tmp_path: Path) -> None:
    assert run(str(tmp_path / "none.json")).returncode == ExitCode.STORAGE
    assert run().returncode == ExitCode.INVALID_CONFIG


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path / "xray.json", "{}")
    Path(path).chmod(0o640)
    ended = run(path)
    assert ended.returncode == ExitCode.STORAGE
    assert "chmod 600" in ended.stderr


def test_a_program_on_the_path_is_preferred_and_gets_the_file_by_name(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "xray"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    path = private(
        tmp_path / "xray.json", json.dumps({"inbounds": [SOCKS], "outbounds": [FREEDOM]})
    )
    ended = run(path, path=str(program.parent))
    assert ended.stdout == f"run -c {path}\n"


def test_xray_itself_refuses_with_the_documented_code(tmp_path: Path) -> None:
    unknown = {"inbounds": [{"protocol": "nonsense", "port": 1}], "outbounds": [FREEDOM]}
    ended = run(private(tmp_path / "xray.json", json.dumps(unknown)))
    assert ended.returncode == runner.REJECTED_EXIT_CODE


def test_the_process_is_light() -> None:
    heavy = {"asyncio", "cryptography", "pydantic", "httpx", "structlog", "ipaddress"}
    code = "import sys, privacy_router.hops.xray.runner; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert not heavy & set(ended.stdout.split())


@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.text()),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ).map(json.dumps),
        st.fixed_dictionaries(
            {"inbounds": st.lists(st.text() | st.none()), "outbounds": st.integers() | st.none()}
        ).map(json.dumps),
    )
)
def test_any_text_is_accepted_or_one_kind_of_error(text: str) -> None:
    try:
        runner.check_shape_untrusted(text)
    except runner.XrayConfigError as error:
        assert error.remedy
