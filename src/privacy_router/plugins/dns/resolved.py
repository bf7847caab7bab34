"""systemd-resolved as it answers on D-Bus; see org.freedesktop.resolve1(5)."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Final

from privacy_router.config.plugins.dns import parse_server, server_text
from privacy_router.errors import ConflictError, PrivilegeError, VerificationError
from privacy_router.host import systemd1
from privacy_router.host.dbus import BusGoneError, DBusCallError, Remote
from privacy_router.host.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from privacy_router.engine.model import Value
    from privacy_router.plugins.target import Machine

SERVICE: Final = "org.freedesktop.resolve1"
UNIT: Final = "systemd-resolved.service"
MANAGER: Final = Remote(SERVICE, "/org/freedesktop/resolve1", f"{SERVICE}.Manager")
LINK_STATES: Final = "/run/systemd/resolve/netif"
_LINK: Final = f"{SERVICE}.Link"
_PEER: Final = "org.freedesktop.DBus.Peer"
_NETWORKD: Final = Remote(
    "org.freedesktop.network1", "/org/freedesktop/network1", "org.freedesktop.network1.Manager"
)
# Not there, stopped and disabled, or masked; one that only fails to start has other errors.
_ABSENT: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.NameHasNoOwner",
        "org.freedesktop.DBus.Error.FileExists",
        systemd1.NO_SUCH_UNIT,
        systemd1.UNIT_MASKED,
    }
)
_DENIED: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.AccessDenied",
        "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
    }
)
_NO_LINK: Final = f"{SERVICE}.NoSuchLink"
_BUSY: Final = f"{SERVICE}.LinkBusy"
_LINK_WAIT_S: Final = 5.0
_FAMILIES: Final = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}


class Resolved:
    """The service. Methods raise DBusCallError unless they say otherwise."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._bus = machine.bus

    async def is_there(self) -> bool:
        """Whether it answers; it is started for that if it is enabled.

        Without a bus it is not there, unless its files show that it was: then BusGoneError says
        so, for a resolver must not be replaced because the bus is gone for a moment.
        """
        try:
            await self._bus.call(MANAGER.at(MANAGER.path, _PEER), "Ping")
        except BusGoneError:
            if self._machine.path(LINK_STATES).parent.is_dir():
                raise
            return False
        except DBusCallError as error:
            if error.name in _ABSENT:
                return False
            raise
        return True

    # --- the machine's settings --------------------------------------------------------------

    async def settings(self) -> dict[str, Value]:
        """The machine's own settings as they are in force, without those of links."""
        found = await self._bus.get_all(MANAGER)
        return {
            "servers": [_text(*server) for index, *server in found["DNSEx"] if not index],
            "fallback": [_text(*server) for index, *server in found["FallbackDNSEx"] if not index],
            "search": [_domain(*domain) for index, *domain in found["Domains"] if not index],
            "dnssec": found["DNSSEC"],
            "dns_over_tls": found["DNSOverTLS"],
            "resolv_conf": found.get("ResolvConfMode", ""),
        }

    async def restart(self) -> None:
        """Have its files read: up to systemd 255 it cannot do so while it runs.

        What it was told about links lasts. Raises VerificationError when it does not come back.
        """
        async with systemd1.jobs(self._bus) as jobs:
            # Or the sixth restart within ten seconds would be one too many.
            await self._asked(systemd1.MANAGER, "ResetFailedUnit", "s", UNIT)
            (job,) = await self._asked(systemd1.MANAGER, "RestartUnit", "ss", UNIT, "replace")
            _require_done(await jobs.result(job))

    # --- links -------------------------------------------------------------------------------

    async def link(self, name: str) -> dict[str, Value] | None:
        """What a link was told; None when there is no such link or it was told nothing."""
        index = index_of(name)
        if index is None:
            return None
        try:
            path = (await self._bus.call(MANAGER, "GetLink", "i", index))[0]
            found = await self._bus.get_all(MANAGER.at(path, _LINK))
        except DBusCallError as error:
            if error.name in {_NO_LINK, "org.freedesktop.DBus.Error.UnknownObject"}:
                return None
            raise
        told = self._machine.path(LINK_STATES) / str(index)
        if not (found["DNS"] or found["Domains"] or await in_thread(told.exists)):
            return None
        return {
            "servers": [_text(*server) for server in found["DNSEx"]],
            "search": [_domain(*domain) for domain in found["Domains"]],
            "default_route": found["DefaultRoute"],
            "dnssec": found["DNSSEC"],
            "dns_over_tls": found["DNSOverTLS"],
        }

    async def links(self) -> dict[str, Value]:
        """Every link that was told something, by name."""
        names = [name for _, name in socket.if_nameindex()]
        found = {name: await self.link(name) for name in sorted(names)}
        return {name: value for name, value in found.items() if value is not None}

    async def set_link(self, name: str, settings: Mapping[str, Value]) -> None:
        """Tell a link these settings, and leave its others. Raises PrivacyRouterError."""
        index = await self._known_index(name)
        for setting, value in settings.items():
            member, signature, argument = _SETTERS[setting]
            await self._asked(MANAGER, member, signature, index, argument(value))

    async def revert_link(self, name: str) -> None:
        """Make a link forget what it was told. Raises PrivacyRouterError."""
        index = index_of(name)
        if index is not None:
            await self._asked(MANAGER, "RevertLink", "i", index)

    async def is_managed(self, name: str) -> bool:
        """Whether systemd-networkd configures the link; then no other program may."""
        index = index_of(name)
        if index is None or await self._bus.owner(_NETWORKD.destination) is None:
            return False
        _, path = await self._bus.call(_NETWORKD, "GetLinkByIndex", "i", index)
        where = _NETWORKD.at(path, f"{_NETWORKD.destination}.Link")
        return str(await self._bus.get(where, "AdministrativeState")) != "unmanaged"

    async def _known_index(self, name: str) -> int:
        """The index, once systemd-resolved knows the link: it hears of a new one a bit later."""
        deadline = asyncio.get_running_loop().time() + _LINK_WAIT_S
        while (index := index_of(name)) is not None:
            try:
                await self._bus.call(MANAGER, "GetLink", "i", index)
            except DBusCallError as error:
                if error.name != _NO_LINK or asyncio.get_running_loop().time() > deadline:
                    raise
            else:
                return index
            await asyncio.sleep(0.05)
        raise ConflictError(
            f"there is no network interface {name} to resolve names with",
            remedy=f"have it made (plugins.net), or leave out plugins.dns.links.{name}",
            retryable=True,
        )

    async def _asked(self, remote: Remote, member: str, signature: str, *body: Any) -> Any:
        try:
            return await self._bus.call(remote, member, signature, *body)
        except DBusCallError as error:
            if error.name in _DENIED:
                raise PrivilegeError(
                    f"{remote.destination} does not let this user do {member}",
                    remedy="run as root, or allow it by a polkit rule",
                ) from error
            if error.name == _BUSY:
                raise managed_elsewhere(error.message) from error
            raise


