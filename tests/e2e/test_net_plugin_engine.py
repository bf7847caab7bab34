"""The plugin net under the engine: confirmation, failures elsewhere, giving back."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.journal import Journal
from privacy_router.engine.model import Desired, Observed, Resource
from privacy_router.engine.plugin import Plugin
from privacy_router.errors import PrivacyRouterError
from tests.e2e.net_conversation import connections_hold, hears_once
from tests.e2e.net_machine import UPLINK, dump, net_machine, seen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from privacy_router.engine.model import Change, ResourceKey
    from privacy_router.engine.plugin import Progress
    from privacy_router.engine.transaction import RunProgress
    from tests.e2e.net_machine import NetMachine

pytestmark = pytest.mark.e2e
_PATIENCE_S = 20.0
MOVED = {
    "bridges": {"vmbr0": {"uplink": "eth0"}},
    "interfaces": {"vmbr0": {"addresses": ["192.0.2.2/24", "192.0.2.99/24"]}},
    "routes": [{"to": "default", "via": "192.0.2.1", "dev": "vmbr0"}],
}


@pytest.fixture
def machine() -> Iterator[NetMachine]:
    with net_machine() as made:
        yield made


class Failing(Plugin):
    """The last plugin, which fails."""

    name: ClassVar[str] = "systemd"
    title: ClassVar[str] = "Failing"
    after: ClassVar[frozenset[str]] = frozenset({"net"})

    def declare(self, section: Any) -> Desired:
        return Desired({self.key("unit", "x"): Resource(value=True)} if section else {})

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        return Observed()

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        raise PrivacyRouterError("as it was to be")


class Looking:
    """Waits for the end of a run."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    def progress(self, progress: RunProgress) -> None:
        del progress

    def settled(self) -> None:
        self.over.set()


def engine_for(machine: NetMachine, directory: Path, *others: Plugin) -> Engine:
    return Engine([machine.plugin(), *others], Journal(directory / "journal"))


def document(**plugins: Any) -> Source:
    return Source(json.dumps({"version": 1, "plugins": plugins}))


async def test_an_uplink_that_nobody_confirms_goes_back(
    machine: NetMachine, tmp_path: Path
) -> None:
    before, kernel = await seen(machine), dump(machine)
    engine, looking = engine_for(machine, tmp_path), Looking()
    with connections_hold(machine):
        await engine.apply(document(net=UPLINK), confirm_within_s=0.5)
        hears_once(machine)
        engine.listeners.append(looking)
        await asyncio.wait_for(looking.over.wait(), _PATIENCE_S)
    assert await seen(machine) == before
    assert dump(machine) == kernel
    await engine.close()


async def test_a_failure_in_the_last_plugin_takes_all_back(
    machine: NetMachine, tmp_path: Path
) -> None:
    before, kernel = await seen(machine), dump(machine)
    engine = engine_for(machine, tmp_path, Failing())
    with connections_hold(machine), pytest.raises(PrivacyRouterError, match="as it was to be"):
        await engine.apply(document(net=MOVED, systemd={}))
    assert await seen(machine) == before
    assert dump(machine) == kernel
    await engine.close()


async def test_what_is_no_longer_declared_is_given_back(
    machine: NetMachine, tmp_path: Path
) -> None:
    """Piece by piece, the connection alive all the while."""
    before, kernel = await seen(machine), dump(machine, labels=False)
    engine = engine_for(machine, tmp_path)
    with connections_hold(machine):
        await engine.apply(document(net=UPLINK))
        await engine.apply(document(net=MOVED))
        assert "192.0.2.99/24" in machine.ip("address", "show", "vmbr0")
        await engine.apply(document(net=UPLINK))
        assert "192.0.2.99/24" not in machine.ip("address", "show", "vmbr0")
        await engine.apply(document(net=MOVED))
        await engine.apply(document(net={}))
    hears_once(machine)
    assert await seen(machine) == before
    assert dump(machine, labels=False) == kernel
    await engine.close()


async def test_an_uplink_goes_from_one_bridge_to_another(
    machine: NetMachine, tmp_path: Path
) -> None:
    before, kernel = await seen(machine), dump(machine, labels=False)
    engine = engine_for(machine, tmp_path)
    with connections_hold(machine):
        await engine.apply(document(net=UPLINK))
        await engine.apply(document(net={"bridges": {"vmbr2": {"uplink": "eth0"}}}))
        assert "192.0.2.2/24" in machine.ip("address", "show", "vmbr2")
        assert "vmbr0" not in machine.ip("link")
        await engine.apply(document())
    assert await seen(machine) == before
    assert dump(machine, labels=False) == kernel
    await engine.close()


async def test_only_these_addresses_and_then_the_others_again(
    machine: NetMachine, tmp_path: Path
) -> None:
    before = await seen(machine)
    engine = engine_for(machine, tmp_path)
    these = ["192.0.2.2/24", "192.0.2.50/24", "2001:db8::2/64"]
    await engine.apply(document(net={"interfaces": {"eth0": {"addresses": these, "exact": True}}}))
    shown = machine.ip("address", "show", "eth0")
    assert all(address in shown for address in these)
    assert "192.0.2.22" not in shown
    assert "198.51.100.2" not in shown
    assert "fe80::" in shown
    await engine.apply(document(net={"interfaces": {"eth0": {"addresses": these[1:2]}}}))
    shown = machine.ip("address", "show", "eth0")
    assert "192.0.2.22/24" in shown
    assert "192.0.2.50/24" in shown
    await engine.apply(document(net={}))
    assert await seen(machine) == before
    await engine.close()
