"""`status`: what the machine says at once, then what asking through the chain finds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NoReturn

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner

from privacy_router.cli import status_view as view
from privacy_router.cli.output import out
from privacy_router.daemon.local.status import Look, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from privacy_router.client.status import NodeStatus
    from privacy_router.daemon.local.in_force import Subject

_PERIOD_S: Final = 1.0
_ASKING: Final = "asking the chain, and a site behind it …"


def look(subject: Subject) -> NodeStatus:
    """The status, read once, with nothing shown meanwhile."""
    return Look.at(subject).asked()


def look_and_show(subject: Subject) -> NodeStatus:
    """The same, shown as it comes: a terminal is redrawn, another reader gets what is new."""
    found = Look.at(subject)
    before = found.known()
    if not found.is_there:
        view.show(before)
        return before
    if not _can_redraw():
        for part in view.parts(before, asking=True):
            out.print(part)
        now = found.asked()
        for part in view.outcome(before, now):
            out.print(part)
        return now
    with Live(_with_spinner(before), console=_screen()) as live:
        now = found.asked()
        live.update(Group(*view.parts(now)))
    return now


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
    watching = Watch(probe)
    if not _can_redraw():
        while True:
            view.show(watching.look(subject()))
            time.sleep(_PERIOD_S)
    with Live(console=_screen(), auto_refresh=False) as live:
        while True:
            live.update(Group(*view.parts(watching.look(subject()))), refresh=True)
            time.sleep(_PERIOD_S)
