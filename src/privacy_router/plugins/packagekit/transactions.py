"""PackageKit's transactions; see org.freedesktop.PackageKit.Transaction."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import IntFlag
from typing import TYPE_CHECKING, Any, Final

from privacy_router.engine.errors import PluginFailedError
from privacy_router.host.dbus import DBusCallError, Remote
from privacy_router.plugins.packagekit.failures import failure, require_authorized, untrusted
from privacy_router.plugins.packagekit.packages import (
    Info,
    Naming,
    Package,
    State,
    parse_package,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Sequence

    from privacy_router.engine.plugin import Progress
    from privacy_router.errors import PrivacyRouterError
    from privacy_router.host.dbus import Bus, Signal

SERVICE: Final = "org.freedesktop.PackageKit"
DAEMON: Final = Remote(SERVICE, "/org/freedesktop/PackageKit", SERVICE)
CAME_OR_WENT: Final = (
    "sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
    f"member='NameOwnerChanged',arg0='{SERVICE}'"
)
_TRANSACTION: Final = f"{SERVICE}.Transaction"
_HINTS: Final = ["interactive=false"]
_EXIT_SUCCESS: Final = 1
_EXIT_UNTRUSTED: Final = 8
_OFFLINE: Final = 1
_PERCENT_MAX: Final = 100
_INSTALLED_ONLY: Final = 1 << 2
_CANCEL_S: Final = 2.0
_DOING: Final = {
    Info.DOWNLOADING: "fetching",
    Info.UPDATING: "updating",
    Info.INSTALLING: "installing",
    Info.REMOVING: "removing",
    Info.DOWNGRADING: "going back to",
}


class Flag(IntFlag):
    """PkTransactionFlagEnum of pk-enum.h, as bits."""

    ONLY_TRUSTED = 1 << 1
    SIMULATE = 1 << 2
    ALLOW_DOWNGRADE = 1 << 6


_INSTALL: Final = Flag.ONLY_TRUSTED | Flag.ALLOW_DOWNGRADE


class Transactions:
    """PackageKit, which does one transaction at a time. Methods raise PrivacyRouterError."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def backend(self) -> str:
        """The package manager behind it: apt, dnf, …; it is started to say so."""
        return str(await self._bus.get(DAEMON, "BackendName"))

    async def is_offline(self) -> bool:
        """Whether it thinks that no repository can be reached."""
        return bool(await self._bus.get(DAEMON, "NetworkState") == _OFFLINE)

    async def naming(self) -> Naming:
        """How packages are called on this machine."""
        return Naming.of_distro(str(await self._bus.get(DAEMON, "DistroId")))

    async def installed(self) -> dict[str, Package]:
        """All that is installed, by name."""
        naming = await self.naming()
        rows = await self.run("GetPackages", "t", _INSTALLED_ONLY)
        return _named(naming, (row for row in rows if row.info == Info.INSTALLED))

    async def states(self, names: Collection[str]) -> dict[str, State]:
        """These packages, as far as anything is known of them."""
        if not names:
            return {}
        naming = await self.naming()
        bare = sorted({name.partition(":")[0] for name in names})
        rows = await self.run("Resolve", "tas", 0, bare)
        installed = _named(naming, (row for row in rows if row.info == Info.INSTALLED))
        offered = _named(naming, (row for row in rows if row.info == Info.AVAILABLE))
        # What is held back is offered, but is no update.
        updates = _named(naming, await self.run("GetUpdates", "t", 0))
        found = {
            name: State(installed.get(name), (updates if name in installed else offered).get(name))
            for name in names
        }
        return {name: state for name, state in found.items() if state != State()}

    async def install(
        self, ids: Sequence[str], tell: Progress | None = None, *, simulate: bool = False
    ) -> list[Package]:
        """Have these versions, up or down, and what they need; all at once, for they may depend on
        each other. What comes of it."""
        flags = _INSTALL | Flag.SIMULATE if simulate else _INSTALL
        return await self.run("InstallPackages", "tas", int(flags), list(ids), tell=tell)

    async def remove(
        self, ids: Sequence[str], tell: Progress | None = None, *, simulate: bool = False
    ) -> list[Package]:
        """Remove these, and what needs them: the apt backend does so always, so
        simulate first."""
        flags = int(Flag.SIMULATE) if simulate else 0
        return await self.run("RemovePackages", "tasbb", flags, list(ids), True, False, tell=tell)

    async def run(
        self, member: str, signature: str, *body: Any, tell: Progress | None = None
    ) -> list[Package]:
        """Run a transaction to its end; the packages that it spoke of.

        When this is cancelled, so is the transaction, unless packages are being changed: it then
        goes on to its end, for dpkg is not to be interrupted. The next one waits for that.
        """
        try:
            (path,) = await self._bus.call(DAEMON, "CreateTransaction")
            transaction = DAEMON.at(path, _TRANSACTION)
            rule = f"sender='{SERVICE}',path='{path}'"
            async with self._bus.subscribed(rule, CAME_OR_WENT) as signals:
                await self._bus.call(transaction, "SetHints", "as", _HINTS)
                await self._bus.call(transaction, member, signature, *body)
                return await self._followed(transaction, signals, _Course(tell))
        except DBusCallError as error:
            require_authorized(error)
            raise

    async def _followed(
        self, transaction: Remote, signals: AsyncIterator[Signal], course: _Course
    ) -> list[Package]:
        try:
            async for signal in signals:
                if signal.path == transaction.path and course.ends_with(signal):
                    return course.result()
                if signal.member == "NameOwnerChanged" and signal.body[0] == SERVICE:
                    break
        except asyncio.CancelledError:
            await self._cancel(transaction)
            raise
        raise PluginFailedError(
            "PackageKit ended in the middle of a transaction",
            remedy="journalctl -u packagekit may say why",
            retryable=True,
        )

    async def _cancel(self, transaction: Remote) -> None:
        """PackageKit would do it at any time, and leave packages half installed."""
        with suppress(DBusCallError, TimeoutError):  # then it has ended, or goes on to its end
            async with asyncio.timeout(_CANCEL_S):
                if await self._bus.get(transaction, "AllowCancel"):
                    await self._bus.call(transaction, "Cancel")


