"""What the text of a unit file says, as far as it decides what can be done with the unit (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TRUE: Final = frozenset({"1", "yes", "y", "true", "t", "on"})
_INSTALLS: Final = frozenset({"WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also"})


def settings(text: str) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of each assignment; systemd.syntax(7)."""
    section = ""
    for line in _lines(text):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            yield section, key.strip(), value.strip()


def _lines(text: str) -> Iterator[str]:
    """Lines without comments, with those joined that end in a backslash."""
    pending = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith(("#", ";")):
            continue
        if line.endswith("\\"):
            pending += line[:-1] + " "
        elif pending or line:
            yield (pending + line).strip()
            pending = ""
    if pending:
        yield pending.strip()


def can_be_enabled(text: str) -> bool:
    """Whether there is anything in [Install] that enabling would do."""
    return any(
        section == "Install" and key in _INSTALLS and value
        for section, key, value in settings(text)
    )


def also(texts: Iterable[str]) -> set[str]:
    """The units that are enabled and disabled together with the one of these texts."""
    return {
        name
        for text in texts
        for section, key, value in settings(text)
        if section == "Install" and key == "Also"
        for name in value.split()
    }


def runs_once(text: str) -> bool:
    """Whether the service is over after its work, so that it never stays active."""
    found = {key: value for section, key, value in settings(text) if section == "Service"}
    stays = found.get("RemainAfterExit", "no").lower() in _TRUE
    return found.get("Type") == "oneshot" and not stays
