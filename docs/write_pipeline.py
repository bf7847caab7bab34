"""Write docs/pipeline.md and its picture anew (`make docs`): the seed's configuration, compiled."""

from __future__ import annotations

from pathlib import Path

from privacy_router.config import load_document
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.pipeline.compile import Pipeline
from privacy_router.pipeline.document import pipeline_document
from privacy_router.pipeline.picture import pipeline_picture

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples/seed.json"


def texts() -> dict[str, str]:
    """What is to be in which file beside this one."""
    config = load_document(EXAMPLE).config
    page = pipeline_document(Pipeline(config, CATALOGUE.segment(config)))
    return {"pipeline.md": page, "pipeline.svg": pipeline_picture()}


if __name__ == "__main__":
    for name, text in texts().items():
        (HERE / name).write_text(text, encoding="utf-8")
