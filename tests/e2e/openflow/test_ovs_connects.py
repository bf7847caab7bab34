"""Open vSwitch and this library over every transport, either of them calling the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from private_ovs import DELETE_ALL, Ovs

from privacy_router.openflow import (
    ConnectionLostError,
)
from privacy_router.openflow.channel import connect_unix
from privacy_router.openflow.listening import serve_unix

pytestmark = pytest.mark.e2e

# --- switches that connect to us ----------------------------------------------------------------


async def test_a_switch_connects_to_us(ovs: Ovs) -> None:
    path = ovs.directory / "controller.sock"
    async with await serve_unix(path) as listening, asyncio.timeout(20):
        ovs.vsctl("set-controller", "br0", f"unix:{path}")
        try:
            async with await listening.accept() as channel:
                assert (await channel.features()).tables == 254
                await channel.apply_bundle([DELETE_ALL])
                assert await channel.dump_flows() == []
        finally:
            ovs.vsctl("del-controller", "br0")


async def test_a_switch_that_is_killed_ends_the_channel(tmp_path: Path) -> None:
    switch = Ovs(tmp_path)
    try:
        switch.start()
        async with await connect_unix(switch.mgmt) as channel:
            switch.kill_vswitchd()
            assert isinstance(await channel.wait_closed(), ConnectionLostError)
            with pytest.raises(ConnectionLostError):
                await channel.dump_flows()
    finally:
        switch.stop()
