"""`status`: what the machine says at once, then what asking through the chain finds."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, NoReturn

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner

from privacy_router.cli import status_view as view
from privacy_router.cli.output import out
from privacy_router.node.evidence import FRESH_S
from privacy_router.node.outside import NOT_ASKED
from privacy_router.node.status import ask_chain, ask_sites, read_local, status_of, told_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from privacy_router.client.status import NodeStatus
    from privacy_router.daemon.in_force import Subject
    from privacy_router.node.health import Told
    from privacy_router.node.outside import Outside
    from privacy_router.node.status import Local

_PERIOD_S: Final = 1.0
_ASK_EVERY_S: Final = 30.0
_ASKING: Final = "asking the chain, and a site behind it …"


def look(subject: Subject) -> NodeStatus:
    """The status, read once, with nothing shown meanwhile."""
    return _found_out(subject, read_local(subject.config))


def look_and_show(subject: Subject) -> NodeStatus:
    """The same, shown as it comes: a terminal is redrawn, another reader gets what is new."""
    local = read_local(subject.config)
    told = told_of(local)
    before = status_of(local, told, NOT_ASKED, subject.kept)
    if not local.is_there:
        view.show(before)
        return before
    if not _can_redraw():
        for part in view.parts(before, asking=True):
            out.print(part)
        now = _found_out(subject, local)
        for part in view.outcome(before, now):
            out.print(part)
        return now
    with Live(_with_spinner(before), console=_screen()) as live:
        now = _found_out(subject, local)
        live.update(Group(*view.parts(now)))
    return now


def _found_out(subject: Subject, local: Local) -> NodeStatus:
    """What takes a moment: the chain and a site are asked, and a controller that says nothing has
    the counters read twice."""
    told = ask_chain(local, may_ask=True)
    return status_of(local, told, ask_sites(local, told), subject.kept)


def _can_redraw() -> bool:
    return out.is_terminal and not out.is_dumb_terminal


def _screen() -> Console:
    """The terminal, where lines are wrapped by us: what is redrawn has to be counted in lines."""
    return Console(highlight=False)


def _with_spinner(status: NodeStatus) -> RenderableType:
    return Group(*view.parts(status), Spinner("dots", _ASKING))


# --- watching ------------------------------------------------------------------------------------


def watch(subject: Callable[[], Subject], *, probe: bool) -> NoReturn:
    """Show it anew each second until interrupted. The outside is asked twice a minute, beside."""
    watching = _Watch(probe)
    if not _can_redraw():
        while True:
            view.show(watching.look(subject()))
            time.sleep(_PERIOD_S)
    with Live(console=_screen(), auto_refresh=False) as live:
        while True:
            live.update(Group(*view.parts(watching.look(subject()))), refresh=True)
            time.sleep(_PERIOD_S)


class _Watch:
    """What was found out by asking, which goes on while the machine is looked at."""

    def __init__(self, probe: bool) -> None:
        self._probe = probe
        self._asked_s = float("-inf")
        self._answered_s = float("-inf")
        self._asking: Future[tuple[Told, Outside]] | None = None
        self._told: Told | None = None
        self._outside = NOT_ASKED

    def look(self, subject: Subject) -> NodeStatus:
        """The status now, with the last answers. Raises what asking did."""
        local = read_local(subject.config)
        now_s = time.monotonic()
        if self._asking is not None and self._asking.done():
            self._told, self._outside = self._asking.result()
            self._asking, self._answered_s = None, now_s
        if self._probe and self._asking is None and now_s - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = now_s
            self._asking = _begin(lambda: _answers(local))
        told = told_of(local)
        if not told.proven and self._told is not None and now_s - self._answered_s <= FRESH_S:
            told = self._told  # the controller was not told of this answer
        return status_of(local, told, self._outside, subject.kept)


def _answers(local: Local) -> tuple[Told, Outside]:
    told = ask_chain(local, may_ask=True)
    return told, ask_sites(local, told)


def _begin(work: Callable[[], tuple[Told, Outside]]) -> Future[tuple[Told, Outside]]:
    """Do it in a thread that the end of the program does not wait for."""
    future: Future[tuple[Told, Outside]] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # handed to the thread that shows the status
            future.set_exception(error)

    threading.Thread(target=run, name="asking", daemon=True).start()
    return future
