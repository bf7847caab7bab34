"""How commands speak: results to stdout, progress and complaints to stderr, JSON on request."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.markup import escape

from privacy_router.cli.encoding import can_encode
from privacy_router.errors import ExitCode, PrivacyRouterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout, with nothing around it."""
    _write_json(value, 2)


def print_json_lines(values: Iterable[Any]) -> None:
    """Each JSON value as a line of its own, for a program that reads along."""
    for value in values:
        _write_json(value, None)
    sys.stdout.flush()


def _write_json(value: Any, indent: int | None) -> None:
    """What the terminal cannot encode is escaped as JSON has it (RFC 8259, 7)."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    if not can_encode(text):
        text = json.dumps(value, indent=indent, default=str)
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """A line of progress."""
    err.print(text)


@contextmanager
def complaints() -> Iterator[None]:
    """Turn errors that a person can act on into a message, a remedy and an exit code."""
    try:
        yield
    except PrivacyRouterError as error:
        fail(error)
    except KeyboardInterrupt:
        err.print("stopped")
        raise SystemExit(130) from None
    except BrokenPipeError:
        # the reader (head, less) went away; nothing is wrong
        sys.stderr.close()
        raise SystemExit(ExitCode.OK) from None
    except OSError as error:
        fail(PrivacyRouterError(f"the machine refused something: {error}"))


def fail(error: PrivacyRouterError) -> NoReturn:
    """Print the error and what to do about it, and exit with its code."""
    err.print(f"[bold red]error:[/] {escape(str(error))}")
    if error.remedy:
        err.print(f"[bold]remedy:[/] {escape(error.remedy)}")
    raise SystemExit(int(error.exit_code))
