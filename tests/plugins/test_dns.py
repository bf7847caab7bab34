"""The plugin `dns`, as far as it needs no machine."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.config import ConfigError, parse_document
from privacy_router.config.models import Plugins
from privacy_router.config.plugins.dns import parse_server, server_text
from privacy_router.engine.errors import RefusedError
from privacy_router.engine.model import Desired, Mode, Observed, Resource
from privacy_router.host.dbus import Bus
from privacy_router.plugins.dns import DnsPlugin
from privacy_router.plugins.dns.check import require_last_word, require_replaceable
from privacy_router.plugins.dns.resolved import wire_domains, wire_servers
from privacy_router.plugins.target import Machine

PLUGIN = DnsPlugin(Machine(Bus(None), Path("/nowhere")))
RESOLVER = PLUGIN.key("resolver", "systemd-resolved")
FILE = PLUGIN.key("file", "/etc/resolv.conf")


def declared(section: dict[str, Any]) -> Desired:
    return PLUGIN.declare(Plugins.model_validate({"dns": section}).dns)


# --- the section ---------------------------------------------------------------------------------


def problem(section: dict[str, Any]) -> str:
    text = json.dumps({"version": 1, "plugins": {"dns": section}})
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "the document", None)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:53", "192.0.2.1"),
        ("192.0.2.1:853#Dns.Example", "192.0.2.1#dns.example"),
        ("192.0.2.1:5353", "192.0.2.1:5353"),
        ("127.0.0.1", "127.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:853#dns.example", "2001:db8::1#dns.example"),
        ("[2001:db8::1]:8853", "[2001:db8::1]:8853"),
    ],
)
def test_servers_have_one_spelling(text: str, kept: str) -> None:
    section = Plugins.model_validate({"dns": {"servers": [text, kept]}}).dns
    assert section is not None
    assert section.servers == (kept,)


@pytest.mark.parametrize(
    "text",
    [
        *("", "dns.example", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:", "192.0.2.1#"),
        *("192.0.2.1#a b", "192.0.2.1#dns.example.", "2001:db8::1#x#y", "[2001:db8::1", "[192"),
        *("fe80::1", "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "127.0.0.53", "127.0.0.54"),
    ],
)
def test_what_is_no_server_is_named(text: str) -> None:
    found = problem({"servers": ["192.0.2.1", text]})
    assert "plugins.dns.servers[1]" in found
    assert "a DNS server: an IP address" in found


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        *(("Example.NET.", "example.net"), ("~.", "~."), ("~Corp.example", "~corp.example")),
        *(("_tcp.example", "_tcp.example"), ("local", "local")),
    ],
)
def test_domains_have_one_spelling(text: str, kept: str) -> None:
    section = Plugins.model_validate({"dns": {"search": [text]}}).dns
    assert section is not None
    assert section.search == (kept,)


@pytest.mark.parametrize("text", ["", ".", "~", "a..b", "-a.example", "a b", "x" * 64, "~~a"])
def test_what_is_no_domain_is_named(text: str) -> None:
    assert "a domain such as example.net" in problem({"search": [text]})


def test_a_link_may_have_link_local_servers() -> None:
    desired = declared({"links": {"eth0": {"servers": ["fe80::1"]}}})
    assert desired.resources[PLUGIN.key("link", "eth0")].value == {"servers": ["fe80::1"]}


@given(
    st.ip_addresses(), st.integers(0, 65535), st.sampled_from(["", "dns.example", "a.b.example"])
)
def test_what_is_written_is_read_back(address: Any, port: int, name: str) -> None:
    text = server_text(address, port, name)
    found, its_port, its_name = parse_server(text)
    assert (found, its_name) == (address, name)
    assert its_port == (0 if port in {53, 853} else port)


@given(st.text(max_size=40))
def test_any_text_is_a_server_or_is_not(text: str) -> None:
    try:
        address, port, _ = parse_server(text)
    except ValueError:
        return
    assert 0 <= port <= 65535
    assert ip_address(str(address)) == address


# --- what it comes to ----------------------------------------------------------------------------


def test_nothing_is_asked_for_without_settings() -> None:
    assert declared({}).resources == {}
    assert declared({"links": {"eth0": {}}}).resources == {}
    assert PLUGIN.declare(None).resources == {}


def test_both_backends_are_declared_where_either_will_do() -> None:
    desired = declared({"servers": ["192.0.2.1"]})
    assert set(desired.resources) == {RESOLVER, FILE}
    there = Observed({RESOLVER: {"servers": [], "drop_in": None}})
    assert [change.key for change in PLUGIN.diff(desired, there)] == [RESOLVER]
    assert [change.key for change in PLUGIN.diff(desired, Observed())] == [FILE]
    left = Observed({RESOLVER: {"drop_in": {"content": "of a service that is gone"}}})
    assert [change.key for change in PLUGIN.diff(desired, left)] == [FILE]


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ({"servers": ["192.0.2.1"], "backend": "file"}, {FILE}),
        ({"servers": ["192.0.2.1"], "backend": "resolved"}, {RESOLVER}),
        ({"servers": ["192.0.2.1"], "dnssec": "yes"}, {RESOLVER}),
        ({"search": ["example.net"]}, {RESOLVER}),
        ({"servers": [f"192.0.2.{last}" for last in range(1, 5)]}, {RESOLVER}),
    ],
)
def test_the_backend_follows_from_the_section(section: dict[str, Any], keys: set[Any]) -> None:
    assert set(declared(section).resources) == keys


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"servers": ["192.0.2.1:5353"]}, "192.0.2.1:5353 has a port or a name for TLS"),
        ({"servers": ["192.0.2.1#dns.example"]}, "has a port or a name for TLS"),
        ({"servers": [f"192.0.2.{n}" for n in range(1, 5)]}, "4 servers, more than 3"),
        ({"servers": ["192.0.2.1"], "search": ["~."]}, "~. is one to route"),
        ({"servers": ["192.0.2.1"], "dns_over_tls": "no"}, "dns_over_tls is given"),
        ({"servers": ["192.0.2.1"], "fallback": []}, "fallback is given"),
        ({"search": ["example.net"]}, "search is given without servers"),
        ({"links": {"eth0": {"dnssec": "no"}}}, "links have servers of their own"),
    ],
)
def test_what_a_file_cannot_say_is_refused(section: dict[str, Any], reason: str) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        declared({**section, "backend": "file"})
    assert "install systemd-resolved" in caught.value.remedy


def test_a_loopback_link_is_refused() -> None:
    with pytest.raises(RefusedError, match="loopback"):
        declared({"links": {"lo": {"servers": ["192.0.2.1"]}}})


def test_what_is_only_observed_asks_for_no_file_of_ours() -> None:
    desired = declared({"servers": ["192.0.2.1"], "mode": "observe-only"})
    assert desired.resources[RESOLVER] == Resource({"servers": ["192.0.2.1"]}, Mode.OBSERVE_ONLY)
    assert desired.resources[FILE].mode is Mode.OBSERVE_ONLY


def test_a_service_that_is_gone_has_nothing_to_give_back() -> None:
    back = Desired(
        {RESOLVER: Resource({"servers": [], "drop_in": None})}, PLUGIN.declare(None).payload
    )
    assert PLUGIN.diff(back, Observed()) == []
    (change,) = PLUGIN.diff(back, Observed({RESOLVER: {"drop_in": {"content": "ours"}}}))
    assert change.after["drop_in"] is None


def test_what_others_set_meanwhile_is_left_to_them_when_ours_is_gone() -> None:
    back = Desired({RESOLVER: Resource({"servers": [], "drop_in": None})})
    others = Observed({RESOLVER: {"servers": ["192.0.2.9"], "drop_in": None}})
    assert PLUGIN.diff(back, others) == []


def test_the_backend_that_may_come_later_is_taken_over_too() -> None:
    desired = declared({"servers": ["192.0.2.1"]})
    by_file = Observed({FILE: {"content": "", "link": None, "mode": "0644", "owner": "0:0"}})
    changes = PLUGIN.diff(desired, by_file)
    assert [change.key for change in changes] == [FILE]
    assert PLUGIN.takes(desired, by_file, changes) == {FILE: changes[0].before, RESOLVER: None}


def test_a_backend_that_came_later_is_left_without_our_file() -> None:
    back = Desired({RESOLVER: Resource(None)})
    ours = Observed({RESOLVER: {"servers": ["192.0.2.1"], "drop_in": {"content": "ours"}}})
    (change,) = PLUGIN.diff(back, ours)
    assert change.after is None
    assert PLUGIN.diff(back, Observed({RESOLVER: {"servers": [], "drop_in": None}})) == []


def test_a_link_that_went_is_given_up() -> None:
    link = PLUGIN.key("link", "eth0")
    back = Desired({link: Resource({"servers": []})})
    assert PLUGIN.is_lost(link, back, Observed())
    assert not PLUGIN.is_lost(link, back, Observed({link: {"servers": []}}))


def test_a_file_that_was_taken_over_is_given_back_when_resolved_came() -> None:
    original = {"content": "nameserver 192.0.2.9\n", "link": None, "mode": "0644", "owner": "0:0"}
    desired = declared({"servers": ["192.0.2.1"], "dnssec": "yes"})
    both = Desired({**desired.resources, FILE: Resource(original)}, desired.payload)
    there = Observed({RESOLVER: {"servers": [], "dnssec": "no", "drop_in": None}})
    assert [change.key for change in PLUGIN.diff(both, there)] == [FILE, RESOLVER]


def test_all_names_are_a_dot_on_the_bus() -> None:
    assert wire_domains(["~.", "~corp.example", "example.net"]) == [
        [".", True],
        ["corp.example", True],
        ["example.net", False],
    ]


def test_servers_on_the_bus() -> None:
    assert wire_servers(["192.0.2.1:5353", "2001:db8::1#dns.example"]) == [
        [2, b"\xc0\x00\x02\x01", 5353, ""],
        [10, ip_address("2001:db8::1").packed, 0, "dns.example"],
    ]


# --- what stands in the way ----------------------------------------------------------------------


def test_a_file_that_is_read_later_has_the_last_word(tmp_path: Path) -> None:
    place = Machine(Bus(None), tmp_path)
    ours = place.path("/etc/systemd/resolved.conf.d/50-privacy-router.conf")
    for directory, name, text in (
        ("etc", "10-before.conf", "DNS=192.0.2.9"),
        ("etc", "60-comment.conf", "#DNS=192.0.2.9\nDNSSEC=no"),
        ("run", "70-later.conf", " DNS = 192.0.2.9"),
    ):
        path = tmp_path / directory / "systemd/resolved.conf.d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[Resolve]\n{text}\n")
    require_last_word(place, ours, ["Domains"])
    with pytest.raises(RefusedError, match=r"60-comment\.conf sets DNSSEC too"):
        require_last_word(place, ours, ["DNSSEC"])
    with pytest.raises(RefusedError, match=r"70-later\.conf sets DNS too"):
        require_last_word(place, ours, ["DNS"])
    # The same name in /etc hides the one in /run, as `systemctl edit` would have it.
    (ours.parent / "70-later.conf").touch()
    require_last_word(place, ours, ["DNS"])


def test_a_mount_and_a_missing_directory_are_refused(tmp_path: Path) -> None:
    place = Machine(Bus(None), tmp_path)
    path = tmp_path / "etc/resolv.conf"
    with pytest.raises(RefusedError, match="is not there"):
        require_replaceable(place, path)
    path.parent.mkdir()
    require_replaceable(place, path)
    mounts = tmp_path / "proc/self/mountinfo"
    mounts.parent.mkdir(parents=True)
    mounts.write_text(f"36 35 98:0 / {path} rw,noatime master:1 - ext4 /dev/root rw\n")
    with pytest.raises(RefusedError, match="a mount of its own"):
        require_replaceable(place, path)
