"""What all tests share: no test depends on an idle machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from privacy_router.engine.journal_file import JournalFile

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes is the machine's affair: the first draw of text in a fresh clone builds
# tables for seconds, and other programs may have the cores.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def journals_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes what a test leaves open: from Python 3.13 on its collection is a warning, and so an
    error, in any test that comes later."""
    opened: list[JournalFile] = []
    begin = JournalFile.__init__

    def noted(self: JournalFile, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        opened.append(self)

    monkeypatch.setattr(JournalFile, "__init__", noted)
    yield
    for one in opened:
        one.close()
