"""Which sessions a declaration means (pure).

The name of a resource holds the whole selector, `no-root user=root kind=tty`: so it can be read
from the machine by its name alone, and a declaration with another selector is another resource.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from privacy_router.config.plugins.sessdecl import SessionSelector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from privacy_router.config.plugins.sessdecl import SessionConfig
    from privacy_router.engine.model import Value
    from privacy_router.plugins.login1.logind import Session

_GRAPHICAL: Final = frozenset({"x11", "wayland", "mir"})
_CLASSES: Final = {  # the longer names are those of newer versions
    "user": frozenset({"user", "user-early", "user-light", "user-early-light"}),
    "background": frozenset({"background", "background-light"}),
    "manager": frozenset({"manager", "manager-early"}),
}


def resource_name(config: SessionConfig) -> str:
    """The name of a declaration's resource."""
    selector = config.selector.model_dump(exclude_defaults=True)
    words = (
        f"{key}={str(value).lower()}" if key == "remote" else f"{key}={value}"
        for key, value in selector.items()
    )
    return " ".join((config.name, *words))


def declared_name(name: str) -> str:
    """The declaration's own name."""
    return name.partition(" ")[0]


def selector_of(name: str) -> SessionSelector:
    """The selector in a resource's name."""
    words = dict(word.split("=", 1) for word in name.split(" ")[1:])
    remote = {"remote": words["remote"] == "true"} if "remote" in words else {}
    return SessionSelector.model_validate({"session_class": "user", **words, **remote})


def matching(selector: SessionSelector, sessions: Iterable[Session]) -> list[Session]:
    """The sessions that are meant, in their order."""
    return [session for session in sessions if _matches(selector, session)]


def _matches(wanted: SessionSelector, session: Session) -> bool:
    classes = _CLASSES.get(wanted.session_class, {wanted.session_class})
    kinds = _GRAPHICAL if wanted.kind == "graphical" else {wanted.kind}
    return (
        session.session_class in classes
        and wanted.user in (None, session.user)
        and wanted.seat in (None, session.seat)
        and wanted.remote in (None, session.remote)
        and (wanted.kind is None or session.type in kinds)
        and (wanted.tty is None or fnmatchcase(session.tty, wanted.tty))
        and (wanted.service is None or fnmatchcase(session.service, wanted.service))
    )


def observed_value(found: Iterable[Session]) -> Value:
    """What there is of a declaration's sessions. A user who logs out leaves a closing session
    until the last process has ended: no user is present in it, and it is there."""
    sessions = list(found)
    return {
        "present": any(session.state != "closing" for session in sessions),
        "sessions": [label(session) for session in sessions],
    }


def label(session: Session) -> str:
    """A session in a few words: its id, whose it is, where."""
    return f"{session.id} {session.user} {session.tty or session.service}"
