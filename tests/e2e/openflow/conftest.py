"""A private switch for each module, and a channel to it, emptied, for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from privacy_router.openflow import (
    delete_group,
    delete_meter,
)
from privacy_router.openflow.channel import Channel, connect_unix
from tests.e2e.openflow.private_ovs import DELETE_ALL, Ovs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="module")
def ovs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ovs]:
    switch = Ovs(tmp_path_factory.mktemp("ovs"))
    try:
        switch.start()
        yield switch
    finally:
        switch.stop()


@pytest.fixture
async def channel(ovs: Ovs) -> AsyncIterator[Channel]:
    async with await connect_unix(ovs.mgmt) as channel:
        await channel.apply([DELETE_ALL, delete_group(), delete_meter()])
        yield channel
