"""Profiles: what is understood, what is refused, and that no key is ever shown."""

from __future__ import annotations

import base64
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.errors import ExitCode
from privacy_router.hops.warp.profile import (
    SHOWN_PROBLEMS_MAX,
    ProfileError,
    WarpProfile,
    parse_profile_untrusted,
    render_profile,
)

PRIVATE = base64.b64encode(b"private key of the test, 32 byte").decode()
PUBLIC = base64.b64encode(b"public key of the tests, 32 byte").decode()
SHARED = base64.b64encode(b"preshared key of test, 32 bytes.").decode()

WGCF = f"""[Interface]
PrivateKey = {PRIVATE}
Address = 172.16.0.2/32, 2606:4700:110:8a36::2/128
DNS = 1.1.1.1, 1.0.0.1, 2606:4700:4700::1111, 2606:4700:4700::1001
MTU = 1280
[Peer]
PublicKey = {PUBLIC}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = engage.cloudflareclient.com:2408
"""
PROFILE = WarpProfile(
    private_key=PRIVATE,
    v4=IPv4Interface("172.16.0.2/32"),
    v6=IPv6Interface("2606:4700:110:8a36::2/128"),
    peer_public_key=PUBLIC,
    endpoint_host="engage.cloudflareclient.com",
    endpoint_port=2408,
)
WHOLE = replace(PROFILE, mtu_bytes=1400, keepalive_s=0, reserved=(1, 0, 255), preshared_key=SHARED)


