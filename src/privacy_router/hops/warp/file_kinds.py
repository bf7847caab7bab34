"""Files that are taken for a WARP profile and are something else (pure)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_AMNEZIA: Final = re.compile(r"^\s*(Jc|Jmin|Jmax|[SHI][1-5])\s*=", re.MULTILINE | re.IGNORECASE)
_ACCOUNT: Final = re.compile(r"^\s*(access_token|device_id|license_key)\s*=", re.MULTILINE)


def other_kinds(text: str) -> Iterator[str]:
    """What the file is, where it is known, and what to do with it."""
    if _ACCOUNT.search(text):
        yield (
            "it is an account of wgcf (wgcf-account.toml) and no profile: run `wgcf generate` and"
            " name wgcf-profile.conf; or put the file into the state directory as"
            " wgcf-account.toml and leave warp.wgcf_config out, and the profile is asked for"
        )
    elif _AMNEZIA.search(text):
        yield (
            "it is a profile for AmneziaWG, whose packets (Jc, S1, H1 …) are no WireGuard; take the"
            " provider's profile for WireGuard"
        )
    elif text.lstrip().startswith(("{", "[{")):
        yield "it is JSON and no profile: export it as a file for wg-quick"


def undecodable(data: bytes) -> str:
    """What bytes are that are no UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it is UTF-16 text: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"
    return "it is not UTF-8 text"
