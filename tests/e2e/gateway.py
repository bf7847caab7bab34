"""The gateway's WireGuard device in the lab, asked from WireGuard itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from privacy_router.lab.hosts import NODE_CONFIG

if TYPE_CHECKING:
    from privacy_router.lab.stage import Lab

ASK_WIREGUARD = """
import sys
from pathlib import Path
from privacy_router.config import load_document
from privacy_router.host import namespaces
from privacy_router.node.machine import inspect
from privacy_router.node.paths import NodePaths

machine = inspect(load_document(Path(sys.argv[1])).config, NodePaths.from_environment())
device = machine.wireguard.read("wg100", namespaces.path_of("pr-gateway"))
print(*(peer.public_key for peer in device.peers))
"""


def wireguard_peers(lab: Lab) -> list[str]:
    """Public keys of the gateway's peers, asked from WireGuard itself."""
    asked = lab["node"].run((sys.executable, "-c", ASK_WIREGUARD, str(NODE_CONFIG)))
    return asked.stdout.split()
