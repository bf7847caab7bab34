"""The rules of the relay, a hop in tests alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.hops.firewall import closed, passing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.values.network import Network
    from privacy_router.values.rulesets import Ruleset


def ruleset(port: str, senders: Sequence[Network]) -> Ruleset:
    """What comes in by the port goes out by it again, from or to a sender; nothing else."""
    return [*closed(), *passing(port, senders)]
