"""What was refused, failed or undone stays rejected; what failed for a passing reason does not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.engine.clock import Clock
from privacy_router.engine.considered import (
    REMEMBERED,
    Ledger,
    Rejection,
    Standing,
    ended,
    with_rejection,
)
from privacy_router.engine.document import Source
from privacy_router.engine.errors import OverruledError
from privacy_router.errors import PrivacyRouterError, RemoteServiceError
from tests.engine.file_plugin import FilePlugin, machine, make_engine, make_plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.engine.engine import Engine

A = Source(json.dumps({"one": {"a": {"text": "1"}}}))
B = Source(json.dumps({"one": {"a": {"text": "2"}}, "three": {"b": {"text": "2"}}}))


async def standing(engine: Engine, source: Source) -> Standing:
    return engine.journal.ledger().standing(await engine.mark_of(source))


async def reason(engine: Engine, source: Source) -> str:
    rejection = engine.journal.ledger().rejection(await engine.mark_of(source))
    assert rejection is not None
    return f"{rejection.verb}: {rejection.reason}"


def last(engine: Engine) -> FilePlugin:
    found = engine.plugins["three"]
    assert isinstance(found, FilePlugin)
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_is_applied_is_kept_and_what_was_before_is_no_news(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    assert await standing(engine, A) is Standing.NEW
    await engine.apply(A)
    assert await standing(engine, A) is Standing.KEPT
    engine.journal.note_file(await engine.mark_of(A))
    await engine.apply(B)
    assert await standing(engine, B) is Standing.KEPT
    assert await standing(engine, A) is Standing.OVERRULED
    engine.journal.note_file(await engine.mark_of(B))
    assert await standing(engine, A) is Standing.NEW, "the file was B, and is A again"


async def test_what_is_not_confirmed_is_rejected_until_it_is_asked_for(tmp_path: Path) -> None:
    now_s = 1000.0
    engine = make_engine(tmp_path, clock=Clock("this boot", lambda: now_s))
    await engine.apply(A)
    await engine.apply(B, 60)
    assert await standing(engine, B) is Standing.OPEN
    now_s += 61
    await until(lambda: engine.journal.open_run() is None)
    assert await standing(engine, B) is Standing.REJECTED
    assert await reason(engine, B) == "undone: it was not confirmed in time"
    await engine.apply(B)
    assert await standing(engine, B) is Standing.KEPT
    assert not engine.journal.ledger().rejections
    assert machine(tmp_path) == {"one/a": "2", "three/b": "2"}


async def test_what_is_confirmed_is_kept(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(A)
    await engine.apply(B, 60)
    await engine.confirm()
    assert await standing(engine, B) is Standing.KEPT


async def test_what_is_rolled_back_by_hand_is_rejected(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(A)
    await engine.apply(B, 60)
    await engine.roll_back()
    assert await reason(engine, B) == "undone: rolled back"
    assert await standing(engine, A) is Standing.KEPT


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise", "undone: three broke"),
        ("do nothing", "undone: "),
        ("refuse", "refused: three refuses"),
    ],
)
async def test_what_fails_is_rejected(tmp_path: Path, fault: str, told: str) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(A)
    last(engine).fault = fault
    with pytest.raises(PrivacyRouterError):
        await engine.apply(B)
    assert (await reason(engine, B)).startswith(told)
    last(engine).fault = ""
    await engine.apply(B)
    assert await standing(engine, B) is Standing.KEPT


async def test_what_is_no_document_is_rejected(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    engine._parse = Source.sections
    broken = Source("{")
    with pytest.raises(PrivacyRouterError):
        await engine.apply(broken)
    assert (await reason(engine, broken)).startswith("refused: ")


@pytest.mark.parametrize("boot", ["this boot", "another boot"])
async def test_what_was_cut_short_is_rejected(tmp_path: Path, boot: str) -> None:
    """The journal has what a machine that went down in the middle of a run leaves in it."""
    engine = make_engine(tmp_path, clock=Clock("this boot", lambda: 0.0))
    await engine.apply(A)
    last(engine).fault = "no way back"
    await engine.apply(B, 60)
    engine.journal.await_confirmation(2, "a boot that is over", 0.0)
    await engine.close()
    after = make_engine(tmp_path, clock=Clock(boot, lambda: 0.0))
    assert await after.recover() is True
    assert await reason(after, B) == "undone: cut short"
    assert await standing(after, A) is Standing.KEPT


async def test_what_does_not_go_back_is_not_applied_either(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(A)
    await engine.apply(B, 60)
    last(engine).fault = "no way back"
    with pytest.raises(PrivacyRouterError):
        await engine.roll_back()
    assert await standing(engine, B) is Standing.OPEN
    last(engine).fault = ""
    await engine.retry()
    assert await standing(engine, B) is Standing.REJECTED


async def test_the_document_that_is_kept_stays_so_when_applying_it_again_fails(
    tmp_path: Path,
) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(B)
    (tmp_path / "three" / "b").write_text("drifted")
    for fault in ("raise", "refuse"):
        last(engine).fault = fault
        with pytest.raises(PrivacyRouterError):
            await engine.apply(B)
        assert await standing(engine, B) is Standing.KEPT
        assert not engine.journal.ledger().rejections


class Unreachable(FilePlugin):
    """Prepares itself by a service that may not answer."""

    answers = False

    async def prepare(self, section: Any) -> None:
        if not self.answers:
            raise RemoteServiceError("the service cannot be reached", retryable=True)


def with_service(root: Path) -> tuple[Engine, Unreachable]:
    one, two, _ = make_plugins(root)
    service = Unreachable("three", root / "three", "two")
    return make_engine(root, [one, two, service]), service


async def test_what_cannot_be_tried_yet_was_not_considered(tmp_path: Path) -> None:
    engine, service = with_service(tmp_path)
    with pytest.raises(RemoteServiceError):
        await engine.apply(B)
    assert await standing(engine, B) is Standing.NEW
    service.answers, service.reason = True, "its service does not run yet"
    with pytest.raises(PrivacyRouterError, match="does not run yet"):
        await engine.apply(B)
    assert await standing(engine, B) is Standing.NEW


async def test_who_asked_for_a_way_back_is_not_applied_for_later(tmp_path: Path) -> None:
    engine, _ = with_service(tmp_path)
    with pytest.raises(RemoteServiceError):
        await engine.apply(B, 60)
    assert await reason(engine, B) == "refused: the service cannot be reached"


async def test_what_was_given_up_by_a_daemon_that_ends_is_no_fault_of_the_document(
    tmp_path: Path,
) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(A)
    last(engine).fault = "hang"
    applying = asyncio.create_task(engine.apply(B))
    await until(lambda: (tmp_path / "one" / "a").read_text() == "2")
    applying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await applying
    assert machine(tmp_path) == {"one/a": "1"}
    assert await standing(engine, B) is Standing.NEW


async def test_a_patient_caller_has_what_may_pass_decided_later(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(A)
    last(engine).timeout_s = 0.1  # type: ignore[misc]
    for is_patient, expected in ((True, Standing.NEW), (False, Standing.REJECTED)):
        last(engine).fault = "hang"
        with pytest.raises(PrivacyRouterError):
            await engine.apply(B, is_patient=is_patient)
        assert await standing(engine, B) is expected
        assert machine(tmp_path) == {"one/a": "1"}


async def test_what_is_not_wanted_any_more_is_not_applied(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    with pytest.raises(OverruledError):
        await engine.apply(B, wanted=lambda: False)
    assert machine(tmp_path) == {}
    assert await standing(engine, B) is Standing.NEW


# --- marks ----------------------------------------------------------------------------------------


def naming(path: Path) -> Source:
    return Source(json.dumps({"path": str(path)}), str(path.parent))


def parse(source: Source) -> Any:
    return {"section": {"deep": [(Path(json.loads(source.text)["path"]),)]}}


def test_another_content_of_a_file_that_it_names_makes_another_document(tmp_path: Path) -> None:
    profile = tmp_path / "profile.conf"
    marks = [naming(profile).mark(parse)]
    for content in ("one", "two"):
        profile.write_text(content)
        marks.append(naming(profile).mark(parse))
    assert len(set(marks)) == 3
    profile.write_text("one")
    assert naming(profile).mark(parse) == marks[1]


def test_the_configuration_names_the_profile_and_the_key(tmp_path: Path) -> None:
    """As `warp.wgcf_config` and `wireguard.private_key_file`, relative to the document."""
    section = {
        "wireguard": {"private_key_file": "gateway.key", "zero_config": False},
        "warp": {"wgcf_config": "w.conf"},
    }
    text = json.dumps({"version": 1, "plugins": {"privacy_router": section}})
    source = Source(text, str(tmp_path))
    marks = {source.mark(Source.sections)}
    for name in ("gateway.key", "w.conf"):
        (tmp_path / name).write_text("secret")
        marks.add(source.mark(Source.sections))
    assert len(marks) == 3
    assert not any("secret" in mark for mark in marks)


def test_the_directory_alone_makes_no_other_document(tmp_path: Path) -> None:
    """As of the same text over D-Bus, where a caller names any directory."""
    text = json.dumps({"version": 1, "plugins": {"privacy_router": {}}})
    assert Source(text, "/").mark(Source.sections) == Source(text, "/etc").mark(Source.sections)
    (tmp_path / "w.conf").write_text("profile")
    named = text.replace("{}", '{"warp": {"wgcf_config": "w.conf"}}')
    here, there = Source(named, str(tmp_path)), Source(named, "/nowhere")
    assert here.mark(Source.sections) != there.mark(Source.sections)


texts = st.text(max_size=8)


@given(st.lists(st.builds(Rejection, texts, st.floats(0, 9), texts, st.integers(0, 9))), texts)
def test_the_newest_rejections_are_remembered_one_a_document(
    many: list[Rejection], mark: str
) -> None:
    known: list[Rejection] = []
    for one in many:
        known = with_rejection(known, one)
    assert len(known) == len({one.mark for one in known}) <= REMEMBERED
    if many:
        assert known[-1] == many[-1]
    if mark not in {one.mark for one in known}:
        assert Ledger(None, known, None).standing(mark) is Standing.NEW
    assert Ledger(mark, known, None).standing(mark) is Standing.KEPT


async def test_whether_the_files_say_what_was_applied(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "machine")
    assert await engine.is_as_applied(), "nothing was applied yet"
    await engine.apply(A)
    assert await engine.is_as_applied()
    last(engine).fault = "raise"
    with pytest.raises(PrivacyRouterError):
        await engine.apply(B)
    assert await engine.is_as_applied(), "what was before is there again"
    engine.source = B
    assert not await engine.is_as_applied()


async def test_another_content_of_a_file_that_it_names_is_noted_without_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(A)

    async def mark_of(_: Source) -> str:
        return "another content"

    monkeypatch.setattr(engine, "mark_of", mark_of)
    monkeypatch.setattr(engine.journal, "adopt", None)  # the document itself is not written again
    assert not await engine.is_as_applied()
    assert (await engine.apply(A)).number == 0
    assert await engine.is_as_applied()
    writes = engine.journal.writes
    await engine.apply(A)
    assert engine.journal.writes == writes


def test_what_is_accepted_is_rejected_no_more_and_written_once(tmp_path: Path) -> None:
    journal = make_engine(tmp_path).journal
    journal.refuse("a mark", "it broke")
    assert journal.ledger().rejection("a mark") is not None
    journal.accept("a mark")
    assert (journal.ledger().kept, journal.ledger().rejection("a mark")) == ("a mark", None)
    writes = journal.writes
    journal.accept("a mark")
    assert journal.writes == writes


async def test_a_document_in_other_words_is_noted_without_a_run(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    await engine.apply(A)
    other = Source(json.dumps(json.loads(A.text), indent=1))
    assert (await engine.apply(other)).number == 0
    assert engine.journal.source() == other
    assert await standing(engine, other) is Standing.KEPT


def test_what_was_undone_without_a_reason_says_that_it_was() -> None:
    rejection = Rejection("a mark", 1.0, "", 7)
    assert ended(rejection, 2.0, "") == Rejection("a mark", 2.0, "undone", 7)
    assert ended(rejection, 2.0, "it broke").reason == "it broke"
