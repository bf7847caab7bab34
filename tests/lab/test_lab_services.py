"""What the lab's DNS and web site answer."""

from __future__ import annotations

from ipaddress import ip_address

import dns.exception
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy_router.lab import internet
from privacy_router.lab.standins.names import QueryError, answer_untrusted
from privacy_router.lab.standins.pages import BYTES_LIMIT, page_untrusted
from privacy_router.lab.standins.sizes import SizeError, question
from privacy_router.lab.standins.sizes import answer_untrusted as sized_answer_untrusted

VISITOR = ip_address("198.18.200.1")


def asked(name: str, kind: str) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    answer = dns.message.from_wire(answer_untrusted(query.to_wire(), VISITOR))
    assert answer.id == query.id
    return answer


@pytest.mark.parametrize("name", internet.NAMES)
@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_known_names_have_both_addresses(name: str, kind: str) -> None:
    (records,) = asked(name.upper(), kind).answer
    assert [str(record) for record in records] == [str(internet.NAMES[name][kind == "AAAA"])]


def test_the_asker_is_told_who_it_is() -> None:
    (records,) = asked(f"word.{internet.WHOAMI_NAME}", "TXT").answer
    assert str(records[0]) == f'"{VISITOR}"'


def test_a_known_name_without_that_kind_of_record_is_not_unknown() -> None:
    answer = asked(internet.WEB_NAME, "MX")
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert asked("elsewhere.example", "A").rcode() == dns.rcode.NXDOMAIN


@given(st.binary(max_size=100))
def test_any_bytes_are_answered_or_refused(data: bytes) -> None:
    try:
        answer_untrusted(data, VISITOR)
    except QueryError:
        return


def test_an_answer_is_not_answered() -> None:
    reply = dns.message.make_response(dns.message.make_query("a.example", "A"))
    with pytest.raises(QueryError):
        answer_untrusted(reply.to_wire(), VISITOR)


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/ip", 200, b"198.18.200.1\n"),
        ("/", 200, b"198.18.200.1\n"),
        ("/echo?x=a%20word", 200, b"198.18.200.1 a word\n"),
        ("/echo", 200, b"198.18.200.1 \n"),
        ("/bytes?n=3", 200, b"\x00\x01\x02"),
        ("/bytes?n=0", 200, b""),
        (f"/bytes?n={BYTES_LIMIT + 1}", 400, None),
        ("/bytes?n=-1", 400, None),
        ("/bytes?n=٣", 400, None),
        ("/bytes", 400, None),
        ("/elsewhere", 404, None),
        ("http://[", 400, None),
    ],
)
def test_pages(target: str, status: int, body: bytes | None) -> None:
    page = page_untrusted(target, VISITOR)
    assert page.status == status
    content = b"".join(page.pieces())
    assert len(content) == page.length_bytes
    if body is not None:
        assert content == body


@given(st.integers(0, 300_000))
def test_as_many_bytes_as_asked_for(count: int) -> None:
    page = page_untrusted(f"/bytes?n={count}", VISITOR)
    assert sum(map(len, page.pieces())) == page.length_bytes == count


@given(st.text())
def test_any_target_has_a_page(target: str) -> None:
    assert page_untrusted(target, VISITOR).status in (200, 400, 404)


@pytest.mark.parametrize("answer_bytes", [60, 1252, 1253, 1392, 65507])
@pytest.mark.parametrize("question_bytes", [40, 1252, 1392])
def test_answers_have_the_size_that_is_asked_for(answer_bytes: int, question_bytes: int) -> None:
    asked = question("word", answer_bytes, question_bytes)
    assert len(asked) == question_bytes
    answer = sized_answer_untrusted(asked, VISITOR)
    assert len(answer) == answer_bytes
    assert answer.split() == [str(VISITOR).encode(), b"word", str(question_bytes).encode()]


@given(st.binary(max_size=100) | st.from_regex(rb"\w{1,9} [0-9]{1,6} ?.*"))
def test_any_bytes_are_answered_within_a_datagram_or_refused(data: bytes) -> None:
    try:
        answer = sized_answer_untrusted(data, VISITOR)
    except SizeError:
        return
    assert len(answer) <= 65507 + len(data)
