"""Bring a node from what it is to what it should be; a change of the chain behind a closed tunnel.

One rule: read everything back, take the difference, apply the difference, read again. While the
state that is to be kept was not read back whole yet, the old chain's flows may still be in force,
so that what belongs to the chain is changed with the tunnel closed: one atomic bundle drops what
any hop sends, the datapath forgets what it remembered of the old flows, the items are changed and
read back, and one atomic bundle opens the tunnel. If anything fails in between, it stays closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from privacy_router.errors import PrivacyRouterError, VerificationError
from privacy_router.host.threads import in_thread
from privacy_router.node import remembered
from privacy_router.node.apply import Applier
from privacy_router.node.kinds.session import ApplyError
from privacy_router.node.observe import observe
from privacy_router.plan.compile import OVS_PROCESSES
from privacy_router.plan.stages import Stages, in_stages
from privacy_router.values.bridges import BridgeKey
from privacy_router.values.items import diff
from privacy_router.values.processes import ProcessKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.node.flows.keeper import FlowKeeper
    from privacy_router.node.machine import NodeHost
    from privacy_router.plan.desired import DesiredState, NodeState
    from privacy_router.values.items import Change

_log = structlog.get_logger()

_PASSES = 6


async def observe_all(desired: NodeState, machine: NodeHost, engine: FlowKeeper) -> list[Change]:
    """What is different from `desired` right now."""
    rest = await differences(desired, machine)
    return [*rest, *await engine.differences()]


async def differences(desired: NodeState, machine: NodeHost) -> list[Change]:
    """The same without the flows."""
    return diff(desired.items, await in_thread(observe, desired, machine))


async def repair(desired: DesiredState, machine: NodeHost, engine: FlowKeeper) -> list[Change]:
    """Put right what is different from a state that was read back whole before.

    The flows come last in each pass: while ovsdb-server is away, vswitchd neither forwards nor
    answers, and waiting for it would keep ovsdb-server away. Returns the changes that were made.
    Raises VerificationError when what is read back stays different, and the errors of the changes.
    """
    made: list[Change] = []
    for attempt in range(1, _PASSES + 1):
        rest = await differences(desired, machine)
        try:
            applied = await _try_to_apply(rest, desired, machine, is_last=attempt == _PASSES)
        except PrivacyRouterError:
            await engine.repair()  # the flows do not wait for an item that cannot be made
            raise
        if not applied:
            made += rest
            continue
        changes = rest + await engine.repair()
        if not changes:
            return made
        made += changes
    raise _does_not_settle(changes)


async def change(desired: DesiredState, machine: NodeHost, engine: FlowKeeper) -> list[Change]:
    """Become a state that was not read back yet, with the tunnel closed where the chain changes.

    Where no item of the chain differs, the flows alone are replaced, atomically, and the tunnel is
    never closed. Raises what `repair` does; the tunnel is closed then, if it was closed.
    """
    made: list[Change] = []
    for attempt in range(1, _PASSES + 1):
        rest = await differences(desired, machine)
        nothing_forwards = _has_no_switch(desired, rest)
        stages = Stages(during=tuple(rest)) if nothing_forwards else in_stages(rest, machine.hops)
        done = await _try_to_apply(stages.before, desired, machine, is_last=attempt == _PASSES)
        if done and stages.during:
            engine.close_tunnel(desired.pipeline)
            if not nothing_forwards:
                await _apply(stages.ending, desired, machine)
                made += await engine.repair()
                await in_thread(remembered.forget_flows, machine)
            done = await _try_to_apply(stages.during, desired, machine, is_last=attempt == _PASSES)
            await in_thread(remembered.forget_connections, stages.during, desired, machine)
        made += [*stages.before, *stages.during]
        if not done or stages.during:
            continue  # opened only after what was made is read back
        engine.open_tunnel(desired.pipeline)
        flows = await engine.repair()
        await _apply(stages.after, desired, machine)
        made += [*flows, *stages.after]
        if not (rest or flows):
            return made
    raise _does_not_settle(rest)


def _has_no_switch(desired: DesiredState, rest: Sequence[Change]) -> bool:
    """Whether there is no bridge that could carry a packet, and so nothing to close."""
    missing = {change.key for change in rest if change.before is None}
    needed = {ProcessKey(name) for name in OVS_PROCESSES if name in desired.processes}
    return bool(missing & {BridgeKey(desired.bridge.name), *needed})


async def _try_to_apply(
    changes: Sequence[Change], desired: DesiredState, machine: NodeHost, *, is_last: bool
) -> bool:
    """Apply; False when something went while it was being changed: it is to be read again."""
    try:
        await _apply(changes, desired, machine)
    except ApplyError as error:
        if not error.retryable or is_last:
            raise
        _log.debug("reading the node again", reason=error.message)
        return False
    return True


async def _apply(changes: Sequence[Change], desired: DesiredState, machine: NodeHost) -> None:
    if changes:
        applier = Applier(desired, machine)
        await in_thread(applier.apply, changes, on_cancel=applier.stop)


def _does_not_settle(changes: Sequence[Change]) -> VerificationError:
    names = ", ".join(f"{c.key.kind.name.lower()} {c.key.name}" for c in changes[:5])
    return VerificationError(
        f"the node does not become what it should be: {names}",
        remedy="another program may be changing the same things; see the logs in the run directory",
        retryable=True,
    )
