"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privacy_router.config import PrivacyRouterConfig, load_document

DEFAULT_CONFIG = Path("/etc/privacy-router/config.json")

ConfigFile = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        envvar="PRIVACY_ROUTER_CONFIG",
        help="The node's configuration file.",
        show_default=True,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def load_config(path: Path) -> PrivacyRouterConfig:
    """The configuration in that file. Raises ConfigError, StorageError."""
    return load_document(path).config
