"""The JSON Schema (draft 2020-12) of the document, made from the models."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from privacy_router.config.models import Document


class _Generator(GenerateJsonSchema):
    """Leaves out titles that only repeat the key in other letters."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's hook
        """No field has a title of its own."""
        return False


def json_schema() -> dict[str, Any]:
    """The schema as JSON values, with its keys in a stable order."""
    generated = Document.model_json_schema(schema_generator=_Generator)
    generated["title"] = "Privacy Router node"
    generated["description"] = "One node: the hops of its tunnel, its bridge and its mesh."
    first = ("title", "description", "type", "properties", "required", "additionalProperties")
    ordered = {key: generated.pop(key) for key in first}
    return {"$schema": _Generator.schema_dialect, **ordered, **generated}
