"""The plugin sessdecl without sessions: its section, what it selects, what it may enforce."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from privacy_router.config.plugins.sessdecl import (
    SessdeclConfig,
    SessionConfig,
    SessionSelector,
)
from privacy_router.config.validation import validate
from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Capability, Desired, Mode, Observed, Resource
from privacy_router.host.dbus import Bus, DBusCallError, Remote
from privacy_router.plugins.login1.logind import NAME, Session
from privacy_router.plugins.sessdecl import SessdeclPlugin
from privacy_router.plugins.sessdecl.check import own_sessions, refuse_own
from privacy_router.plugins.sessdecl.selector import (
    declared_name,
    matching,
    observed_value,
    resource_name,
    selector_of,
)
from privacy_router.plugins.target import Machine

ALICE = Session(
    id="3",
    user="alice",
    uid=1000,
    seat="seat0",
    tty="tty2",
    type="wayland",
    session_class="user",
    service="gdm-password",
    remote=False,
    remote_host="",
    state="active",
    leader=812,
)
ROOT = replace(
    ALICE,
    id="12",
    user="root",
    uid=0,
    seat="",
    tty="pts/0",
    type="tty",
    service="sshd",
    remote=True,
)
GREETER = replace(ALICE, id="c1", user="gdm", tty="tty1", session_class="greeter")
JOB = replace(ALICE, id="c4", tty="", seat="", service="cron", session_class="background")
SESSIONS = [ALICE, ROOT, GREETER, JOB]


@pytest.fixture
def plugin() -> SessdeclPlugin:
    return SessdeclPlugin(Machine(Bus(None)))


def one(**words: Any) -> dict[str, Any]:
    return {"name": "one", "state": "absent", "selector": {"user": "alice"}} | words


def declared(plugin: SessdeclPlugin, *sessions: dict[str, Any]) -> Desired:
    return plugin.declare(SessdeclConfig.model_validate({"sessions": sessions}))


# --- the section ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "path", "expected"),
    [
        ([one(selector={})], "[0].selector", "at least one of user, kind"),
        ([one(selector={"kind": "x12"})], "[0].selector.kind", "graphical for x11"),
        ([one(selector={"tty": "a b"})], "[0].selector.tty", "such as pts/*"),
        ([one(selector={"user": "0"})], "[0].selector.user", "the name of a user"),
        ([one(selector={"remote": "no"})], "[0].selector.remote", "true or false"),
        ([one(state="gone")], "[0].state", "present or absent"),
        ([one(), one()], "", "names that differ"),
        ([one(selector={"session_class": "lock-screen"})], "[0]", 'mode "observe-only"'),
        ([one(selector={"session_class": "greeter"})], "[0]", 'mode "observe-only"'),
        ([one(selector={"session_class": "manager"})], "[0]", 'mode "observe-only"'),
    ],
)
def test_one_good_sentence_for_each_mistake(
    section: list[dict[str, Any]], path: str, expected: str
) -> None:
    _, problems, _ = validate({"version": 1, "plugins": {"sessdecl": {"sessions": section}}})
    assert [problem.path for problem in problems] == [f"plugins.sessdecl.sessions{path}"]
    assert expected in problems[0].expected


@pytest.mark.parametrize(
    "words", [{"state": "present"}, {"mode": "observe-only"}, {"selector": {"tty": "tty1"}}]
)
def test_what_is_not_to_be_ended_may_be_looked_at(words: dict[str, Any]) -> None:
    SessionConfig.model_validate(one(**{"selector": {"session_class": "greeter"}} | words))


# --- selecting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "ids"),
    [
        ({"user": "alice"}, ["3"]),
        ({"user": "bob"}, []),
        ({"kind": "graphical"}, ["3"]),
        ({"kind": "tty"}, ["12"]),
        ({"kind": "tty", "user": "alice"}, []),
        ({"tty": "tty2"}, ["3"]),
        ({"tty": "tty"}, []),
        ({"tty": "*"}, ["3", "12"]),
        ({"tty": "pts/?"}, ["12"]),
        ({"seat": "seat0"}, ["3"]),
        ({"service": "gdm-*"}, ["3"]),
        ({"remote": True}, ["12"]),
        ({"remote": False}, ["3"]),
        ({"session_class": "user"}, ["3", "12"]),
        ({"session_class": "greeter"}, ["c1"]),
        ({"session_class": "background", "service": "cron"}, ["c4"]),
    ],
)
def test_a_session_is_meant_when_all_of_it_is_true(
    selector: dict[str, Any], ids: list[str]
) -> None:
    found = matching(SessionSelector.model_validate(selector), SESSIONS)
    assert [session.id for session in found] == ids


@pytest.mark.parametrize("name", ["user-early", "user-light", "user"])
def test_the_classes_of_newer_versions_count_as_the_old_ones(name: str) -> None:
    newer = replace(ALICE, session_class=name)
    assert matching(SessionSelector(user="alice"), [newer]) == [newer]


@pytest.mark.parametrize(
    ("selector", "name"),
    [
        ({"user": "root", "kind": "tty"}, "one user=root kind=tty"),
        ({"kind": "tty", "user": "root"}, "one user=root kind=tty"),
        ({"tty": "pts/*", "remote": True}, "one tty=pts/* remote=true"),
        ({"remote": False, "service": "s?hd"}, "one service=s?hd remote=false"),
        ({"seat": "seat0", "session_class": "greeter"}, "one seat=seat0 session_class=greeter"),
        ({"session_class": "user"}, "one"),
    ],
)
def test_a_name_says_what_is_selected(selector: dict[str, Any], name: str) -> None:
    words = one(selector=selector, state="present")
    config = SessionConfig.model_validate(words)
    assert resource_name(config) == name
    assert selector_of(name) == config.selector
    assert declared_name(name) == "one"


def test_a_closing_session_is_there_with_nobody_in_it() -> None:
    assert observed_value([]) == {"present": False, "sessions": []}
    closing = replace(ROOT, state="closing")
    assert observed_value([closing]) == {"present": False, "sessions": ["12 root pts/0"]}
    assert observed_value([JOB, closing]) == {
        "present": True,
        "sessions": ["c4 alice cron", "12 root pts/0"],
    }


# --- what may be enforced ------------------------------------------------------------------------


def test_presence_is_only_observed(plugin: SessdeclPlugin) -> None:
    desired = declared(plugin, one(state="present", mode="enforce"))
    (resource,) = desired.resources.values()
    assert resource == Resource({"present": True}, Mode.OBSERVE_ONLY)


def test_only_absence_is_enforced(plugin: SessdeclPlugin) -> None:
    key = plugin.key("session", "one user=alice")
    nobody = Observed({key: observed_value([])})
    before = Desired({key: Resource({"sessions": ["3 alice tty2"]})})
    assert [change.mode for change in plugin.diff(before, nobody)] == [Mode.OBSERVE_ONLY]
    (change,) = plugin.diff(declared(plugin, one()), Observed({key: observed_value([ALICE])}))
    assert (change.mode, change.after) == (Mode.ENFORCE, {"sessions": []})


def test_a_declaration_that_is_given_back_changes_nothing(plugin: SessdeclPlugin) -> None:
    key = plugin.key("session", "one user=alice")
    nothing = plugin.declare(None)
    given_back = Desired({key: Resource({"sessions": ["3 alice tty2"]})}, nothing.payload)
    assert plugin.diff(given_back, Observed({key: observed_value([])})) == []


def test_what_is_ended_cannot_be_undone(plugin: SessdeclPlugin) -> None:
    assert plugin.capabilities == set(Capability) - {Capability.ROLLBACK}


# --- the sessions that are spared -----------------------------------------------------------------


class LoginManager:
    """Knows one process of each session; no user has a graphical one."""

    def __init__(self, processes: dict[int, str]) -> None:
        self.processes = processes

    async def call(self, remote: Remote, member: str, signature: str, *body: Any) -> tuple[str]:
        if member == "GetSessionByPID" and body[0] in self.processes:
            return (self.processes[body[0]],)
        raise DBusCallError(f"{NAME}.NoSessionForPID", "none")

    async def get(self, remote: Remote, name: str) -> str:
        return remote.path


async def test_the_session_of_the_caller_is_spared(plugin: SessdeclPlugin) -> None:
    caller = 2**22 + 1  # no such process: more than a kernel gives out
    bus: Any = LoginManager({caller: ALICE.id, os.getpid(): "7"})
    assert await own_sessions(bus, caller) >= {ALICE.id, "7"}
    assert ALICE.id not in await own_sessions(bus, None)
    (change,) = plugin.diff(
        desired := declared(plugin, one()),
        Observed({plugin.key("session", "one user=alice"): observed_value([ALICE])}),
    )
    with pytest.raises(RefusedError, match="means session 3 alice tty2"):
        refuse_own(desired, change, [ALICE], await own_sessions(bus, caller))
