"""A copy of the sources to which a list of CONTRIBUTING.md is followed, file by file."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FILE = re.compile(r"`((?:src|tests|docs|examples|bench)/[\w./<>-]+|CHANGELOG\.md)`")


def files_of_list(task: str) -> set[str]:
    """The files that the list under `### Add <task>` in CONTRIBUTING.md names."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, found, rest = text.partition(f"### Add {task}\n")
    assert found, f"CONTRIBUTING.md has no list for {task}"
    return set(_FILE.findall(rest.partition("\n### ")[0].partition("\n## ")[0]))


class Checkout:
    """The copy, and which of its files were touched."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.touched: set[str] = set()
        for part in ("src", "examples"):
            shutil.copytree(
                ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__")
            )

    def add(self, path: str, text: str) -> None:
        """Write a file that is not there yet."""
        file = self._directory / path
        assert not file.exists(), path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        self.touched.add(path)

    def edit(self, path: str, old: str, new: str) -> None:
        """Put a text in the place of one that is there exactly once."""
        file = self._directory / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, (path, old)
        file.write_text(text.replace(old, new), encoding="utf-8")
        self.touched.add(path)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a program with the copy's package."""
        start = f"import sys; sys.path.insert(0, {str(self._directory / 'src')!r})\n"
        return subprocess.run(
            [sys.executable, "-P", "-c", start + code],
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
        )
