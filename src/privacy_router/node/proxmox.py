"""What Proxmox VE's files say of containers that Open vSwitch does not know.

The port `veth200i1` is the host's end of network 1 of container 200; the container's MAC is in
/etc/pve/lxc/200.conf (pct.conf(5)): `net1: name=eth1,bridge=ovsbr0,hwaddr=BC:24:11:00:00:01,…`.
"""

from __future__ import annotations

import re
from pathlib import Path

from privacy_router.errors import StorageError
from privacy_router.host.files import read_bounded
from privacy_router.pipeline.selectors import container_of, network_index_of

CONFIGURATIONS = Path("/etc/pve/lxc")
_LIMIT_BYTES = 256 * 1024
_MAC = re.compile(r"(?:^|,)hwaddr=([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5})(?:,|$)")


def container_mac(port_name: str, configurations: Path = CONFIGURATIONS) -> str | None:
    """The MAC of the container behind a port of Proxmox's, or None when nothing says it."""
    number, index = container_of(port_name), network_index_of(port_name)
    if number is None or index is None:
        return None
    try:
        text = read_bounded(configurations / f"{number}.conf", _LIMIT_BYTES).decode(
            errors="replace"
        )
    except StorageError:
        return None  # not on Proxmox, or a container of another node
    return parse_mac(text, index)


def parse_mac(text: str, index: int) -> str | None:
    """The MAC of network `index`, lower case; what follows a `[section]` is a snapshot's."""
    current = text.split("\n[", 1)[0]
    line = re.search(rf"^net{index}:\s*(.*)$", current, re.MULTILINE)
    found = _MAC.search(line.group(1).strip()) if line else None
    return found.group(1).lower() if found else None
