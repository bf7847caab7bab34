"""The list "Add a plugin" of CONTRIBUTING.md, followed to the letter: one that keeps /etc/motd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.adding.checkout import Checkout, files_of_list

if TYPE_CHECKING:
    from pathlib import Path

MODELS: Final = '''"""`plugins.motd`: the message of the day."""

from __future__ import annotations

from pydantic import Field

from privacy_router.config.sections import Section


class MotdConfig(Section):
    """What a user reads after the login."""

    text: str = Field(description="The message.")
'''
SHOWN: Final = '''"""The message of the day."""

from privacy_router.plugins.motd.plugin import MotdPlugin

__all__ = ["MotdPlugin"]
'''
PLUGIN: Final = '''"""The plugin motd: one file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from privacy_router.engine.model import Desired, Observed, Resource
from privacy_router.engine.plugin import Plugin
from privacy_router.host.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from privacy_router.engine.model import Change, ResourceKey
    from privacy_router.engine.plugin import Progress
    from privacy_router.plugins.target import Machine


class MotdPlugin(Plugin):
    """Keeps /etc/motd."""

    name: ClassVar[str] = "motd"
    title: ClassVar[str] = "The message of the day"

    def __init__(self, machine: Machine) -> None:
        self._file = machine.path("/etc/motd")

    def declare(self, section: Any) -> Desired:
        """The file."""
        if section is None:
            return Desired()
        return Desired({self.key("file", "motd"): Resource({"text": section.text})})

    async def query(self, keys: Collection[ResourceKey] | None = None) -> Observed:
        """The file as it is."""
        there = await in_thread(self._file.exists)
        value = {"text": await in_thread(self._file.read_text)} if there else None
        return Observed({self.key("file", "motd"): value})

    async def apply(self, desired: Desired, changes: Sequence[Change], tell: Progress) -> None:
        """Write it, or remove it."""
        for change in changes:
            if change.after is None:
                await in_thread(lambda: self._file.unlink(missing_ok=True))
            else:
                await in_thread(self._file.write_text, change.after["text"])
'''
RUN: Final = """
import asyncio, json
from pathlib import Path
from privacy_router.engine.document import Source
from privacy_router.engine.engine import Engine
from privacy_router.engine.journal import Journal
from privacy_router.host.dbus import Bus
from privacy_router.plugins.target import MACHINE_PLUGINS, Machine, make
root = Path("machine")
(root / "etc").mkdir(parents=True)
(root / "etc/motd").write_text("before")
plugin = make("motd", Machine(Bus(None), root))
engine = Engine([plugin], Journal(Path("journal.db")))

async def main() -> None:
    for plugins in ({"motd": {"text": "hello"}}, {}):
        await engine.apply(Source(json.dumps({"version": 1, "plugins": plugins}), "test"))
        print("is", (root / "etc/motd").read_text())

print("is", "motd" in MACHINE_PLUGINS)
asyncio.run(main())
"""


def followed(directory: Path) -> Checkout:
    """A checkout after the list."""
    checkout = Checkout(directory)
    source = "src/privacy_router"
    checkout.add(f"{source}/config/plugins/motd.py", MODELS)
    models = f"{source}/config/models.py"
    checkout.edit(
        models,
        "from privacy_router.config.plugins.net import",
        "from privacy_router.config.plugins.motd import MotdConfig\n"
        "from privacy_router.config.plugins.net import",
    )
    checkout.edit(
        models,
        "    net: NetConfig | None",
        '    motd: MotdConfig | None = Field(None, description="The message of the day.")\n'
        "    net: NetConfig | None",
    )
    checkout.add(f"{source}/plugins/motd/__init__.py", SHOWN)
    checkout.add(f"{source}/plugins/motd/plugin.py", PLUGIN)
    checkout.edit(
        f"{source}/plugins/target.py",
        '    "net": "NetPlugin",\n',
        '    "net": "NetPlugin",\n    "motd": "MotdPlugin",\n',
    )
    return checkout


def test_a_plugin_that_follows_the_list_applies_and_gives_back(tmp_path: Path) -> None:
    done = followed(tmp_path).python(RUN)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("is ")]
    assert said == ["is True", "is hello", "is before"]


def test_the_list_names_each_file_to_touch(tmp_path: Path) -> None:
    named = {name.replace("<plugin>", "motd") for name in files_of_list("a plugin")}
    assert followed(tmp_path).touched <= named
