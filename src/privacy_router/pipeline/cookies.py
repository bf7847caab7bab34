"""Cookies: every flow of ours says so, and which layer of the pipeline it belongs to."""

from __future__ import annotations

from enum import IntEnum

OWNER = 0x5052 << 48  # "PR"
OWNER_MASK = 0xFFFF << 48
_LAYER_SHIFT = 32


class Layer(IntEnum):
    """Which part of the pipeline made a flow."""

    BASE = 1
    SECURITY = 2
    OBFUSCATION = 3
    PRIVACY = 4


def cookie(layer: Layer) -> int:
    """The cookie of a layer's flows."""
    return OWNER | int(layer) << _LAYER_SHIFT


def layer_of(value: int) -> Layer | None:
    """The layer that a cookie names, or None when the flow is not ours."""
    if value & OWNER_MASK != OWNER:
        return None
    try:
        return Layer((value & ~OWNER_MASK) >> _LAYER_SHIFT)
    except ValueError:
        return None
