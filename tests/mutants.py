"""Which faults in what decides would the pure tests notice? (`make mutants`)

    python -m tests.mutants [--count 200] [--seed 1] [PACKAGE...]

mutmut makes mutants of the functions of each package, one small change each: a comparison turned
round, an argument left out, a number plus one. Of each package an equal share of COUNT is drawn at
random by SEED, and for each the tests that come by its function are run. All of it happens in
copies below build/mutants; the checkout is not written.

Printed are, for each package, how many were noticed, and those that survived, as differences. It
fails if fewer than 90 % of a package were noticed. A mutant that changes nothing that anybody could
see is named, with the reason, in tests/mutants_equivalent.toml, and is not counted.

mutmut leaves out what is run at import (the declarations of tables) and decorated functions.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
WORK: Final = ROOT / "build" / "mutants"
EQUIVALENT: Final = Path(__file__).with_name("mutants_equivalent.toml")
FLOOR_PERCENT: Final = 90

TESTS: Final = {
    "pipeline": ["tests/pipeline", "tests/plan"],
    "hops": ["tests/hops", "tests/plan"],
    "plan": ["tests/plan", "tests/chain"],
    "engine": ["tests/engine", "tests/daemon"],
}
"""Package → the tests that are to notice a fault in it."""

PROSE: Final = [
    r"\b_log\.\w+\(",
    r"\b(raise )?\w+Error\(f?\"",
    r"\bremedy=",
    r"^\s+f?\"[^\"=:;]* [^\"=:;]*\",?$",
]
"""Lines of words for people, in errors and logs: tests ask for what they have to say, and not for
each letter. The last is a line that is a sentence and nothing else."""

SETTINGS: Final = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["src/privacy_router/{package}/*"]
also_copy = {beside}
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = [
    "-m", "not e2e and not machine", "-p", "no:cacheprovider",
    "--deselect", "tests/engine/test_crashes.py",
]
use_git_change_detection = false
do_not_mutate_patterns = {prose}
"""

ALL: Final = "*__mutmut_*"
NONE: Final = "no mutant has this name"


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test notices."""

    function: str
    difference: str

    @property
    def changed(self) -> tuple[str, str]:
        """The lines that it takes away and puts in their place, without indentation."""
        lines = self.difference.splitlines()
        gone = [line[1:].strip() for line in lines if line.startswith("-")]
        new = [line[1:].strip() for line in lines if line.startswith("+")]
        return "\n".join(gone), "\n".join(new)


def main() -> int:
    """Do what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("packages", nargs="*", choices=[*TESTS, []], default=list(TESTS))
    parser.add_argument("--count", type=int, default=200, help="of all packages together")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    packages = asked.packages or list(TESTS)
    share = asked.count // len(packages)
    return max([judge(package, share, asked.seed) for package in packages])


def judge(package: str, count: int, seed: int) -> int:
    """Make and try the mutants of one package; 1 if too many survived."""
    folder = copy(package)
    mutmut(folder, NONE, check=False)  # makes them, and asks which tests come by which function
    drawn = draw(folder, count, seed)
    mutmut(folder, *drawn)
    codes = exit_codes(folder)
    survivors = [survivor(folder, name) for name in drawn if codes[name] in (0, 33)]
    known = {(e["function"], e["was"], e["becomes"]) for e in equivalent()}
    left = [each for each in survivors if (each.function, *each.changed) not in known]
    counted = len(drawn) - len(survivors) + len(left)
    percent = 100 * (counted - len(left)) / counted
    for each in left:
        print(f"\n--- {each.function}\n{each.difference}")
    print(
        f"\n{package}: {counted - len(left)} of {counted} noticed ({percent:.0f} %), {len(left)}"
        f" survived; {len(survivors) - len(left)} more are the same program"
    )
    return int(percent < FLOOR_PERCENT)


def copy(package: str) -> Path:
    """A copy of the checkout, with what is not committed yet, that mutmut is set up in."""
    folder = WORK / package
    shutil.rmtree(folder, ignore_errors=True)
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        source, target = ROOT / name, folder / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    beside = sorted({path.name for path in folder.iterdir()} - {"src", "tests", "pyproject.toml"})
    settings = SETTINGS.format(
        package=package,
        tests=json.dumps(TESTS[package]),
        beside=json.dumps(beside),
        prose=json.dumps(PROSE),
    )
    with (folder / "pyproject.toml").open("a") as project:
        project.write(settings)
    return folder


def mutmut(folder: Path, *names: str, check: bool = True) -> None:
    """Run these mutants; what it says goes to a file, whose end is shown when it fails."""
    log = folder / "mutmut.log"
    with log.open("a") as output:
        command = (
            str(Path(sys.executable).with_name("mutmut")),
            "run",
            "--max-children",
            "2",
            *names,
        )
        # The names of some tests follow the order of a set; a later run has to find them again.
        environment = {
            **os.environ,
            "PYTHONHASHSEED": "0",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / ".hypothesis"),
        }
        code = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=output, check=False
        ).returncode
    if check and code != 0:
        raise SystemExit(f"mutmut failed; {log} ends with:\n{log.read_text()[-4000:]}")


def exit_codes(folder: Path) -> dict[str, int | None]:
    """Each mutant → how its tests ended: 0 none noticed it, 33 none comes by, None not tried."""
    codes: dict[str, int | None] = {}
    for path in sorted((folder / "mutants" / "src").rglob("*.py.meta")):
        codes |= json.loads(path.read_text())["exit_code_by_key"]
    if not codes:
        log = folder / "mutmut.log"
        raise SystemExit(f"mutmut made no mutants; {log} ends with:\n{log.read_text()[-4000:]}")
    return codes


def draw(folder: Path, count: int, seed: int) -> list[str]:
    """That many mutants, the same for the same seed and sources."""
    names = sorted(exit_codes(folder))
    return random.Random(seed).sample(names, min(count, len(names)))  # noqa: S311


def survivor(folder: Path, name: str) -> Survivor:
    """What that mutant changes."""
    shown = subprocess.run(
        (str(Path(sys.executable).with_name("mutmut")), "show", name),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [line for line in shown.splitlines() if not re.match(r"#|---|\+\+\+", line)]
    module, _, mangled = name.partition("__mutmut_")[0].rpartition(".")
    function = mangled[2:].replace("ǁ", ".")  # of x_function or xǁClassǁmethod
    return Survivor(f"{module}.{function}", "\n".join(lines).strip())


def equivalent() -> list[dict[str, str]]:
    """The mutants that are the same program, with the reason."""
    entries: list[dict[str, str]] = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    return entries


if __name__ == "__main__":
    sys.exit(main())
