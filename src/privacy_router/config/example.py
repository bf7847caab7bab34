"""The document that a new node starts with."""

from __future__ import annotations

import json

from privacy_router.config.load import parse_document
from privacy_router.config.models import FORMAT_VERSION, PrivacyRouterConfig


def default_document(
    vps_address: str | None = None,
    *,
    endpoint: str | None = None,
    accept_terms: bool = False,
) -> str:
    """Pretty JSON with the keys that a person would want to edit; all others keep their defaults.

    `vps_address` and `endpoint` are host names or IP addresses without a port; `accept_terms` says
    that the user accepted Cloudflare's terms. Raises ConfigError when one of them is not valid.
    """
    usual = PrivacyRouterConfig()
    config = {
        "bridge_name": usual.bridge_name,
        "wireguard": {"endpoint": endpoint, "listen_port": usual.wireguard.listen_port},
        "warp": {"accept_terms": accept_terms},
        "xray": {"vps_address": vps_address, "vps_port": usual.xray.vps_port},
    }
    document = {"version": FORMAT_VERSION, "plugins": {"privacy_router": config}}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    parse_document(text, "the new document")
    return text
