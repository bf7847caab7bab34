"""The node's status with what asking the outside finds, read in the caller's own process."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.daemon.local.in_force import Subject, subject_of
from privacy_router.node.evidence import FRESH_S
from privacy_router.node.machine import require_root
from privacy_router.node.outside import NOT_ASKED
from privacy_router.node.status import ask_chain, ask_sites, read_local, status_of, told_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.client.status import NodeStatus
    from privacy_router.node.health import Told
    from privacy_router.node.outside import Outside
    from privacy_router.node.status import Local

__all__ = ["Look", "Watch", "require_root", "subject_of"]

_ASK_EVERY_S: Final = 30.0


@dataclass(frozen=True)
class Look:
    """The machine at one moment, and what is found by asking from then on."""

    subject: Subject
    local: Local

    @classmethod
    def at(cls, subject: Subject) -> Look:
        """What the machine says now. Raises what reading it does."""
        return cls(subject, read_local(subject.config))

    @property
    def is_there(self) -> bool:
        """Whether there is anything of a node."""
        return self.local.is_there

    def known(self) -> NodeStatus:
        """The status, before anything is asked."""
        return status_of(self.local, told_of(self.local), NOT_ASKED, self.subject.kept)

    def asked(self) -> NodeStatus:
        """The status after what takes a moment: the chain and a site are asked, and a controller
        that says nothing has the counters read twice."""
        told = ask_chain(self.local, may_ask=True)
        return status_of(self.local, told, ask_sites(self.local, told), self.subject.kept)


class Watch:
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
