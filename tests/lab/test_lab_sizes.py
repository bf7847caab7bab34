"""Up to which size `lab check` holds a chain to letting packets pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from privacy_router.config import parse_document
from privacy_router.lab.check import path_mtu_bytes

XRAY = {"vps_address": "192.0.2.9"}


@pytest.mark.parametrize(
    ("sections", "mtu_bytes"),
    [
        ({"xray": XRAY}, 1420),
        ({"xray": XRAY, "warp": {"enabled": False}}, 1420),
        ({"xray": XRAY, "wireguard": {"mtu": 1300}}, 1300),
        ({}, 1280),
        ({"wireguard": {"mtu": 1420}}, 1280),
        ({"warp": {"mtu": 1300}}, 1300),
    ],
)
def test_what_has_to_pass_is_what_the_way_carries(sections: dict[str, Any], mtu_bytes: int) -> None:
    document = {"version": 1, "plugins": {"privacy_router": sections}}
    config = parse_document(json.dumps(document), "test").config
    assert path_mtu_bytes(config) == mtu_bytes