def _named(naming: Naming, rows: Iterable[Package]) -> dict[str, Package]:
    return {naming.name_of(row): row for row in rows}


class _Course:
    """What a transaction has said so far."""

    def __init__(self, tell: Progress | None) -> None:
        self._tell = tell
        self._rows: list[Package] = []
        self._error: PrivacyRouterError | None = None
        self._exit = 0
        self._percent = 0
        self._said = ""

    def ends_with(self, signal: Signal) -> bool:
        """Take a signal; whether it is the last."""
        if signal.member == "Package":
            self._package(parse_package(signal.body[0], signal.body[1]))
        elif signal.member == "ErrorCode":
            self._error = failure(*signal.body[:2])
        elif signal.member == "PropertiesChanged":
            self._percent = signal.body[1].get("Percentage", self._percent)
        elif signal.member == "Finished":
            self._exit = signal.body[0]
            return True
        return False

    def _package(self, package: Package) -> None:
        self._rows.append(package)
        if self._tell is None or package.info not in _DOING:
            return
        known = 0 < self._percent <= _PERCENT_MAX
        percent = f" ({self._percent} %)" if known else ""
        words = f"{_DOING[Info(package.info)]} {package.name} {package.version}{percent}"
        if words != self._said:
            self._said = words
            self._tell(words)

    def result(self) -> list[Package]:
        """The packages. Raises what went wrong."""
        if self._exit == _EXIT_SUCCESS:
            return self._rows
        if self._exit == _EXIT_UNTRUSTED:
            raise untrusted(sorted({row.name for row in self._rows})) from self._error
        raise self._error or PluginFailedError(
            f"PackageKit ended a transaction without success ({self._exit})",
            remedy="journalctl -u packagekit may say why",
        )
