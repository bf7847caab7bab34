"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from privacy_router.config import PrivacyRouterConfig


DEFAULT_CONFIG = Path("/etc/privacy-router/config.json")

_named: set[Path] = set()


def _note_named(
    context: typer.Context, parameter: typer.CallbackParam, value: Path | None
) -> Path | None:
    source = context.get_parameter_source(parameter.name or "")
    if value is not None and source is not None and source.name == "COMMANDLINE":
        _named.add(value)
    return value


def is_named(path: Path) -> bool:
    """Whether the caller of this command has named that file, on the command line itself."""
    return path in _named


ConfigFile = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        callback=_note_named,
        envvar="PRIVACY_ROUTER_CONFIG",
        help="The node's configuration file.",
        show_default=True,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def load_config(path: Path) -> PrivacyRouterConfig:
    """The configuration in that file. Raises ConfigError, StorageError."""
    from privacy_router.config import load_document

    return load_document(path).config
