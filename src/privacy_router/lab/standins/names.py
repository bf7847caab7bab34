"""The lab's DNS: what it answers to which query (pure). Source: RFC 1035."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from privacy_router.errors import PrivacyRouterError
from privacy_router.lab import internet

if TYPE_CHECKING:
    from privacy_router.lab.internet import Address

_TTL_S = 30
_UDP_LIMIT_BYTES = 1232
_WHOAMI = dns.name.from_text(internet.WHOAMI_NAME)
_KNOWN = {dns.name.from_text(name): addresses for name, addresses in internet.NAMES.items()}


class QueryError(PrivacyRouterError):
    """What came is not a DNS query."""


def answer_untrusted(
    query: bytes, querier: Address, *, limit_bytes: int = _UDP_LIMIT_BYTES
) -> bytes:
    """The answer to a query. Names below `whoami` have the querier's address as TXT.

    Raises QueryError.
    """
    try:
        question = dns.message.from_wire(query)
        if question.flags & dns.flags.QR or len(question.question) != 1:
            raise QueryError("this is not a query for one name")
        response = dns.message.make_response(question, recursion_available=True)
        _fill(response, question.question[0], querier)
        return response.to_wire(max_size=limit_bytes)
    except (dns.exception.DNSException, ValueError, IndexError) as error:
        raise QueryError(type(error).__name__) from error


def _fill(response: dns.message.Message, asked: dns.rrset.RRset, querier: Address) -> None:
    values: list[tuple[dns.rdatatype.RdataType, str]] = []
    if asked.name.is_subdomain(_WHOAMI):
        values = [(dns.rdatatype.TXT, f'"{querier}"')]
    elif asked.name in _KNOWN:
        v4, v6 = _KNOWN[asked.name]
        values = [(dns.rdatatype.A, str(v4)), (dns.rdatatype.AAAA, str(v6))]
    else:
        response.set_rcode(dns.rcode.NXDOMAIN)
    for kind, text in values:
        if asked.rdtype == kind:
            response.answer.append(
                dns.rrset.from_text(asked.name, _TTL_S, dns.rdataclass.IN, kind, text)
            )
