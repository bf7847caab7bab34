"""The connection in memory: greeting, echo, answers in parts, a peer that misbehaves."""

from __future__ import annotations

import pytest

from privacy_router.openflow import (
    BarrierRequest,
    Connection,
    DecodeError,
    ErrorMessage,
    FlowStats,
    GotoTable,
    Hello,
    Match,
    Message,
    Negotiated,
    NegotiationError,
    Received,
    decode_untrusted,
    encode,
)
from privacy_router.openflow.connection import State
from privacy_router.openflow.error_names import error_name
from privacy_router.openflow.messages import EchoReply, EchoRequest, HelloElement
from privacy_router.openflow.multipart import MultipartReply


def opened(**options: int) -> Connection:
    connection = Connection(**options)
    connection.start()
    connection.receive_data(encode(Hello(), 0))
    connection.data_to_send()
    return connection


def sent(connection: Connection) -> list[tuple[int, Message]]:
    data = connection.data_to_send()
    messages = []
    while data:
        length = int.from_bytes(data[2:4], "big")
        messages.append(decode_untrusted(data[:length]))
        data = data[length:]
    return messages


def versions(*numbers: int) -> tuple[HelloElement, ...]:
    return (HelloElement(1, sum(1 << n for n in numbers).to_bytes(4, "big")),)


@pytest.mark.parametrize(
    "hello",
    [
        Hello(4, versions(4)),
        Hello(6, versions(1, 4, 6)),
        Hello(6, ()),
        Hello(4, ()),
        Hello(6, (HelloElement(7, b"new"), *versions(4))),
        Hello(9, (HelloElement(1, b"\0\0\0\x10\0\0\0\1"),)),
    ],
)
def test_a_peer_that_speaks_1_3_is_greeted(hello: Hello) -> None:
    connection = Connection()
    connection.start()
    assert sent(connection) == [(1, Hello(4, versions(4)))]
    assert connection.receive_data(encode(hello, 0)) == [Negotiated(4)]
    assert connection.state is State.OPEN


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (Hello(1, ()), "does not speak OpenFlow 1.3, but version 0x01"),
        (Hello(6, versions(5, 6)), "version 0x05, 0x06"),
        (ErrorMessage(0, 0, b"1.0 only"), "HELLO_FAILED.INCOMPATIBLE 1.0 only"),
        (BarrierRequest(), "began with BarrierRequest"),
    ],
)
def test_any_other_peer_is_refused_in_words(first: Message, complaint: str) -> None:
    connection = Connection()
    with pytest.raises(NegotiationError, match=complaint):
        connection.receive_data(encode(first, 0))
    assert connection.state is State.BROKEN


def test_a_peer_of_another_version_is_told() -> None:
    connection = Connection()
    with pytest.raises(NegotiationError):
        connection.receive_data(encode(Hello(1, ()), 0))
    assert [m.error_type for _, m in sent(connection) if isinstance(m, ErrorMessage)] == [0]


def test_a_greeting_with_an_empty_element_is_an_error_and_no_endless_loop() -> None:
    connection = Connection()
    with pytest.raises(DecodeError, match="HELLO element of 0 bytes"):
        connection.receive_data(bytes.fromhex("04000010000000010001000000000010"))


def test_messages_arrive_however_the_bytes_are_cut() -> None:
    stream = encode(Hello(), 0) + encode(EchoReply(b"abc"), 5) + encode(BarrierRequest(), 6)
    connection = Connection()
    events = [event for byte in stream for event in connection.receive_data(bytes([byte]))]
    assert events == [
        Negotiated(4),
        Received(5, EchoReply(b"abc")),
        Received(6, BarrierRequest()),
    ]


def test_an_echo_request_is_answered_with_its_data() -> None:
    connection = opened()
    assert connection.receive_data(encode(EchoRequest(b"abc"), 77)) == []
    assert sent(connection) == [(77, EchoReply(b"abc"))]


def flow(priority: int) -> FlowStats:
    return FlowStats(0, priority, Match(), (GotoTable(1),))


def part(*priorities: int, more: bool, kind: int = 1) -> MultipartReply:
    return MultipartReply(kind, tuple(flow(p) for p in priorities), more)


def test_answers_in_parts_are_put_together_even_when_they_interleave() -> None:
    connection = opened()
    stream = [(1, part(1, more=True)), (2, part(7, more=True)), (1, part(2, more=True))]
    for xid, message in stream:
        assert connection.receive_data(encode(message, xid)) == []
    assert connection.receive_data(encode(part(more=False), 1)) == [
        Received(1, part(1, 2, more=False))
    ]
    assert connection.receive_data(encode(part(8, more=False), 2)) == [
        Received(2, part(7, 8, more=False))
    ]


def test_an_answer_that_never_ends_is_cut_off() -> None:
    connection = opened(max_answer_bytes=1000)
    with pytest.raises(DecodeError, match="exceed 1000 bytes"):
        for _ in range(100):
            connection.receive_data(encode(part(1, more=True), 1))


def test_answers_that_all_begin_and_never_end_are_cut_off() -> None:
    connection = opened()
    with pytest.raises(DecodeError, match="answers are unfinished"):
        for xid in range(1000):
            connection.receive_data(encode(part(more=True), xid))


def test_an_answer_that_changes_its_kind_is_an_error() -> None:
    connection = opened()
    connection.receive_data(encode(part(1, more=True), 1))
    with pytest.raises(DecodeError, match="goes on as kind 13"):
        connection.receive_data(encode(MultipartReply(13, (), more=False), 1))


def test_after_an_error_nothing_is_read_any_more() -> None:
    connection = opened()
    with pytest.raises(DecodeError, match="4 bytes"):
        connection.receive_data(bytes.fromhex("0402000400000001"))
    with pytest.raises(DecodeError, match="4 bytes"):
        connection.receive_data(encode(EchoRequest(), 1))


def test_a_message_of_another_version_is_an_error() -> None:
    connection = opened()
    with pytest.raises(DecodeError, match="version 0x01"):
        connection.receive_data(bytes.fromhex("0102000800000001"))


def test_transaction_ids_do_not_repeat_and_wrap_around() -> None:
    connection = opened()
    first = connection.reserve_xids(3)
    assert connection.send(BarrierRequest()) == first.stop
    connection._next_xid = 0xFFFFFFFF
    assert connection.send(BarrierRequest()) == 0xFFFFFFFF
    assert list(connection.reserve_xids(2)) == [1, 2]


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ((5, 1, None), "FLOW_MOD_FAILED.TABLE_FULL"),
        ((0xFFFF, 2313, 0x4F4E4600), "BUNDLE_FAILED.MSG_FAILED"),
        ((0xFFFF, 15, 0x2320), "BAD_ACTION.BAD_CONJUNCTION"),
        ((0xFFFF, 99, 0x2320), "NICIRA.99"),
        ((0xFFFF, 99, 0x4F4E4600), "ONF.99"),
        ((0xFFFF, 99, 7), "EXPERIMENTER.99"),
        ((77, 3, None), "UNKNOWN_0x4d.3"),
    ],
)
def test_errors_have_names(error: tuple[int, int, int | None], name: str) -> None:
    assert error_name(*error) == name
