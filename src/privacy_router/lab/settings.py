"""The configuration of the lab's node (pure)."""

from __future__ import annotations

import json
from typing import Any

from privacy_router.config import parse_document
from privacy_router.lab import internet

_MAIN = ("plugins", "privacy_router")


def node_document(overrides: dict[str, Any] | None = None) -> str:
    """The node's JSON document: what fits the lab, and over it a document with other wishes.

    Raises ConfigError when the result is not a valid configuration.
    """
    dns = [str(address) for address in internet.DNS]
    section = {
        "wireguard": {"endpoint": str(internet.address_of("node")), "dns": dns},
        "warp": {"accept_terms": True},
        "xray": {
            "vps_address": internet.VPS_NAME,
            "server_name": internet.REALITY_NAME,
            "dns": dns,
        },
    }
    document: dict[str, Any] = {"version": 1, "plugins": {"privacy_router": section}}
    text = json.dumps(_merge(document, overrides or {}), indent=2) + "\n"
    parse_document(text, "the configuration of the lab's node")
    return text


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        mine = merged.get(key)
        both = isinstance(mine, dict) and isinstance(value, dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
