"""The kernel's memory of connections in a network namespace; conntrack(8), ctnetlink."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from privacy_router.host.namespaces import run_in
from privacy_router.host.netlink_library import NFCTSocket, translated

if TYPE_CHECKING:
    from pathlib import Path

_EVERY_BIT = 0xFFFFFFFF


def forget(namespace: Path | None, mark: int | None = None) -> None:
    """Have the kernel forget every connection that it knows in the namespace (None: the caller's
    own), or those with that connection mark.

    A connection that goes on is taken up again with its next packet, and is judged and translated
    by the rules of now: what the kernel remembers keeps the translation that it began with.
    Raises OSError, NetlinkError.
    """

    def flush() -> None:
        with translated(), closing(NFCTSocket()) as session:
            session.flush(mark, None if mark is None else _EVERY_BIT)

    run_in(namespace, flush)
