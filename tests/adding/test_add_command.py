"""The list "Add a command" of CONTRIBUTING.md, followed to the letter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.adding.checkout import Checkout, files_of_list

if TYPE_CHECKING:
    from pathlib import Path

MODULE: Final = '''"""hello: the command that a test adds."""

from __future__ import annotations

from privacy_router.cli.deferred import commands
from privacy_router.cli.output import out

app = commands()


@app.command()
def hello() -> None:
    """Greet the operator."""
    out.print("hello")

'''
RUN: Final = """
import sys
from privacy_router.cli.main import main
sys.argv = ["privacy-router", *{arguments}]
main()
"""
ENTRY: Final = '    "hello": {"hello": "Greet the operator."},\n'


def followed(directory: Path) -> Checkout:
    """A checkout after the list."""
    checkout = Checkout(directory)
    checkout.add("src/privacy_router/cli/hello.py", MODULE)
    checkout.edit(
        "src/privacy_router/cli/main.py", '    "machine": {\n', ENTRY + '    "machine": {\n'
    )
    return checkout


def test_a_command_that_follows_the_list_runs_and_is_listed(tmp_path: Path) -> None:
    checkout = followed(tmp_path)
    ran = checkout.python(RUN.format(arguments=["hello"]))
    assert (ran.returncode, ran.stdout) == (0, "hello\n"), ran.stderr
    listed = checkout.python(RUN.format(arguments=["--help"])).stdout
    assert "Greet the operator." in listed
    helped = checkout.python(RUN.format(arguments=["hello", "--help"])).stdout
    assert "Greet the operator." in helped


def test_the_list_names_each_file_to_touch(tmp_path: Path) -> None:
    named = {name.replace("<command>", "hello") for name in files_of_list("a command")}
    assert followed(tmp_path).touched <= named
