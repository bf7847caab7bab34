"""What has to change for a switch to have the flows that it should have. Made for 100,000 flows.

Read back, a flow that is as it should be has the bytes that we would write ourselves. So bytes are
compared, and only the flows that differ are decoded.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from privacy_router.openflow.constants import FlowModCommand
from privacy_router.openflow.errors import DecodeError
from privacy_router.openflow.flows import FlowMod, FlowOptions
from privacy_router.openflow.instructions import (
    canonical_instructions,
    decode_instructions_untrusted,
    encode_instructions,
)
from privacy_router.openflow.match import decode_match_untrusted
from privacy_router.openflow.wire import Reader, value_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from privacy_router.openflow.flows import FlowKey

_EVERY_BIT = 0xFFFFFFFFFFFFFFFF
_LENGTH: Final = struct.Struct("!H")
_FIXED_BYTES = 48  # of a flow's entry, before the match (7.3.5.2, ofp_flow_stats)


class _Image(NamedTuple):
    """A flow without its counters and its age; `tail` is match and instructions as encoded."""

    table_id: int
    priority: int
    idle_timeout_s: int
    hard_timeout_s: int
    flags: int
    cookie: int
    tail: bytes


# Plain tuples, equal to an `_Image`: a hundred thousand of them are unpacked in one step each.
_PlainImage = tuple[int, int, int, int, int, int, bytes]


@value_class
class Difference:
    """What to send, in order: `removed`, `changed`, `added`.

    Each is a `FlowMod`. Those of `removed` name the cookie, so that a flow stays that another
    controller put in its place in the meantime. `unchanged` counts the flows that are as they
    should be.
    """

    added: tuple[FlowMod, ...] = ()
    changed: tuple[FlowMod, ...] = ()
    removed: tuple[FlowMod, ...] = ()
    unchanged: int = 0

    def messages(self) -> list[FlowMod]:
        """All of it, for one bundle."""
        return [*self.removed, *self.changed, *self.added]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def difference_untrusted(desired: Iterable[FlowMod], observed: Iterable[bytes]) -> Difference:
    """From the flows that a switch has to the desired ones, which are commands to add them.

    `observed` is what follows the head of each part of a switch's answer about its flows
    (7.3.5.2): any number of entries. Of desired flows with the same table, priority and match,
    the last counts, as it would on the switch. Raises DecodeError.
    """
    by_key = {(flow.table_id, flow.priority, flow.match.wire): flow for flow in desired}
    wanted = {_image(flow): flow for flow in by_key.values()}
    found = _images_untrusted(observed)
    missing = wanted.keys() - found
    unchanged = len(wanted) - len(missing)
    if not missing and len(found) == len(wanted):
        return Difference(unchanged=unchanged)
    rest = {flow.key(): flow for image, flow in wanted.items() if image in missing}
    others = dict(map(_decoded_untrusted, found - wanted.keys()))
    present = {key: flow for key, flow in others.items() if key in rest}
    removed = [
        removal_of(flow)
        for (table_id, priority, match), flow in others.items()
        if (table_id, priority, match.wire) not in by_key
    ]
    return _of_decoded(rest, present, removed, unchanged)


def _image(flow: FlowMod) -> _PlainImage:
    told = flow.options
    return (
        flow.table_id,
        flow.priority,
        told.idle_timeout_s,
        told.hard_timeout_s,
        told.flags,
        flow.cookie,
        flow.match.wire + encode_instructions(canonical_instructions(flow.instructions)),
    )


def _images_untrusted(observed: Iterable[bytes]) -> set[_PlainImage]:
    found: set[_PlainImage] = set()
    for block in observed:
        start, end = 0, len(block)
        while start + _FIXED_BYTES <= end:
            length = _LENGTH.unpack_from(block, start)[0]
            if length < _FIXED_BYTES or start + length > end:
                raise DecodeError(f"a flow of {length} bytes, of which {end - start} came")
            found.add(_entry_form(length)(block, start))
            start += length
        if start != end:
            raise DecodeError(f"{end - start} bytes too many after the last flow")
    return found


@cache
def _entry_form(length: int) -> Callable[[bytes, int], _PlainImage]:
    """How to take an image out of an entry of that many bytes. At most 65,536 of them."""
    layout = f"!2xBx8xHHHH4xQ16x{length - _FIXED_BYTES}s"
    return struct.Struct(layout).unpack_from


def _decoded_untrusted(plain: _PlainImage) -> tuple[FlowKey, FlowMod]:
    image = _Image(*plain)
    with Reader(image.tail) as reader:
        match = decode_match_untrusted(reader)
        instructions = decode_instructions_untrusted(reader)
    flow = FlowMod(
        match,
        instructions,
        image.table_id,
        image.priority,
        image.cookie,
        FlowOptions(
            idle_timeout_s=image.idle_timeout_s,
            hard_timeout_s=image.hard_timeout_s,
            flags=image.flags,
        ),
    )
    return flow.key(), flow


def _of_decoded(
    desired: Mapping[FlowKey, FlowMod],
    present: Mapping[FlowKey, FlowMod],
    removed: Iterable[FlowMod],
    unchanged: int,
) -> Difference:
    """For the flows whose bytes differ: some mean the same nevertheless."""
    added = tuple(flow for key, flow in desired.items() if key not in present)
    changed = tuple(
        flow
        for key, flow in desired.items()
        if key in present and flow.content() != present[key].content()
    )
    unchanged += len(desired) - len(added) - len(changed)
    return Difference(added, changed, tuple(removed), unchanged)


def removal_of(flow: FlowMod) -> FlowMod:
    """The command that removes a flow, unless another controller put one in its place meanwhile."""
    return FlowMod(
        flow.match,
        table_id=flow.table_id,
        priority=flow.priority,
        cookie=flow.cookie,
        options=FlowOptions(cookie_mask=_EVERY_BIT, command=FlowModCommand.DELETE_STRICT),
    )
