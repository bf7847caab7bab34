"""How what will stop `up` looks: the key, the reason, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from privacy_router.cli.output import err
from privacy_router.values.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy_router.client.rows import Obstacle


def _count(number: int) -> str:
    return "one thing would" if number == 1 else f"{number} things would"


def show_obstacles(found: Sequence[Obstacle]) -> None:
    """Print them below a heading; nothing where there are none."""
    if not found:
        return
    err.print(Text(f"{_count(len(found))} stop `up` here:", style="bold red"))
    for obstacle in found:
        err.print(Text(f"  {obstacle.key}: {printable(obstacle.reason)}"))
        err.print(Text(f"    remedy: {printable(obstacle.remedy)}", style="dim"))
