"""A stand-in for Cloudflare: the WARP account API and `/cdn-cgi/trace`, over HTTPS and HTTP.

It speaks as much of the API as its clients use, keeps its devices in memory, and can be told to
refuse, to fail or to hang.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import ssl
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

import h11

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Addresses = tuple[IPv4Address, IPv6Address]
Json = dict[str, Any]

_BODY_LIMIT_BYTES = 64 * 1024
_KEY_BYTES = 32
_JSON = "application/json; charset=UTF-8"


@dataclass(frozen=True)
class TunnelOffer:
    """What a registered device is told about the WireGuard peer; `client_id` are three bytes."""

    peer_public_key: str
    v4: IPv4Address
    v6: IPv6Address
    port: int = 2408
    host: str = "engage.cloudflareclient.com"
    client_id: bytes = b"\x55\x85\xfb"


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


@dataclass
class _Device:
    id: str
    token: str = field(repr=False)
    key: str
    addresses: Addresses
    model: str
    tos: str
    license_key: str = field(repr=False)


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
        self._offer = offer
        self._warp_networks = tuple(warp_networks)
        self._on_register = on_register
        self._fault = fault
        self._devices: dict[str, _Device] = {}
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self.visits: list[Visit] = []

    @property
    def device_keys(self) -> dict[str, str]:
        """The WireGuard public keys of the registered devices by device id."""
        return {device.id: device.key for device in self._devices.values()}

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
        if (visit.method, path) == ("POST", ["reg"]):
            return self._register(content)
        device = self._devices.get(path[1]) if path[:1] == ["reg"] and len(path) > 1 else None
        if device is None:
            return _refusal(404, 1000)
        if not secrets.compare_digest(_header(head, b"authorization"), f"Bearer {device.token}"):
            return _refusal(401, 1000)
        return self._serve(device, visit.method, path[2:], content)

    def _register(self, content: Json) -> _Answer:
        key = content.get("key")
        if not _is_key(key) or not isinstance(content.get("tos"), str):
            return _refusal(400, 1001 if not _is_key(key) else 1000)
        groups = [secrets.token_hex(4) for _ in range(3)]
        device = _Device(
            id=str(uuid.uuid4()),
            token=str(uuid.uuid4()),
            key=str(key),
            addresses=self._on_register(str(key)),
            model=str(content.get("model", "")),
            tos=content["tos"],
            license_key="-".join(groups).upper(),
        )
        self._devices[device.id] = device
        return _json({**self._describe(device), "token": device.token})

    def _serve(self, device: _Device, method: str, rest: list[str], content: Json) -> _Answer:
        match (method, rest):
            case ("GET", []):
                return _json(self._describe(device))
            case ("PATCH", []):
                return self._change(device, content)
            case ("DELETE", []):
                del self._devices[device.id]
                return _Answer(204)
            case ("GET", ["account"]):
                return _json(_account(device))
            case ("PUT", ["account"]):
                return _bind(device, content)
            case ("GET", ["account", "devices"]):
                return _json([{"id": d.id, "active": True} for d in self._devices.values()])
        return _refusal(405, 1000)

    def _change(self, device: _Device, content: Json) -> _Answer:
        key = content.get("key", device.key)
        if not _is_key(key):
            return _refusal(400, 1001)
        if key != device.key:
            device.key, device.addresses = key, self._on_register(key)
        return _json(self._describe(device))

    def _describe(self, device: _Device) -> Json:
        offer = self._offer
        endpoint = {
            "v4": f"{offer.v4}:0",
            "v6": f"[{offer.v6}]:0",
            "host": f"{offer.host}:{offer.port}",
            "ports": [offer.port, 500, 1701, 4500],
        }
        v4, v6 = device.addresses
        return {
            "id": device.id,
            "type": "a",
            "model": device.model,
            "name": "",
            "key": device.key,
            "account": _account(device),
            "config": {
                "client_id": base64.b64encode(offer.client_id).decode(),
                "peers": [{"public_key": offer.peer_public_key, "endpoint": endpoint}],
                "interface": {"addresses": {"v4": str(v4), "v6": str(v6)}},
            },
            "warp_enabled": True,
            "enabled": True,
            "tos": device.tos,
            "tunnel_type": "wireguard",
        }


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


def _account(device: _Device) -> Json:
    return {
        "id": device.id,
        "account_type": "free",
        "warp_plus": True,
        "premium_data": 0,
        "quota": 0,
        "role": "child",
        "license": device.license_key,
    }


def _bind(device: _Device, content: Json) -> _Answer:
    license_key = content.get("license")
    if not isinstance(license_key, str) or not license_key:
        return _refusal(400, 1002)
    device.license_key = license_key
    return _json({"id": device.id, "premium_data": 0, "quota": 0, "warp_plus": True})


def _json(content: object) -> _Answer:
    return _Answer(200, json.dumps(content).encode())


def _refusal(status: int, code: int, retry_after: str | None = None) -> _Answer:
    errors = [{"code": code, "message": "refused by the stand-in"}]
    envelope = {"success": False, "errors": errors, "messages": [], "result": None}
    return _Answer(status, json.dumps(envelope).encode(), retry_after=retry_after)


def _header(head: h11.Request, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in head.headers if key == name), "")


def _is_key(value: object) -> bool:
    try:
        return isinstance(value, str) and len(base64.b64decode(value, validate=True)) == _KEY_BYTES
    except ValueError:
        return False
