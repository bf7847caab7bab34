"""A network namespace that says whose it is: the alias of its loopback device.

A name in /run/netns can be any program's. The alias is set before the namespace gets its name, so
there is no moment at which a namespace of ours has one without the other, and it goes with it.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from privacy_router.host.devices import link_change
from privacy_router.host.namespaces import inode_of, run_in
from privacy_router.host.rtnetlink import Flag, Message, Verb, ask, decode, open_socket

if TYPE_CHECKING:
    from pathlib import Path

_LOOPBACK: Final = 1  # its index in every namespace
_ALIAS: Final = 20  # IFLA_IFALIAS
_ALIAS_MOST_BYTES: Final = 255
_LINK: Final = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change


def put_here(mark: str) -> None:
    """Mark the namespace that the calling thread is in. Raises OSError."""
    message = link_change(_LOOPBACK).with_attribute(_ALIAS, _cut(mark))
    with open_socket(None) as line:
        ask(line, message.verb, message.encode(), Flag.REQUEST)


def read(namespace: Path) -> str:
    """The mark of a namespace, as `cut` leaves it; empty where it has none, or is gone."""
    if inode_of(namespace) is None:
        return ""
    try:
        return run_in(namespace, _read_here)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):  # it went just now
            return ""
        raise


def is_marked(namespace: Path, mark: str) -> bool:
    """Whether the namespace has that mark. Raises OSError."""
    return read(namespace).encode() == _cut(mark)


def _read_here() -> str:
    question = Message(Verb.GETLINK, _LINK.pack(0, 0, _LOOPBACK, 0, 0))
    with open_socket(None) as line:
        answers = ask(line, question.verb, question.encode(), Flag.REQUEST)
    found = next((decode(Verb.NEWLINK, one).get(_ALIAS) for one in answers), None)
    return (found or b"").rstrip(b"\0").decode(errors="replace")


def _cut(mark: str) -> bytes:
    """As much of it as the kernel keeps."""
    return mark.encode()[:_ALIAS_MOST_BYTES]