def test_wgcf_profile_is_read_and_written_byte_for_byte() -> None:
    assert parse_profile_untrusted(WGCF) == PROFILE
    assert render_profile(PROFILE) == WGCF


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (WGCF.replace("\n", "\r\n"), PROFILE),
        ("\ufeff" + WGCF, PROFILE),
        (WGCF.replace("[Peer]", "\n  # Cloudflare\n[peer]  # here"), PROFILE),
        (WGCF.replace("PrivateKey = ", "privatekey="), PROFILE),
        (WGCF.replace(", 2606:4700:110", "\nAddress = 2606:4700:110"), PROFILE),
        (WGCF.replace("MTU = 1280\n", ""), replace(PROFILE, mtu_bytes=None)),
        (WGCF.replace("::2/128", "::2"), PROFILE),
        (WGCF.replace(", 2606:4700:110:8a36::2/128", ""), replace(PROFILE, v6=None)),
        (WGCF.replace("172.16.0.2/32, ", ""), replace(PROFILE, v4=None)),
        (
            WGCF.replace("engage.cloudflareclient.com:2408", "[2606:4700:d0::a29f:c001]:500"),
            replace(PROFILE, endpoint_host="2606:4700:d0::a29f:c001", endpoint_port=500),
        ),
        (
            WGCF.replace("engage.cloudflareclient.com:2408", "162.159.192.1:4500"),
            replace(PROFILE, endpoint_host="162.159.192.1", endpoint_port=4500),
        ),
        (WGCF + "PersistentKeepalive = 25\n", replace(PROFILE, keepalive_s=25)),
        (WGCF + "PersistentKeepalive = off\n", replace(PROFILE, keepalive_s=0)),
        (WGCF + f"PresharedKey = {SHARED}\n", replace(PROFILE, preshared_key=SHARED)),
        (WGCF + "Reserved = 85, 133,251\n", replace(PROFILE, reserved=(85, 133, 251))),
        (WGCF + "Reserved = VYX7\n", replace(PROFILE, reserved=(85, 133, 251))),
        (
            WGCF.replace("0.0.0.0/0, ::/0", "10.0.0.1/8"),
            replace(PROFILE, allowed_ips=(IPv4Network("10.0.0.0/8"),)),
        ),
        (WGCF.replace("MTU = 1280", "MTU = 1280\nTable = off\nFwMark = 51820"), PROFILE),
    ],
)
def test_other_profiles_that_are_understood(text: str, wanted: WarpProfile) -> None:
    assert parse_profile_untrusted(text) == wanted


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "PrivateKey is missing in [Interface]"),
        (WGCF.replace(f"PrivateKey = {PRIVATE}\n", ""), "PrivateKey is missing in [Interface]"),
        (WGCF.replace(f"PublicKey = {PUBLIC}\n", ""), "PublicKey is missing in [Peer]"),
        (WGCF.partition("Address")[0] + "[Peer]", "Address is missing in [Interface]"),
        (WGCF.replace(PRIVATE, PRIVATE[:-2]), "line 2: PrivateKey is not 32 bytes in base64"),
        (WGCF.replace(PRIVATE, "A" * 43 + "="), "line 2: PrivateKey is not 32 bytes in base64"),
        (WGCF.replace(PUBLIC, "!" * 44), "line 7: PublicKey is not 32 bytes in base64"),
        (WGCF.replace("172.16.0.2/32", "172.16.0.300"), "line 3: Address are not IP addresses"),
        (WGCF.replace("172.16.0.2/32", "1.1.1.1, 2.2.2.2"), "line 3: more than one Address"),
        (WGCF.replace("1280", "99"), "line 5: MTU is not 576 to 65535"),
        (WGCF.replace("1280", "١٢٨٠"), "line 5: MTU is not 576 to 65535"),
        (WGCF.replace(":2408", ""), "line 9: Endpoint is not host:port"),
        (WGCF.replace(":2408", ":0"), "line 9: Endpoint is not host:port"),
        (WGCF.replace("::/0", "everything"), "line 8: AllowedIPs are not networks"),
        (WGCF + "Reserved = 1, 2\n", "line 10: Reserved is not three bytes"),
        (WGCF + "Reserved = 1, 2, 256\n", "line 10: Reserved is not three bytes"),
        (WGCF + "PersistentKeepalive = -1\n", "line 10: PersistentKeepalive is not 0 to 65535"),
        (WGCF + "EndPoint = a.example:1\n", "line 10: Endpoint for the second time"),
        (WGCF + "PublicKye = x\n", "line 10: an unknown key; did you mean PublicKey?"),
        (WGCF + "nonsense\n", "line 10: not of the form Key = Value"),
        (WGCF + "[Peer]\n", "line 10: a second [Peer]"),
        (WGCF + "[Other]\n", "line 10: a section that is neither"),
        ("MTU = 1\n" + WGCF, "line 1: a key outside"),
        (WGCF.replace("MTU", "PostUp = rm -rf /\nMTU"), "line 5: PostUp runs commands"),
        ("#" * 70_000, "over 65536 characters"),
    ],
)
def test_a_broken_profile_is_explained_by_line(text: str, problem: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile_untrusted(text)
    assert any(problem in found for found in caught.value.problems), caught.value.problems
    assert caught.value.exit_code is ExitCode.INVALID_CONFIG
    assert caught.value.remedy


def test_keys_without_a_place_in_the_tunnel_are_remembered_by_name() -> None:
    text = WGCF.replace("MTU", "Table = off\nFwMark = 51820\nMTU").replace("1.1.1.1", "9.9.9.9")
    assert parse_profile_untrusted(text).left_out == ("DNS", "FwMark", "Table")
    assert parse_profile_untrusted(WGCF).left_out == ()


def test_all_problems_come_at_once_but_not_without_end() -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile_untrusted(WGCF.replace("1280", "no").replace(":2408", "") + "x\n" * 100)
    assert len(caught.value.problems) == 102
    shown = "; ".join(caught.value.problems[:SHOWN_PROBLEMS_MAX])
    assert f": {shown}; and {102 - SHOWN_PROBLEMS_MAX} more" in caught.value.message
    with pytest.raises(ProfileError) as caught:
        parse_profile_untrusted(WGCF.replace("1280", "no"))
    assert caught.value.message.endswith(f": {caught.value.problems[0]}")


def test_no_key_is_shown() -> None:
    profile = replace(PROFILE, preshared_key=SHARED)
    shown = f"{profile!r} {profile!s}"
    assert PUBLIC in shown
    assert PRIVATE not in shown
    assert SHARED not in shown


SECRET = "c2VjcmV0IGtleSBtYXRlcmlhbCBvZiB0aGlzIHRlc3Q"


@given(
    st.lists(
        st.sampled_from(
            [
                *(*WGCF.splitlines(), SECRET, f"{SECRET}=", f"{SECRET} = 1", f"[{SECRET}]"),
                *(f"PrivateKey = {SECRET}!", f"PresharedKey = {SECRET}", "[Interface]"),
                f"Endpoint = {SECRET}:x",
            ]
        )
    )
)
def test_an_error_never_quotes_what_may_be_a_key(lines: list[str]) -> None:
    try:
        parse_profile_untrusted("\n".join(lines))
    except ProfileError as error:
        assert SECRET.lower() not in f"{error} {error.problems} {error.remedy}".lower()


@given(st.text() | st.builds("{}\n{}".format, st.just(WGCF), st.text()))
def test_any_text_is_a_profile_or_one_kind_of_error(text: str) -> None:
    try:
        profile = parse_profile_untrusted(text)
    except ProfileError:
        return
    assert parse_profile_untrusted(render_profile(profile)) == profile


@pytest.mark.parametrize(
    "profile",
    [
        WHOLE,
        replace(WHOLE, mtu_bytes=None),
        replace(WHOLE, keepalive_s=None),
        replace(WHOLE, reserved=None),
        replace(WHOLE, preshared_key=None),
        replace(WHOLE, v4=None),
        replace(WHOLE, v6=None),
    ],
)
def test_what_is_written_is_read_back(profile: WarpProfile) -> None:
    assert parse_profile_untrusted(render_profile(profile)) == profile
