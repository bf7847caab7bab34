"""No key of an imported profile is dropped without a word: it is in force, or named."""

from __future__ import annotations

import base64

import pytest

from privacy_router.config.sections import WarpConfig
from privacy_router.hops.warp.profile import _KEYS, WGCF_DNS, parse_profile_untrusted
from privacy_router.hops.warp.remarks import not_in_force, usable_mtu_bytes

PRIVATE = base64.b64encode(b"private key of the test, 32 byte").decode()
PUBLIC = base64.b64encode(b"public key of the tests, 32 byte").decode()
SHARED = base64.b64encode(b"preshared key of test, 32 bytes.").decode()

IN_FORCE = {
    "PrivateKey": PRIVATE,
    "Address": "172.16.0.2/32, 2606:4700:110::2/128",
    "MTU": "1380",
    "PublicKey": PUBLIC,
    "PresharedKey": SHARED,
    "Endpoint": "engage.example.net:2408",
    "PersistentKeepalive": "15",
}
NAMED = {
    "DNS": "9.9.9.9",
    "ListenPort": "51820",
    "FwMark": "51820",
    "Table": "off",
    "SaveConfig": "true",
    "Reserved": "85, 133, 251",
    "AllowedIPs": "0.0.0.0/1, ::/0",
}
HOOKS = {"PreUp", "PostUp", "PreDown", "PostDown"}


def profile_with(**values: str) -> str:
    wanted = {name: value for name, value in IN_FORCE.items() if name in _REQUIRED} | values
    sections = {"interface": ["[Interface]"], "peer": ["[Peer]"]}
    for name, value in wanted.items():
        home = "interface" if name.lower() in _KEYS["interface"] else "peer"
        sections[home].append(f"{name} = {value}")
    return "\n".join(line for lines in sections.values() for line in lines)


_REQUIRED = {"PrivateKey", "Address", "PublicKey", "Endpoint"}


def names(text: str, **settings: object) -> list[str]:
    """What of a profile is named, below a configuration's section `warp`."""
    profile = parse_profile_untrusted(text)
    return [name for name, _ in not_in_force(profile, WarpConfig.model_validate(settings))]


def test_every_key_that_a_profile_may_have_is_in_one_of_the_lists() -> None:
    known = {name for section in _KEYS.values() for name in section.values()}
    assert known == {*IN_FORCE, *NAMED, *HOOKS}


@pytest.mark.parametrize("key", NAMED)
def test_a_key_that_is_not_in_force_is_named_with_the_reason(key: str) -> None:
    profile = parse_profile_untrusted(profile_with(**{key: NAMED[key]}))
    ((name, reason),) = not_in_force(profile, WarpConfig())
    assert name == key
    assert len(reason) > 20


def test_nothing_is_said_of_what_is_in_force() -> None:
    assert names(profile_with(**IN_FORCE)) == []


def test_nothing_is_said_of_a_profile_as_wgcf_makes_it() -> None:
    text = profile_with(DNS=WGCF_DNS, MTU="1280", AllowedIPs="0.0.0.0/0, ::/0")
    assert names(text) == []


@pytest.mark.parametrize(
    "networks", ["0.0.0.0/0, ::/0", "0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1", "::/0, 0.0.0.0/0"]
)
def test_everywhere_in_pieces_is_everywhere(networks: str) -> None:
    assert names(profile_with(AllowedIPs=networks)) == []


@pytest.mark.parametrize("networks", ["0.0.0.0/0", "::/0", "10.0.0.0/8", "0.0.0.0/1, ::/0"])
def test_less_than_everywhere_is_named(networks: str) -> None:
    assert names(profile_with(AllowedIPs=networks)) == ["AllowedIPs"]


def test_the_configuration_has_the_last_word_and_says_so() -> None:
    text = profile_with(MTU="1380", PersistentKeepalive="15")
    assert names(text, mtu=1380, persistent_keepalive=15) == []
    told = names(text, mtu=1300, persistent_keepalive=25)
    assert told == ["MTU = 1380", "PersistentKeepalive = 15"]


@pytest.mark.parametrize(
    ("mtu", "usable"), [(1279, None), (1280, 1280), (1500, 1500), (1501, None)]
)
def test_an_mtu_that_no_hop_can_have_is_named(mtu: int, usable: int | None) -> None:
    text = profile_with(MTU=str(mtu))
    assert usable_mtu_bytes(parse_profile_untrusted(text)) == usable
    assert names(text) == ([] if usable else [f"MTU = {mtu}"])


def test_zeros_are_what_is_sent_anyhow() -> None:
    assert names(profile_with(Reserved="0, 0, 0")) == []
