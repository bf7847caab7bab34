"""`plugins.pcidecl`: PCI devices and their drivers."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from privacy_router.config import values as kind
from privacy_router.config.sections import Section

PciAddress = Annotated[
    str,
    StringConstraints(
        strict=True, pattern=r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$", max_length=16
    ),
    kind.Expected("the address of a PCI device such as 0000:00:03.0, as `lspci -D` shows it"),
]
PciId = Annotated[
    str,
    StringConstraints(strict=True, pattern=r"^(0[xX])?[0-9a-fA-F]{4}$"),
    AfterValidator(lambda text: f"0x{text.lower().removeprefix('0x')}"),
    kind.Expected("four hexadecimal digits such as 8086 (`lspci -n`) or 0x8086"),
]
DriverName = Annotated[
    str,
    StringConstraints(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.+()-]{0,62}$"),
    kind.Expected("the name of a driver such as vfio-pci, or null"),
]


class PciDevice(Section):
    """One device. A key that is left out is left alone on the machine; null is not the same."""

    vendor: PciId = Field(description="The vendor that the device must be of.")
    device: PciId = Field(description="The kind of device that it must be.")
    driver: DriverName | None = Field(
        None, description="The driver that it is bound to; null for none."
    )
    driver_override: DriverName | None = Field(
        None,
        description="The only driver that may bind it; null for any that fits."
        " Where a driver is named, that one unless said otherwise.",
    )
    force: kind.Flag = Field(
        False,
        description="Whether it may lose its driver although a mounted disk or the way out of the"
        " machine is behind it.",
    )
    mode: kind.Mode = Field(
        "enforce", description="Whether a difference is corrected or only reported."
    )

    @model_validator(mode="after")
    def _the_driver_may_bind(self) -> Self:
        if self.driver and self.driver_override not in {None, self.driver}:
            raise PydanticCustomError(
                "expected", "the same name as driver_override and as driver, or one of the two null"
            )
        return self


class PcideclConfig(Section):
    """Declared PCI devices."""

    devices: Annotated[dict[PciAddress, PciDevice], Field(max_length=4096)] = Field(
        default_factory=dict, description="Devices by address."
    )
