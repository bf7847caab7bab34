"""Every set of hops that makes a chain, as sections of a configuration."""

from __future__ import annotations

import json

from privacy_router.config import PrivacyRouterConfig, parse_document


def config_of(**sections: object) -> PrivacyRouterConfig:
    """A configuration with these sections, all else by default."""
    document = {"version": 1, "plugins": {"privacy_router": sections}}
    return parse_document(json.dumps(document), "test").config


HOP_SETS: dict[str, dict[str, object]] = {
    "gateway warp xray": {"xray": {"vps_address": "192.0.2.9"}},
    "gateway warp": {},
    "gateway xray": {"xray": {"vps_address": "192.0.2.9"}, "warp": {"enabled": False}},
    "warp xray": {"xray": {"vps_address": "192.0.2.9"}, "wireguard": {"enabled": False}},
}
