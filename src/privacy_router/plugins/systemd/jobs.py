"""Start, stop and restart units, and wait until each has come to rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from privacy_router.engine.errors import PluginFailedError
from privacy_router.host.systemd1 import DONE, OBJECT, SERVICE, UNIT_INTERFACE, jobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from privacy_router.host.systemd1 import Jobs
    from privacy_router.plugins.systemd.manager import LoadedUnit, Systemd1

START: Final = "StartUnit"
STOP: Final = "StopUnit"
RESTART: Final = "RestartUnit"

_VERBS: Final = {START: "start", STOP: "stop", RESTART: "restart"}
_SETTLE_S: Final = 120.0
UNIT_CHANGED: Final = (
    f"sender='{SERVICE}',path_namespace='{OBJECT}/unit',"
    f"interface='org.freedesktop.DBus.Properties',arg0='{UNIT_INTERFACE}'"
)
_RESULTS: Final = {
    "canceled": "another job took its place",
    "timeout": "it took too long",
    "dependency": "a unit that it needs failed",
    "skipped": "it does not apply to the state that the unit is in",
}


async def run_jobs(systemd: Systemd1, method: str, names: Iterable[str]) -> None:
    """Do the same to all these units at once, in the order that the service manager sees fit.

    Returns when all are through and none is on its way any more. Raises PluginFailedError.
    """
    wanted = sorted(names)
    if not wanted:
        return
    async with jobs(systemd.bus, UNIT_CHANGED) as begun:
        results = await _results(systemd, method, wanted, begun)
        for name in wanted:
            await _settle(systemd, name, begun)
    for name in wanted:
        await _judge(systemd, method, name, results[name])


async def _results(
    systemd: Systemd1, method: str, names: Iterable[str], begun: Jobs
) -> Mapping[str, str]:
    """What came of each unit's job."""
    paths = {}
    for name in names:
        (paths[name],) = await systemd.ask(_VERBS[method], name, method, "ss", name, "replace")
    return {name: await begun.result(path) for name, path in paths.items()}


async def _settle(systemd: Systemd1, name: str, begun: Jobs) -> None:
    """Wait until the unit is neither starting nor stopping."""
    try:
        async with asyncio.timeout(_SETTLE_S):
            while not (await systemd.unit(name)).is_settled:
                await begun.next()
    except TimeoutError:
        raise PluginFailedError(
            f"{name} does not come to rest within {_SETTLE_S:g} s", remedy=_look_at(name)
        ) from None


async def _judge(systemd: Systemd1, method: str, name: str, result: str) -> None:
    """Raise PluginFailedError unless it is as the job should have left it."""
    unit = await systemd.unit(name)
    if result == DONE and (unit.is_over if method == STOP else unit.is_running):
        return
    why = await _reason(systemd, unit, result)
    raise PluginFailedError(f"{name} does not {_VERBS[method]}: {why}", remedy=_look_at(name))


async def _reason(systemd: Systemd1, unit: LoadedUnit, result: str) -> str:
    if result in _RESULTS:
        return _RESULTS[result]
    if result == DONE and not unit.properties["ConditionResult"]:
        return "a condition in its file does not hold"
    outcome = await systemd.detail(unit, "Result")
    if outcome is None or outcome == "success":
        return f"it is {unit.properties['ActiveState']} ({unit.properties['SubState']})"
    status = await systemd.detail(unit, "ExecMainStatus")
    return f"{outcome}, status {status}" if outcome == "exit-code" else f"{outcome}"


def _look_at(name: str) -> str:
    return f"see systemctl status {name} and journalctl -u {name}"
