"""What a trace page says, of any site."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.node.probe import trace_untrusted

PAGE = "fl=1\nh=www.cloudflare.com\nip={ip}\nts=1\nwarp={warp}\ngateway=off\n"


@pytest.mark.parametrize("ip", ["192.0.2.7", "2001:db8::7"])
@pytest.mark.parametrize(
    ("warp", "told"), [("on", "on"), ("plus", "plus"), ("off", "off"), ("\x1b[2J", "off")]
)
def test_a_trace_page(ip: str, warp: str, told: str) -> None:
    found = trace_untrusted(PAGE.format(ip=ip, warp=warp), 12.34)
    assert (found.address, found.warp, found.rtt_ms) == (ip, told, 12.3)


@given(st.text() | st.text().map(lambda ip: PAGE.format(ip=ip, warp="on")))
def test_another_page_raises_one_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert trace_untrusted(text, 1.0).address.isprintable()