def managed_elsewhere(reason: str) -> ConflictError:
    """The error for a link that systemd-networkd has."""
    return ConflictError(
        f"systemd-networkd configures this link: {reason}",
        remedy="set DNS= and Domains= in its .network file, or leave the link out of plugins.dns",
    )


def index_of(name: str) -> int | None:
    """The index of a network interface, None when there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def _require_done(result: str) -> None:
    if result != systemd1.DONE:
        raise VerificationError(
            f"systemd-resolved did not start again: its job ended as {result}",
            remedy=f"journalctl -u {UNIT} says why",
            retryable=True,
        )


# --- values on the bus ---------------------------------------------------------------------------


def _text(family: int, data: bytes, port: int, name: str) -> str:
    del family  # the length says it
    return server_text(ip_address(bytes(data)), port, name)


def _domain(name: str, route_only: bool) -> str:
    return f"~{name}" if route_only else name


def wire_servers(servers: Sequence[str]) -> list[list[Any]]:
    """Servers as a(iayqs)."""
    return [_wire(*parse_server(text)) for text in servers]


def _wire(address: IPv4Address | IPv6Address, port: int, name: str) -> list[Any]:
    return [_FAMILIES[address.version], address.packed, port, name]


def wire_domains(domains: Sequence[str]) -> list[list[Any]]:
    """Domains as a(sb): for all names it is `.`, and a `~` there would become part of a name."""
    return [[domain.removeprefix("~"), domain.startswith("~")] for domain in domains]


def _same(value: Any) -> Any:
    return value


_SETTERS: Final = {
    "servers": ("SetLinkDNSEx", "ia(iayqs)", wire_servers),
    "search": ("SetLinkDomains", "ia(sb)", wire_domains),
    "default_route": ("SetLinkDefaultRoute", "ib", _same),
    "dnssec": ("SetLinkDNSSEC", "is", _same),
    "dns_over_tls": ("SetLinkDNSOverTLS", "is", _same),
}
