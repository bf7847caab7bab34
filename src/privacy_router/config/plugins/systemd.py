"""`plugins.systemd`: units, their files and properties."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from privacy_router.config.plugins.systemd_properties import UnitProperties
from privacy_router.config.sections import Section
from privacy_router.config.values import Expected, Flag, Mode

_ITEMS_MAX: Final = 4096
_TEXT_MAX_CHARS: Final = 1024 * 1024
_STEM: Final = r"[A-Za-z0-9:_\\-][A-Za-z0-9:_.\\@-]*"
_TYPES: Final = "service|socket|device|mount|automount|swap|target|path|timer|slice|scope"
_SECTION_HEADER: Final = re.compile(r"^\[[A-Za-z][A-Za-z0-9-]*\]\s*$", re.MULTILINE)


def _unit_text(text: str) -> str:
    if "\0" in text or not _SECTION_HEADER.search(text):
        raise ValueError("not a unit file")
    return text


UnitName = Annotated[
    str,
    StringConstraints(strict=True, max_length=255, pattern=rf"^{_STEM}\.({_TYPES})$"),
    Expected(
        "the name of a unit with its type, such as nginx.service or getty@tty2.service: at most 255"
        " letters, digits, ':', '-', '_', '.', '@' or '\\', the first neither '.' nor '@'"
    ),
]
DropInName = Annotated[
    str,
    StringConstraints(
        strict=True,
        max_length=500,
        pattern=rf"^{_STEM}\.({_TYPES})/[A-Za-z0-9_][A-Za-z0-9_.@-]{{0,200}}\.conf$",
    ),
    Expected("a unit and the name of a drop-in for it, such as nginx.service/10-limits.conf"),
]
UnitText = Annotated[
    str,
    StringConstraints(strict=True, max_length=_TEXT_MAX_CHARS),
    AfterValidator(_unit_text),
    Expected("the text of a unit file, with a section such as [Service], or null for no such file"),
]


class UnitFile(Section):
    """A unit file, or a drop-in."""

    content: UnitText | None = Field(
        description="Its text; null when there must be no such file below /etc/systemd/system."
    )
    mode: Mode = Field("enforce", description="Whether it is kept so, or only reported.")


class UnitConfig(Section):
    """A unit of the service manager; what is null is left alone."""

    active: Flag | None = Field(None, description="Whether it runs.")
    enabled: Flag | None = Field(
        None, description="Whether its [Install] section is in force, for the next boot."
    )
    masked: Flag | None = Field(None, description="Whether nothing can start it.")
    properties: UnitProperties = Field(
        UnitProperties(), description="Properties that are set while it runs."
    )
    restart_on_change: Flag = Field(
        True, description="Whether it is restarted, if it is active, when its files here change."
    )
    mode: Mode = Field("enforce", description="Whether it is kept so, or only reported.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.masked and (self.active or self.enabled):
            raise PydanticCustomError(
                "expected", "masked false where active or enabled is true: it rules both out"
            )
        states = (self.active, self.enabled, self.masked)
        if all(state is None for state in states) and not self.properties.declared():
            raise PydanticCustomError(
                "expected", "at least one of active, enabled, masked, properties"
            )
        return self


class SystemdConfig(Section):
    """Units of the service manager."""

    files: Annotated[dict[UnitName, UnitFile], Field(max_length=_ITEMS_MAX)] = Field(
        {}, description="Unit files below /etc/systemd/system, by unit."
    )
    drop_ins: Annotated[dict[DropInName, UnitFile], Field(max_length=_ITEMS_MAX)] = Field(
        {}, description="Drop-ins below /etc/systemd/system, by unit and name."
    )
    units: Annotated[dict[UnitName, UnitConfig], Field(max_length=_ITEMS_MAX)] = Field(
        {}, description="Units, by name."
    )
