"""The rules of the relay, a hop in tests alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.hops.firewall import ACCEPT, came_in_by, closed, from_, goes_out_by, rule, to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.values.network import Network
    from privacy_router.values.rulesets import Ruleset


def ruleset(port: str, senders: Sequence[Network]) -> Ruleset:
    """What comes in by the port goes out by it again, from or to a sender; nothing else."""
    through = [came_in_by(port), goes_out_by(port)]
    rules = closed()
    for network in senders:
        rules += [
            rule("forward", *through, from_(network), ACCEPT),
            rule("forward", *through, to(network), ACCEPT),
        ]
    return rules
