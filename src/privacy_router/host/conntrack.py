"""The kernel's memory of connections in a network namespace; conntrack(8), ctnetlink."""

from __future__ import annotations

import struct
from socket import AF_UNSPEC
from typing import TYPE_CHECKING, Final

from privacy_router.host.rtnetlink import Flag, ask, encode_attributes, open_socket, translated

if TYPE_CHECKING:
    from pathlib import Path

# linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
_NETFILTER: Final = 12  # NETLINK_NETFILTER
_DELETE: Final = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
_HEADER: Final = struct.Struct("=BBH")  # nfgenmsg: family, version, resource
_MARK, _MARK_MASK = 8, 21  # CTA_…
_EVERY_BIT: Final = 0xFFFFFFFF


def forget(namespace: Path | None, mark: int | None = None) -> None:
    """Have the kernel forget every connection that it knows in the namespace (None: the caller's
    own), or those with that connection mark.

    A connection that goes on is taken up again with its next packet, and is judged and translated
    by the rules of now: what the kernel remembers keeps the translation that it began with.
    Raises OSError, NetlinkError.
    """
    content = _HEADER.pack(AF_UNSPEC, 0, 0)
    if mark is not None:
        bits = struct.Struct("!I").pack
        content += encode_attributes(((_MARK, bits(mark)), (_MARK_MASK, bits(_EVERY_BIT))))
    with (
        open_socket(namespace, protocol=_NETFILTER) as line,
        translated("forget its connections"),
    ):
        ask(line, _DELETE, content, Flag(0))
