"""Write docs/modules.md anew (`make docs`): every module, with its docstring's first sentence."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "src/privacy_router"
HEAD = """\
# Modules

Every package and module of `src/privacy_router`, with what it is for.
[architecture.md](architecture.md) says how they hang together. This file is written by `make docs`
from the modules' docstrings.
"""


def text() -> str:
    """The page."""
    packages = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))
    parts = [f"{HEAD}\n{_rows(PACKAGE)}"]
    parts += [_section(package) for package in packages if package != PACKAGE]
    return "\n".join(parts)


def _section(package: Path) -> str:
    name = package.relative_to(PACKAGE).as_posix()
    return f"## {name}\n\n{_sentence(package / '__init__.py')}\n\n{_rows(package)}"


def _rows(package: Path) -> str:
    modules = sorted(path for path in package.glob("*.py") if path.name != "__init__.py")
    return "".join(f"* `{module.stem}`: {_sentence(module)}\n" for module in modules)


def _sentence(module: Path) -> str:
    """The first sentence of a module's docstring. Raises ValueError for one without."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{module} has no docstring")
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return next(_sentences(paragraph))


def _sentences(paragraph: str) -> Iterator[str]:
    yield re.split(r"(?<=\.) (?=[A-Z`])", paragraph)[0]


if __name__ == "__main__":
    (HERE / "modules.md").write_text(text(), encoding="utf-8")
