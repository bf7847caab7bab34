"""A stand-in for Cloudflare: the WARP account API and `/cdn-cgi/trace`, over HTTPS and HTTP.

It speaks as much of the API as its clients use, keeps its devices in memory, and can be told to
refuse, to fail or to hang.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

import h11

from privacy_router.lab.standins.warp_accounts import AccountRefusedError, Accounts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privacy_router.lab.standins.warp_accounts import Addresses, Json, TunnelOffer

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_BODY_LIMIT_BYTES = 64 * 1024
_JSON = "application/json; charset=UTF-8"


@dataclass(frozen=True)
class Fault:
    """How the API misbehaves: a `status` such as 429, with or without Retry-After; or it hangs."""

    status: int = 500
    retry_after: str | None = None
    code: int = 0
    hang: bool = False


@dataclass(frozen=True)
class Visit:
    """A request as it came in."""

    method: str
    path: str
    peer: Address
    tls_version: str | None
    user_agent: str


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes = b""
    content_type: str = _JSON
    retry_after: str | None = None


class WarpApiStandIn:
    """The service; `on_register` adds a public key to the WireGuard peer and gives its addresses.

    A request whose source is in one of `warp_networks` is told `warp=on` by the trace page.
    """

    def __init__(
        self,
        offer: TunnelOffer,
        warp_networks: Sequence[Network],
        on_register: Callable[[str], Addresses],
        *,
        fault: Fault | None = None,
    ) -> None:
        self._accounts = Accounts(offer, on_register)
        self._warp_networks = tuple(warp_networks)
        self._fault = fault
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self.visits: list[Visit] = []

    @property
    def device_keys(self) -> dict[str, str]:
        """The WireGuard public keys of the registered devices by device id."""
        return self._accounts.device_keys

    def misbehave(self, fault: Fault | None) -> None:
        """Answer every request to the API with `fault` from now on; None ends it."""
        self._fault = fault

    async def listen(
        self, addresses: Sequence[Address], port: int, tls: ssl.SSLContext | None = None
    ) -> int:
        """Serve on `addresses`, by HTTPS with `tls`. Returns the port, which 0 leaves open.

        May be called several times. Raises OSError.
        """
        for address in addresses:
            server = await asyncio.start_server(self._accept, str(address), port, ssl=tls)
            self._servers.append(server)
            port = int(server.sockets[0].getsockname()[1])
        return port

    async def close(self) -> None:
        """Stop serving and end every connection."""
        for server in self._servers:
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._servers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("connections are served in tasks")
        self._connections.add(task)
        try:
            with suppress(OSError, h11.RemoteProtocolError):
                await self._converse(_Connection(reader, writer))
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, connection: _Connection) -> None:
        while (request := await connection.receive()) is not None:
            head, body = request
            visit = connection.visit(head)
            self.visits.append(visit)
            is_trace = visit.path == "/cdn-cgi/trace"
            if self._fault is not None and self._fault.hang and not is_trace:
                await asyncio.Event().wait()
            answer = self._trace(head, visit) if is_trace else self._answer(head, visit, body)
            if not await connection.send(answer):
                return

    def _trace(self, head: h11.Request, visit: Visit) -> _Answer:
        through_warp = any(visit.peer in network for network in self._warp_networks)
        values = {
            "fl": "0f0",
            "h": _header(head, b"host"),
            "ip": str(visit.peer),
            "ts": f"{datetime.now(UTC).timestamp():.3f}",
            "visit_scheme": "https" if visit.tls_version else "http",
            "uag": visit.user_agent,
            "colo": "LAB",
            "http": "http/1.1",
            "loc": "XX",
            "tls": visit.tls_version or "off",
            "warp": "on" if through_warp else "off",
        }
        text = "".join(f"{key}={value}\n" for key, value in values.items())
        return _Answer(200, text.encode(), "text/plain")

    def _answer(self, head: h11.Request, visit: Visit, body: bytes) -> _Answer:
        if self._fault is not None:
            return _refusal(self._fault.status, self._fault.code, self._fault.retry_after)
        _, _, *path = visit.path.partition("?")[0].split("/")
        try:
            content = json.loads(body) if body else {}
        except ValueError:
            return _refusal(400, 1000)
        if not isinstance(content, dict):
            return _refusal(400, 1000)
        try:
            return self._serve(visit.method, path, _header(head, b"authorization"), content)
        except AccountRefusedError as refusal:
            return _refusal(refusal.status, refusal.code)

    def _serve(self, method: str, path: list[str], shown: str, content: Json) -> _Answer:
        match path:
            case ["reg"] if method == "POST":
                return _json(self._accounts.register(content))
            case ["reg", device, *rest]:
                self._accounts.require_token(device, shown)
                return self._serve_device(device, method, rest, content)
        raise AccountRefusedError(404, 1000)

    def _serve_device(self, device: str, method: str, rest: list[str], content: Json) -> _Answer:
        accounts = self._accounts
        match (method, rest):
            case ("GET", []):
                return _json(accounts.device(device))
            case ("PATCH", []):
                return _json(accounts.change(device, content))
            case ("DELETE", []):
                accounts.delete(device)
                return _Answer(204)
            case ("GET", ["account"]):
                return _json(accounts.account(device))
            case ("PUT", ["account"]):
                return _json(accounts.bind(device, content))
            case ("POST", ["account", "license"]):
                return _json(accounts.reset_license(device))
            case ("GET", ["account", "devices"]):
                return _json(accounts.bound_devices(device))
            case ("PATCH", ["account", "reg", other]):
                return _json(accounts.change_bound(device, other, content))
            case ("DELETE", ["account", "reg", other]):
                accounts.delete_bound(device, other)
                return _Answer(204)
        raise AccountRefusedError(405, 1000)


class _Connection:
    """HTTP/1.1 (RFC 9112) on one stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def receive(self) -> tuple[h11.Request, bytes] | None:
        """The next request with its body; None when the client has gone."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(65536))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > _BODY_LIMIT_BYTES:
                    return None
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return head, bytes(body)
            else:
                return None

    def visit(self, head: h11.Request) -> Visit:
        """Who asks for what."""
        tls = self._writer.get_extra_info("ssl_object")
        source = ip_address(self._writer.get_extra_info("peername")[0])
        mapped = source.ipv4_mapped if isinstance(source, IPv6Address) else None
        return Visit(
            method=head.method.decode(),
            path=head.target.decode(),
            peer=mapped or source,
            tls_version=tls.version() if isinstance(tls, ssl.SSLObject) else None,
            user_agent=_header(head, b"user-agent"),
        )

    async def send(self, answer: _Answer) -> bool:
        """Send an answer; returns whether the connection can take another request."""
        headers = [("Server", "cloudflare"), ("Content-Length", str(len(answer.body)))]
        if answer.body:
            headers.append(("Content-Type", answer.content_type))
        if answer.retry_after is not None:
            headers.append(("Retry-After", answer.retry_after))
        events = (
            h11.Response(status_code=answer.status, headers=headers),
            h11.Data(data=answer.body),
            h11.EndOfMessage(),
        )
        for event in events:
            self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True


def _json(content: object) -> _Answer:
    return _Answer(200, json.dumps(content).encode())


def _refusal(status: int, code: int, retry_after: str | None = None) -> _Answer:
    errors = [{"code": code, "message": "refused by the stand-in"}]
    envelope = {"success": False, "errors": errors, "messages": [], "result": None}
    return _Answer(status, json.dumps(envelope).encode(), retry_after=retry_after)


def _header(head: h11.Request, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in head.headers if key == name), "")
