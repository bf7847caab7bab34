"""The sources keep their shape: short functions, small modules, no circles of imports."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grimp
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(__file__).parents[1] / "src/privacy_router"
DOCS: Final = PACKAGE.parents[1] / "docs"
FUNCTION_LINES: Final = 50
MODULE_LINES: Final = 450
MODULES: Final = sorted(PACKAGE.rglob("*.py"))


def lines_of_functions(module: Path) -> Iterator[tuple[str, int]]:
    """Name and number of lines of each function."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def test_functions_are_short() -> None:
    lines = {(m.name, name): size for m in MODULES for name, size in lines_of_functions(m)}
    assert {where: size for where, size in lines.items() if size > FUNCTION_LINES} == {}
    sizes = sorted(lines.values())
    assert sizes[len(sizes) // 2] <= 8
    assert sizes[len(sizes) * 9 // 10] <= 20


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_is_small_and_says_what_it_is_for(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MODULE_LINES
    assert ast.get_docstring(ast.parse(text))


def test_the_list_of_modules_is_what_the_sources_say() -> None:
    text = runpy.run_path(str(DOCS / "write_modules.py"))["text"]()
    assert (DOCS / "modules.md").read_text(encoding="utf-8") == text, "run `make docs`"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports for types alone do not count: a plugin and its keeper know each other's."""
    graph = grimp.build_graph("privacy_router", cache_dir=None, exclude_type_checking_imports=True)
    names = {
        module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules
    }
    while leaves := {module for module, others in names.items() if not others}:
        names = {m: others - leaves for m, others in names.items() if m not in leaves}
    while tops := names.keys() - {one for others in names.values() for one in others}:
        names = {m: others for m, others in names.items() if m not in tops}
    assert names == {}
