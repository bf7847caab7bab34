"""A tunnel's device is moved once its process has done with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from privacy_router.host import processes
from privacy_router.host.processes import Process
from privacy_router.host.wireguard_uapi import UapiError
from privacy_router.node.kinds import device


@pytest.mark.parametrize(
    ("answer", "come"), [(object(), True), (None, False), (UapiError("silent"), False)]
)
def test_the_device_of_a_process_that_does_not_answer_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, answer: object, come: bool
) -> None:
    """wireguard-go makes the device, then asks for it by name: moved in between, it is no more."""

    def read(_name: str, _namespace: None) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(processes, "running", lambda _: [Process("wgcf", 7, "f")])
    monkeypatch.setattr(processes, "tun_devices", lambda _: {"wgcf"})
    monkeypatch.setattr(device, "_has_tun", lambda *_: True)
    machine = SimpleNamespace(owner="me", wireguard=SimpleNamespace(read=read))
    session: Any = SimpleNamespace(machine=machine)
    assert device._has_come(session, "wgcf") is come
