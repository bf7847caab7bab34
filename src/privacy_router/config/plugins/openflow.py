"""`plugins.openflow`: flows, groups, meters and policies on bridges of the machine."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, Strict, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from privacy_router.config import values as kind
from privacy_router.config.sections import (
    SEQUENCE_MAX_ITEMS,
    FlowPolicy,
    FlowTemplate,
    PrivacyFlow,
    Section,
)

TABLE_MAX = 252
"""The last table for declared flows. Open vSwitch has tables 0 to 253 for its users; 253 holds the
marks that say which groups, meters and policies are op-dbus's (docs/plugins/openflow.md)."""

_MODE = "enforce, or observe-only to report differences and change nothing."
_GROUP_MAX = 0xFFFFFF00  # OFPG_MAX, OpenFlow 1.3.5, 7.3.4.2
_METER_MAX = 200_000  # DP_METER_NUM_MAX of the kernel's datapath; the switch may have fewer


def _group_number(text: str) -> str:
    if int(text) > _GROUP_MAX:
        raise ValueError("not the number of a group")
    return text


def _meter_number(text: str) -> str:
    if int(text) > _METER_MAX:
        raise ValueError("not the number of a meter")
    return text


_Digits = Annotated[str, StringConstraints(strict=True, pattern=r"^[1-9][0-9]{0,9}$")]
GroupNumber = Annotated[
    _Digits,
    AfterValidator(_group_number),
    kind.Expected(f'the number of a group as a text, "1" to "{_GROUP_MAX}"'),
]
MeterNumber = Annotated[
    _Digits,
    AfterValidator(_meter_number),
    kind.Expected(f'the number of a meter as a text, "1" to "{_METER_MAX}"'),
]
TableNumber = Annotated[
    int,
    Strict(),
    Field(ge=0, le=TABLE_MAX),
    kind.Expected(f"the number of a flow table, 0 to {TABLE_MAX}"),
]
Weight = Annotated[int, Strict(), Field(ge=0, le=65535), kind.Expected("a weight, 0 to 65535")]
Rate = Annotated[
    int, Strict(), Field(ge=1, le=0xFFFFFFFF), kind.Expected("a number from 1 to 4294967295")
]
Actions = Annotated[tuple[kind.Action, ...], Field(min_length=1, max_length=64)]


class BridgeFlow(PrivacyFlow):
    """A flow on a bridge."""

    table: TableNumber = Field(0, description="Number of the flow table, 0 to 252.")


class BridgeTemplate(FlowTemplate):
    """The flow of a policy, in which {container_id}, {port_name} and {bridge} are filled in."""

    table: TableNumber = Field(0, description="Number of the flow table, 0 to 252.")


class BridgePolicy(FlowPolicy):
    """A flow for every port of the bridge that a selector selects, those of tomorrow too."""

    template: BridgeTemplate = Field(description="The flow that each of these ports gets.")


class Bucket(Section):
    """One way through a group."""

    actions: Actions = Field(description="What happens to the packet, such as output:eth1.")
    weight: Weight | None = Field(
        None, description="Share of the packets in a group of type select; 1 when null."
    )
    watch_port: kind.InterfaceName | None = Field(
        None, description="Port that has to be up for this bucket to be used (fast_failover)."
    )


class Group(Section):
    """A group of buckets, to which flows lead by group:NUMBER."""

    type: Literal["all", "select", "indirect", "fast_failover"] = Field(
        description="all: every bucket; select: one by hash; indirect: the only one; "
        "fast_failover: the first whose watched port is up."
    )
    buckets: Annotated[tuple[Bucket, ...], Field(max_length=256)] = Field(
        description="The buckets in order."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.type == "indirect" and len(self.buckets) != 1:
            raise PydanticCustomError("expected", "exactly one bucket for a group of type indirect")
        watches = [bucket.watch_port is not None for bucket in self.buckets]
        if self.type == "fast_failover" and not all(watches):
            raise PydanticCustomError("expected", "a watch_port for each bucket of fast_failover")
        if self.type != "fast_failover" and any(watches):
            raise PydanticCustomError("expected", "no watch_port but with type fast_failover")
        if self.type != "select" and any(bucket.weight is not None for bucket in self.buckets):
            raise PydanticCustomError("expected", "no weight but with type select")
        return self


class Meter(Section):
    """A limit, through which flows go by meter:NUMBER; what exceeds it is dropped."""

    packets_per_s: Rate | None = Field(None, description="Limit in packets per second.")
    kbit_per_s: Rate | None = Field(None, description="Limit in 1000 bits per second.")
    burst: Rate | None = Field(
        None, description="Packets (or 1000 bits) that may come at once; the rate when null."
    )

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if (self.packets_per_s is None) == (self.kbit_per_s is None):
            raise PydanticCustomError("expected", "either packets_per_s or kbit_per_s")
        return self

    @property
    def rate(self) -> int:
        """The limit in its unit."""
        return self.packets_per_s or self.kbit_per_s or 0


class FlowsOfBridge(Section):
    """What a bridge of the machine's Open vSwitch does with packets, beside what others declare."""

    flows: Annotated[tuple[BridgeFlow, ...], Field(max_length=SEQUENCE_MAX_ITEMS)] = Field(
        (), description="Flows; those of other programs are left alone."
    )
    groups: Annotated[dict[GroupNumber, Group], Field(max_length=SEQUENCE_MAX_ITEMS)] = Field(
        default_factory=dict, description="Groups by number."
    )
    meters: Annotated[dict[MeterNumber, Meter], Field(max_length=SEQUENCE_MAX_ITEMS)] = Field(
        default_factory=dict, description="Meters by number."
    )
    policies: Annotated[tuple[BridgePolicy, ...], Field(max_length=SEQUENCE_MAX_ITEMS)] = Field(
        (), description="Flows for ports by their name or container, as the ports appear."
    )
    mode: kind.Mode = Field("enforce", description=_MODE)


class BridgeFlowsConfig(Section):
    """Flows on bridges of the machine's Open vSwitch."""

    bridges: Annotated[
        dict[kind.InterfaceName, FlowsOfBridge], Field(max_length=SEQUENCE_MAX_ITEMS)
    ] = Field(default_factory=dict, description="Bridges by name; others are left alone.")
