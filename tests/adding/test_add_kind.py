"""The list "Add a kind of item" of CONTRIBUTING.md, followed to the letter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.adding.checkout import Checkout, files_of_list

if TYPE_CHECKING:
    from pathlib import Path

TYPES: Final = '''"""The kind that a test adds: lines of a file, each with a name and a colour."""

from __future__ import annotations

from dataclasses import dataclass

from privacy_router.values.items import ItemValue, Key, Kind


@dataclass(frozen=True)
class LampKey(Key, kind=Kind.LAMP):
    """A lamp by its name. Value: `Lamp`."""

    lamp: str

    @property
    def name(self) -> str:
        """The lamp's."""
        return self.lamp


@dataclass(frozen=True)
class Lamp(ItemValue):
    """A lamp."""

    colour: str
'''
PARTS: Final = '''"""Lamps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privacy_router.node.kinds.contract import Down, NodeKind, Role
from privacy_router.values.items import NODE, Kind
from privacy_router.values.lamps import Lamp, LampKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.node.kinds.place import Look
    from privacy_router.node.kinds.session import Session

FILE = Path("lamps.json")


def _read() -> dict[str, str]:
    found: dict[str, str] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def observe(look: Look) -> Iterator[tuple[LampKey, Lamp]]:
    """All that are there."""
    for lamp, colour in _read().items():
        yield LampKey(NODE, lamp), Lamp(colour)


def apply(session: Session, key: LampKey, before: Lamp | None, after: Lamp) -> None:
    """Hang it up, or paint it."""
    FILE.write_text(json.dumps(_read() | {key.lamp: after.colour}))


def remove(session: Session, key: LampKey, before: Lamp) -> None:
    """Take it down."""
    FILE.write_text(json.dumps({k: v for k, v in _read().items() if k != key.lamp}))


LAMP: Final = NodeKind(
    kind=Kind.LAMP,
    domain="net",
    role=Role.APART,
    down=Down.WITH_BRIDGE,
    keys=(LampKey,),
    values=(Lamp,),
    observe=observe,
    apply=apply,
    remove=remove,
)
'''
WALK: Final = """
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from privacy_router.node.apply import Applier
from privacy_router.node.kinds.registry import KINDS, Kinds
from privacy_router.node.observe import observe
from privacy_router.plan.compile import _lamps
from privacy_router.plan.stages import in_stages
from privacy_router.plugins.privacy_router.resources import resources_of
from privacy_router.values.items import Kind, diff

lamps = Kinds((KINDS.by_kind[Kind.LAMP],), ())  # the others would read this machine
desired = SimpleNamespace(items=_lamps(), processes={})

def pending():
    return diff(desired.items, observe(desired, None, lamps))

def told():
    return [f"{change.verb} {change.key.kind.name} {change.key.name}" for change in pending()]

print(told())
Applier(desired, None, lamps).apply(pending())
print(told())
Path("lamps.json").write_text('{"hall": "red", "attic": "blue"}')
print(told(), len(in_stages(pending()).during))
Applier(desired, None, lamps).apply(pending())
print(told(), Path("lamps.json").read_text())
print(*(f"{key}: {one.value}" for key, one in resources_of(desired.items).items()))
"""
WALKED: Final = """\
['add LAMP hall']
[]
['remove LAMP attic', 'change LAMP hall'] 2
[] {"hall": "green"}
net lamp node/hall: {'colour': 'green'}
"""
PLANNED: Final = """def _lamps() -> Items:
    return {LampKey(NODE, "hall"): Lamp("green")}


def _bridge_items("""


def followed(directory: Path) -> Checkout:
    """A checkout after the list."""
    checkout = Checkout(directory)
    source = "src/privacy_router"
    checkout.edit(f"{source}/values/items.py", "    FLOW = 15\n", "    FLOW = 15\n    LAMP = 16\n")
    checkout.add(f"{source}/values/lamps.py", TYPES)
    checkout.add(f"{source}/node/kinds/lamp.py", PARTS)
    registry = f"{source}/node/kinds/registry.py"
    checkout.edit(registry, "NAMESPACE, BRIDGE, PORT)", "NAMESPACE, BRIDGE, PORT, LAMP)")
    checkout.edit(
        registry,
        "from privacy_router.node.kinds.namespace import",
        "from privacy_router.node.kinds.lamp import LAMP\n"
        "from privacy_router.node.kinds.namespace import",
    )
    plan = f"{source}/plan/compile.py"
    checkout.edit(plan, "def _bridge_items(", PLANNED)
    checkout.edit(
        plan,
        "        **_bridge_items(bridge),\n",
        "        **_bridge_items(bridge),\n        **_lamps(),\n",
    )
    checkout.edit(
        plan,
        "\nif TYPE_CHECKING:\n",
        "from privacy_router.values.items import NODE\n"
        "from privacy_router.values.lamps import Lamp, LampKey\n\nif TYPE_CHECKING:\n",
    )
    return checkout


def test_a_kind_that_follows_the_list_is_planned_read_made_and_told(tmp_path: Path) -> None:
    done = followed(tmp_path).python(WALK)
    assert done.returncode == 0, done.stderr
    assert done.stdout == WALKED


def test_the_list_names_each_file_to_touch(tmp_path: Path) -> None:
    named = files_of_list("a kind of item")
    for path in followed(tmp_path).touched:
        folder = path.rpartition("/")[0]
        generic = {f"{folder}/<subject>.py", f"{folder}/<kind>.py", f"{folder}/"}
        assert named & {path, *generic}, path


def test_a_part_that_is_left_out_is_told_at_the_first_import(tmp_path: Path) -> None:
    checkout = followed(tmp_path)
    checkout.edit("src/privacy_router/node/kinds/lamp.py", "    remove=remove,\n", "")
    done = checkout.python(WALK)
    assert done.returncode != 0
    assert "missing 1 required keyword-only argument: 'remove'" in done.stderr
