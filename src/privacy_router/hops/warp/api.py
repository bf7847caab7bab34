"""The WARP account API over HTTPS: the only file of the hop that talks to Cloudflare's service.

TLS is pinned to 1.2 over HTTP/1.1, as the service expects of its clients. No proxy of the
environment is used, and no other program's TLS fingerprint is imitated.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from privacy_router.errors import RemoteServiceError
from privacy_router.hops.warp.account import (
    Account,
    Device,
    decode_account_untrusted,
    decode_device_untrusted,
    decode_problems_untrusted,
    registration_body,
)
from privacy_router.hops.warp.refusals import Refusal, explain

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from privacy_router.hops.warp.credentials import Credentials

ANSWER_LIMIT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class ApiSettings:
    """How the service wants to be spoken to; these values move with Cloudflare's own client."""

    base_url: str = "https://api.cloudflareclient.com"
    version: str = "v0a5641"
    user_agent: str = "1.1.1.1/6.38.9-5641 (Android 16.0.0)"
    client_version: str = "a-6.38.9-5641"
    timeout_s: float = 15.0


def default_tls() -> ssl.SSLContext:
    """The system's trust store (SSL_CERT_FILE moves it), TLS 1.2 only."""
    context = ssl.create_default_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class WarpApi:
    """One connection to the service; use as `async with`.

    Every method raises RemoteServiceError (RevokedError when the service no longer knows the
    device) within `timeout_s` seconds; none repeats a request by itself.
    """

    def __init__(
        self, settings: ApiSettings | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._settings = settings or ApiSettings()
        self._client = httpx.AsyncClient(
            verify=tls or default_tls(),
            trust_env=False,
            timeout=self._settings.timeout_s,
            headers={
                "User-Agent": self._settings.user_agent,
                "CF-Client-Version": self._settings.client_version,
                "Connection": "Keep-Alive",
                "Accept-Encoding": "identity",
            },
        )
        del self._client.headers["Accept"]

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def register(self, public_key: str, *, tos: datetime, model: str = "PC") -> Device:
        """Register a new device with its token; `tos` is when the user accepted the terms."""
        body = registration_body(public_key, tos, model)
        return decode_device_untrusted(await self._ask("POST", "reg", body=body))

    async def device(self, credentials: Credentials) -> Device:
        """The device as the service knows it (without its token)."""
        return decode_device_untrusted(await self._ask("GET", _path(credentials), credentials))

    async def rotate_key(self, credentials: Credentials, public_key: str) -> Device:
        """Give the device another WireGuard key."""
        body = {"key": public_key}
        answer = await self._ask("PATCH", _path(credentials), credentials, body)
        return decode_device_untrusted(answer)

    async def delete(self, credentials: Credentials) -> None:
        """Remove the device for good."""
        await self._ask("DELETE", _path(credentials), credentials)

    async def account(self, credentials: Credentials) -> Account:
        """The account of the device."""
        path = f"{_path(credentials)}/account"
        return decode_account_untrusted(await self._ask("GET", path, credentials))

    async def bind_license(self, credentials: Credentials, license_key: str) -> Account:
        """Move the device to the account of a licence key; the answer is a part of that account."""
        path = f"{_path(credentials)}/account"
        body = {"license": license_key}
        return decode_account_untrusted(await self._ask("PUT", path, credentials, body))

    async def _ask(
        self,
        method: str,
        path: str,
        credentials: Credentials | None = None,
        body: dict[str, str] | None = None,
    ) -> bytes:
        headers = {"Content-Type": "application/json; charset=UTF-8"} if body is not None else {}
        if credentials is not None:
            headers["Authorization"] = f"Bearer {credentials.access_token}"
        url = f"{self._settings.base_url.rstrip('/')}/{self._settings.version}/{path}"
        request = self._client.build_request(method, url, headers=headers, json=body)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                response, content = await self._send(request)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise _unreachable(request.url.host, error) from error
        if response.is_success:
            return content
        raise explain(
            Refusal(
                response.status_code,
                response.headers.get("Retry-After"),
                decode_problems_untrusted(content),
            ),
            now=datetime.now(UTC),
            known_device=credentials is not None,
        )

    async def _send(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        response = await self._client.send(request, stream=True)
        try:
            content = bytearray()
            # Raw bytes: what is limited is what is kept, and no compressed answer was asked for.
            async for piece in response.aiter_raw():
                content += piece
                if len(content) > ANSWER_LIMIT_BYTES:
                    raise RemoteServiceError(
                        f"the WARP account service sent over {ANSWER_LIMIT_BYTES} bytes",
                        remedy="check warp.api_url",
                    )
        finally:
            await response.aclose()
        return response, bytes(content)


def _path(credentials: Credentials) -> str:
    return f"reg/{credentials.device_id}"


def _unreachable(host: str, error: Exception) -> RemoteServiceError:
    why: Any = error
    while why is not None and not isinstance(why, ssl.SSLCertVerificationError):
        why = why.__cause__ or why.__context__
    if why is not None:
        return RemoteServiceError(
            f"{host} does not show a certificate that this machine trusts",
            remedy="check the clock, the package ca-certificates and warp.api_url; "
            "another host may be between this machine and Cloudflare",
            retryable=True,  # a clock that is not set yet, the page of a hotel's network
        )
    slow = isinstance(error, (httpx.TimeoutException, TimeoutError))
    return RemoteServiceError(
        f"the WARP account service at {host} {'does not answer' if slow else 'cannot be reached'}",
        remedy="check the network and warp.api_url; where the service is blocked, "
        "import a profile that wgcf made elsewhere (warp.wgcf_config)",
        retryable=True,
    )
