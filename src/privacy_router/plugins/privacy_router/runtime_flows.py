"""Flows that are added while the node is up, as if they stood in `openflow.additional_flows`.

They are kept in the run directory: they outlive a restart of the daemon, and go when the node is
taken down.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from privacy_router.config import ConfigError, PrivacyFlow, PrivacyRouterConfig, check
from privacy_router.errors import ConflictError, StorageError
from privacy_router.host.files import read_bounded, write_private
from privacy_router.node.made import is_there, note_made

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_MOST: Final = 256
_FILE_LIMIT_BYTES: Final = 4 * 1024 * 1024


class RuntimeFlows:
    """The flows in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> tuple[PrivacyFlow, ...]:
        """Those that were added. Raises StorageError, MissingFileError when they were lost."""
        if not is_there(self._path):
            return ()
        try:
            rows = json.loads(read_bounded(self._path, _FILE_LIMIT_BYTES))
            return tuple(PrivacyFlow.model_validate(row) for row in rows)
        except (ValueError, TypeError, RecursionError) as error:
            raise StorageError(
                f"the flows that were added at run time ({self._path}) are damaged",
                remedy="write [] into it to have none, and add them again",
            ) from error

    def write(self, flows: Sequence[PrivacyFlow]) -> None:
        """Keep these and no others. Raises StorageError."""
        rows = [flow.model_dump(mode="json") for flow in flows]
        write_private(self._path, json.dumps(rows).encode())
        note_made(self._path)

    def with_flow(self, flow: PrivacyFlow) -> list[PrivacyFlow]:
        """Those that there are, and this one in place of one for the same packets.

        Raises ConflictError when there are too many.
        """
        kept = [one for one in self.all() if _place(one) != _place(flow)]
        if len(kept) >= _MOST:
            raise ConflictError(
                f"there are {_MOST} flows that were added at run time already",
                remedy="delete some, or write them into openflow.additional_flows",
            )
        return [*kept, flow]

    def without(self, priority: int, match: Mapping[str, str]) -> list[PrivacyFlow]:
        """Those that there are but one. Raises ConflictError when that was not added here."""
        before = self.all()
        place = (priority, dict(match))
        kept = [one for one in before if _place(one) != place]
        if len(kept) == len(before):
            raise ConflictError(
                f"no flow with priority {priority} and that match was added at run time",
                remedy="flows of the configuration are changed there; `Added` lists the others",
            )
        return kept


def _place(flow: PrivacyFlow) -> tuple[int, dict[str, str]]:
    return (flow.priority, {name: str(value) for name, value in flow.match_fields.items()})


def with_flows(config: PrivacyRouterConfig, flows: Sequence[PrivacyFlow]) -> PrivacyRouterConfig:
    """The configuration with these flows behind its own. Raises ConfigError."""
    if not flows:
        return config
    joined_flows = (*config.openflow.additional_flows, *flows)
    openflow = config.openflow.model_copy(update={"additional_flows": joined_flows})
    joined = config.model_copy(update={"openflow": openflow})
    problems = check(joined)
    if problems:
        raise ConfigError("the flow", problems)
    return joined
