"""The lab's certificates hold for the strictest client, which is Python's own from 3.13 on."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from privacy_router.lab.standins.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path


def shake_hands(client: ssl.SSLObject, server: ssl.SSLObject) -> None:
    """In memory. Raises what the client finds wrong."""
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize("name", ["api.example.com", "192.0.2.1", "2001:db8::1"])
def test_a_strict_client_takes_them(tmp_path: Path, name: str) -> None:
    authority = Authority(datetime.now(UTC))
    addresses = [ip_address("192.0.2.1"), ip_address("2001:db8::1")]
    issued = authority.issue(["api.example.com", *addresses])
    file = tmp_path / "server.pem"
    file.write_bytes(issued.chain_pem + issued.key_pem)
    strict = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = strict.wrap_bio(down, up, server_hostname=name)
    server = serving.wrap_bio(up, down, server_side=True)
    shake_hands(client, server)
    assert client.version() == "TLSv1.3"
    assert client.getpeercert()
