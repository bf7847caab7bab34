"""`plugins.sessdecl`: sessions that may or may not be there."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from privacy_router.config.plugins.login1 import UserName
from privacy_router.config.sections import Section
from privacy_router.config.values import Expected, Flag, Identifier, Mode

Type = Annotated[
    Literal["tty", "x11", "wayland", "mir", "web", "unspecified", "graphical"],
    Expected("tty, x11, wayland, mir, web, unspecified, or graphical for x11, wayland and mir"),
]
Class = Annotated[
    Literal["user", "background", "greeter", "lock-screen", "manager"],
    Expected("user, background, greeter, lock-screen or manager"),
]
Pattern = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_./:*?-]+$"),
    Expected("a name such as tty1, or a pattern with '*' and '?' such as pts/*"),
]
_NOT_TO_END = frozenset({"greeter", "lock-screen", "manager"})


class SessionSelector(Section):
    """Which sessions are meant: those of which all of this is true."""

    user: UserName | None = Field(None, description="Whose they are.")
    kind: Type | None = Field(
        None, description="What loginctl calls the type; graphical is x11, wayland or mir."
    )
    tty: Pattern | None = Field(None, description="Terminal, such as tty1 or pts/*.")
    seat: Identifier | None = Field(None, description="Seat, such as seat0.")
    service: Pattern | None = Field(
        None, description="PAM service that made them, such as sshd, login or gdm-*."
    )
    remote: Flag | None = Field(None, description="Whether they come from another machine.")
    session_class: Class = Field(
        "user",
        description="What loginctl calls the class; greeters, lock screens and jobs are not user.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError(
                "expected", "at least one of user, kind, tty, seat, service, remote, session_class"
            )
        return self


class SessionConfig(Section):
    """A declared session."""

    name: Identifier = Field(description="Name of the declaration.")
    selector: SessionSelector = Field(description="Which sessions are meant.")
    state: Annotated[Literal["present", "absent"], Expected("present or absent")] = Field(
        description="Whether there has to be one. None can be made, so a missing one is reported."
    )
    mode: Mode = Field(
        "enforce", description="Whether sessions that should be absent are ended, or only reported."
    )
    force: Flag = Field(
        False, description="Whether even the session in which op-dbus itself runs may be ended."
    )

    @model_validator(mode="after")
    def _may_be_ended(self) -> Self:
        ends = self.state == "absent" and self.mode == "enforce"
        if ends and self.selector.session_class in _NOT_TO_END:
            raise PydanticCustomError(
                "expected",
                'mode "observe-only": a greeter comes back at once, ending a lock screen may'
                " unlock the seat, and a manager belongs to its user's other sessions",
            )
        return self


def _distinct(items: tuple[SessionConfig, ...]) -> tuple[SessionConfig, ...]:
    names = [item.name for item in items]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PydanticCustomError("expected", "names that differ; twice there: " + twice[0])
    return items


class SessdeclConfig(Section):
    """Declared sessions."""

    sessions: Annotated[
        tuple[SessionConfig, ...], Field(max_length=256), AfterValidator(_distinct)
    ] = Field((), description="Sessions that have to be there, or must not.")
