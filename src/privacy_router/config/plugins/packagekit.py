"""`plugins.packagekit`: packages that are installed or not."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from privacy_router.config import values as kind
from privacy_router.config.sections import Section

PackageName = Annotated[
    str,
    StringConstraints(
        strict=True, min_length=2, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9+._-]+$"
    ),
    kind.Expected("the name of a package such as htop, without version or architecture"),
]
Version = Annotated[
    str,
    StringConstraints(
        strict=True, min_length=1, max_length=128, pattern=r"^[0-9][A-Za-z0-9.+~:^_-]*$"
    ),
    kind.Expected("a whole version such as 3.2.2-2, as `apt-cache policy` shows it"),
]


class PackageItem(Section):
    """One package."""

    state: Annotated[
        Literal["installed", "removed", "latest"],
        kind.Expected('"installed", "removed" or "latest"'),
    ] = Field(
        "installed",
        description="installed: in any version; latest: in the newest of the repositories.",
    )
    version: Version | None = Field(
        None, description="Exactly this version, kept from upgrades; null for any."
    )
    mode: kind.Mode = Field(
        "enforce", description="Whether a difference is corrected or only reported."
    )

    @model_validator(mode="after")
    def _version_is_of_an_installed_one(self) -> Self:
        if self.version is not None and self.state != "installed":
            raise PydanticCustomError(
                "expected", 'state "installed" with a version, or another state without one'
            )
        return self


class PackagekitConfig(Section):
    """Packages."""

    packages: Annotated[dict[PackageName, PackageItem], Field(max_length=4096)] = Field(
        default_factory=dict, description="Packages by name."
    )
    allow_remove_dependents: kind.Flag = Field(
        False,
        description="Whether packages that the document does not name may go along with others.",
    )
