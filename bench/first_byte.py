"""Runs in the lab's client: print the time at which the first answer came through the chain.

    python bench/first_byte.py CONFIGURATION_FILE

The client's tunnel is configured anew for every try, so that each starts with a fresh handshake:
a real client would wait 5 s after a handshake that was not heard, and that would be measured
instead.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

from privacy_router.host.wireguard import UserspaceWireGuard
from privacy_router.lab import internet
from privacy_router.lab.device import DEVICE, parse_untrusted

TRY_S = 0.15
LIMIT_S = 30.0


def main() -> None:
    """Try until an echo comes back."""
    config = parse_untrusted(Path(sys.argv[1]).read_text()).wireguard
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        UserspaceWireGuard().apply(DEVICE, None, config)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as question:
            question.settimeout(TRY_S)
            question.connect((str(internet.WEB[0]), 7))
            try:
                question.send(b"first byte")
                question.recv(100)
            except OSError:
                continue
            print(time.time())
            return
    sys.exit("no answer came through the chain")


if __name__ == "__main__":
    main()
