"""What the run directory remembers: clients' endpoints, and the host's settings."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from privacy_router.errors import StorageError
from privacy_router.host import sysctl
from privacy_router.host.boot import boot_id
from privacy_router.node import saved_sysctls
from privacy_router.node.endpoint_memory import load_endpoints
from privacy_router.node.saved_sysctls import SavedSysctls

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def test_endpoints_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    path.write_text('{"A": "192.0.2.1:51820", "B": "[2001:db8::1]:7"}')
    assert load_endpoints(path) == {
        "A": (ip_address("192.0.2.1"), 51820),
        "B": (ip_address("2001:db8::1"), 7),
    }


@pytest.mark.parametrize(
    "content",
    [None, b"", b"[]", b"7", b"null", b"\xff", b'{"A": 7}', b'{"A": null}', b'{"A": "nowhere"}'],
)
def test_a_memory_that_is_damaged_is_no_memory(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "endpoints.json"
    if content is not None:
        path.write_bytes(content)
    assert load_endpoints(path) == {}


class Settings(dict[str, str]):
    """The host's settings, as `sysctl` reads and writes them."""

    def read(self, _: object, names: tuple[str, ...]) -> dict[str, str | None]:
        return {name: self.get(name) for name in names}

    def write(self, _: object, wanted: Mapping[str, str]) -> None:
        self.update(wanted)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = Settings()
    monkeypatch.setattr(sysctl, "read", settings.read)
    monkeypatch.setattr(sysctl, "write", settings.write)
    return settings


def test_settings_are_given_back_as_they_were_before_the_first_change(
    tmp_path: Path, host: Settings
) -> None:
    path = tmp_path / "borrowed.json"
    host.update({"a": "1", "b": "1"})
    SavedSysctls(path).note("a", "0")
    SavedSysctls(path).note("a", "1")  # a later start finds what an earlier one has set
    SavedSysctls(path).note("gone", "0")
    SavedSysctls(path).note("b", None)
    assert path.stat().st_mode & 0o777 == 0o600
    SavedSysctls(path).give_back()
    assert host == {"a": "0", "b": "1"}
    assert not path.exists()


def test_nothing_borrowed_nothing_given_back(tmp_path: Path, host: Settings) -> None:
    SavedSysctls(tmp_path / "borrowed.json").give_back()
    assert host == {}


def test_a_damaged_note_is_told(tmp_path: Path, host: Settings) -> None:
    path = tmp_path / "borrowed.json"
    path.write_text('{"a": ')
    with pytest.raises(StorageError, match="damaged") as refusal:
        SavedSysctls(path).give_back()
    assert "forwarding" in refusal.value.remedy
    assert host == {}


# --- the note is not in the run directory --------------------------------------------------------


def test_a_note_of_an_earlier_version_is_taken_over(tmp_path: Path, host: Settings) -> None:
    path, older = tmp_path / "state" / "borrowed.json", tmp_path / "saved_sysctls.json"
    older.write_text('{"a": "0"}')
    host.update({"a": "1", "b": "1"})
    SavedSysctls(path, older).note("b", "0")
    assert not older.exists()
    SavedSysctls(path, older).give_back()
    assert host == {"a": "0", "b": "0"}


def test_a_note_of_another_boot_is_of_settings_that_are_gone(
    tmp_path: Path, host: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "borrowed.json"
    host.update({"a": "1"})
    SavedSysctls(path).note("a", "0")
    monkeypatch.setattr(saved_sysctls, "boot_id", lambda: "the next")
    assert SavedSysctls(path).names() == []
    SavedSysctls(path).give_back()
    assert host == {"a": "1"}


@pytest.mark.parametrize(
    "content",
    ["[]", "7", "[" * 100_000, '{"../../kernel/core_pattern": "x"}', '{"/etc": "x"}', '{"a": 1}'],
)
@pytest.mark.parametrize("is_older", [True, False])
def test_no_note_is_more_than_one_error(
    tmp_path: Path, host: Settings, content: str, is_older: bool
) -> None:
    path, older = tmp_path / "state.json", tmp_path / "borrowed.json"
    if is_older:
        older.write_text(content)
    else:
        path.write_text(f'{{"boot": "{boot_id()}", "settings": {content}}}')
    with pytest.raises(StorageError, match="damaged"):
        SavedSysctls(path, older).give_back()
    assert host == {}
