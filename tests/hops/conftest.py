"""What the tests of several hops share."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import pytest

from privacy_router.lab.standins.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

SITE_NAME = "www.example.com"


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority(datetime.now(UTC), "test authority")


@pytest.fixture
def server_tls(authority: Authority, tmp_path: Path) -> ssl.SSLContext:
    """A server's TLS for the site, `localhost` and both loopback addresses."""
    names = (SITE_NAME, "localhost", IPv4Address("127.0.0.1"), IPv6Address("::1"))
    certificate = authority.issue(names)
    file = tmp_path / "server.pem"
    file.touch(mode=0o600)
    file.write_bytes(certificate.key_pem + certificate.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
