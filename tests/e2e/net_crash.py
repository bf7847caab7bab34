"""Does what the plugin net is asked for in a process that is killed at a chosen step.

    python net_crash.py ROOT NETWORK DATABASE

A JSON document a line comes in: [step, section] to apply, [step, section, checkpoint] to roll back.
"killed" or "finished" goes out. A step is an order to the kernel, to nftables, or to Open vSwitch's
database, before which it dies; of the last it dies after the database has it, too.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

from privacy_router.config.models import Plugins
from privacy_router.host import nftables
from privacy_router.host.dbus import Bus
from privacy_router.host.rtnetlink import Session
from privacy_router.ovsdb.client import OvsDatabase
from privacy_router.plugins.net import NetPlugin
from privacy_router.plugins.target import Machine


def die_at(step: int) -> None:
    numbers = count()

    def passing() -> None:
        if next(numbers) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(call: Any, *, after: bool = False) -> Any:
        def instead(*arguments: Any, **options: Any) -> Any:
            passing()
            result = call(*arguments, **options)
            if after:
                passing()
            return result

        return instead

    Session.request = watched(Session.request)  # type: ignore[method-assign]
    OvsDatabase._commit = watched(OvsDatabase._commit, after=True)  # type: ignore[method-assign]
    nftables.apply = watched(nftables.apply)
    nftables.delete = watched(nftables.delete)


async def work(plugin: NetPlugin, step: int, data: Any, checkpoint: Any = None) -> None:
    desired = plugin.declare(Plugins.model_validate({"net": data}).net)
    changes = plugin.diff(desired, await plugin.query(list(desired.resources)))
    die_at(step)
    if checkpoint is None:
        await plugin.apply(desired, changes, lambda _: None)
    else:
        await plugin.rollback(checkpoint, lambda _: None)


def main(root: str, network: str, database: str) -> None:
    place = Machine(Bus(None), Path(root))
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            plugin = NetPlugin(place, namespace=Path(network), ovs_socket=Path(database))
            asyncio.run(work(plugin, *json.loads(line)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or os.waitstatus_to_exitcode(status) == 0
        print("killed" if killed else "finished", flush=True)


main(*sys.argv[1:])
