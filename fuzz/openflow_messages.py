"""`make fuzz`: bytes from a switch never crash, hang or do more than raise DecodeError.

atheris finds the bytes; it is no locked dependency, since it comes for few interpreters:

    .venv/bin/pip install atheris
    make fuzz FUZZ_SECONDS=600

The corpus starts with every message of the tests and grows in build/fuzz/openflow. What went wrong
is kept there as crash-*, and `.venv/bin/python fuzz/openflow_messages.py FILE` does it again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("atheris is missing; get it with: .venv/bin/pip install atheris")

with atheris.instrument_imports(include=["privacy_router.openflow"]):
    from privacy_router.openflow import (
        Connection,
        DecodeError,
        Hello,
        Message,
        NegotiationError,
        decode_untrusted,
        encode,
    )
    from privacy_router.openflow.difference import difference_untrusted

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "build" / "fuzz" / "openflow"
SECONDS = os.environ.get("FUZZ_SECONDS", "60")
HEADER_BYTES = 8
HANG_S = 10
MEMORY_LIMIT_MB = 1024
LONGEST_BYTES = 4096
GREETING = encode(Hello(), 0)


def check(data: bytes) -> None:
    """One input, as a message, as a stream, as flows read back."""
    check_message(data)
    check_message(with_header(data))
    check_connection(data)
    check_connection(with_header(data) + data)
    try:
        difference_untrusted([], [data])
    except DecodeError:
        return


def with_header(data: bytes) -> bytes:
    """The bytes with a header that fits, so that they get further."""
    if len(data) < HEADER_BYTES:
        return data
    return b"\4" + data[1:2] + len(data).to_bytes(2, "big") + data[4:]


def check_message(data: bytes) -> None:
    """Refused as announced, or a message that is the same from then on."""
    try:
        xid, message = decode_untrusted(data)
    except DecodeError:
        return
    repr(message)
    canonical = encode(message, xid)
    if b"\\x" not in canonical and decode_untrusted(canonical) != (xid, message):
        raise AssertionError(f"{message!r} does not come back")


def check_connection(data: bytes) -> None:
    """Events, or one of two errors and that one for ever; an answer stays within its bounds."""
    connection = Connection(max_answer_bytes=100_000)
    connection.keep_raw(1)
    half = len(data) // 2
    failure: Exception | None = None
    for piece in (GREETING, data[:half], data[half:]):
        try:
            connection.receive_data(piece)
        except (DecodeError, NegotiationError) as error:
            if failure is not None and failure is not error:
                raise AssertionError("a broken connection changed its mind") from error
            failure = error


def write_corpus() -> None:
    """Every message that the tests know, encoded by us."""
    sys.path.insert(0, str(ROOT))
    from tests.openflow.test_openflow_fuzz import MESSAGES

    messages: list[Message] = MESSAGES
    CORPUS.mkdir(parents=True, exist_ok=True)
    for number, message in enumerate(messages):
        (CORPUS / f"message-{number:03}").write_bytes(encode(message, 1))


def main() -> None:
    """Fuzz for FUZZ_SECONDS, or do one file again."""
    if len(sys.argv) > 1:
        check(Path(sys.argv[1]).read_bytes())
        return
    write_corpus()
    limits = (
        f"-max_total_time={SECONDS}",
        f"-timeout={HANG_S}",
        f"-rss_limit_mb={MEMORY_LIMIT_MB}",
        f"-max_len={LONGEST_BYTES}",
        f"-artifact_prefix={CORPUS}/",
        "-print_final_stats=1",
    )
    atheris.Setup([sys.argv[0], *limits, str(CORPUS)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
