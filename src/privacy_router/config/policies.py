"""The small language of flow policies: selectors of ports, and placeholders in templates.

A selector is `container:*`, `container:200`, `container:100-199` (both ends belong to it) or
`port:` with a pattern of port names in which `*` stands for any characters and `?` for one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

CONTAINER_ID_MIN = 100
CONTAINER_ID_MAX = 999_999_999

PLACEHOLDERS = ("container_id", "port_name", "bridge")
PORT_NAME_PLACEHOLDER = "{port_name}"

_IDS = re.compile(r"container:(?:\*|([1-9][0-9]{0,8})(?:-([1-9][0-9]{0,8}))?)")
_PORTS = re.compile(r"port:([!-~]+)")
_BRACES = re.compile(r"\{([^{}]*)\}?|\}")


@dataclass(frozen=True)
class ContainerIds:
    """Selects the ports of containers by their id, `first` to `last`."""

    first: int
    last: int


@dataclass(frozen=True)
class PortNames:
    """Selects ports by their name."""

    pattern: str

    def matches(self, name: str) -> bool:
        """Whether the whole name is as the pattern says, in the same letters."""
        return _regex(self.pattern).fullmatch(name) is not None


@lru_cache(maxsize=4096)
def parse_selector(text: str) -> ContainerIds | PortNames:
    """Read a selector; raises ValueError for anything else."""
    if ports := _PORTS.fullmatch(text):
        return PortNames(ports.group(1))
    ids = _IDS.fullmatch(text)
    if ids is None:
        raise ValueError("not a selector")
    if ids.group(1) is None:
        return ContainerIds(CONTAINER_ID_MIN, CONTAINER_ID_MAX)
    first = int(ids.group(1))
    last = int(ids.group(2) or first)
    if not CONTAINER_ID_MIN <= first <= last:
        raise ValueError("not ids of containers in ascending order")
    return ContainerIds(first, last)


@lru_cache(maxsize=4096)
def _regex(pattern: str) -> re.Pattern[str]:
    # Not fnmatch: a bracket is a character that port names may have.
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(c) or re.escape(c) for c in re.sub(r"\*+", "*", pattern)))


def unknown_placeholders(text: str) -> tuple[str, ...]:
    """What stands in braces in a text of a template and is none of the placeholders."""
    known = {f"{{{name}}}" for name in PLACEHOLDERS}
    return tuple(found.group() for found in _BRACES.finditer(text) if found.group() not in known)
