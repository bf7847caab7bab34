"""What tracing a packet takes: the packet filled in, and the switch asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.host import unixctl
from privacy_router.openflow.constants import CtState
from privacy_router.pipeline.trace import ofproto_trace
from privacy_router.pipeline.trace.packet import parse_packet, with_defaults
from privacy_router.pipeline.trace.walk import own_mac, parse_ct_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from privacy_router.pipeline.flow import Flow
    from privacy_router.pipeline.trace.packet import Packet
    from privacy_router.pipeline.trace.walk import Walk

    PortNames = Mapping[int, str]


def complete(
    text: str, flows: Sequence[Flow], port_names: PortNames, states: Sequence[str]
) -> Packet:
    """The packet that `text` describes, with what is usual where it says nothing.

    `states` is what connection tracking is to say. Raises PacketError.
    """
    said = parse_packet(text, _numbers(port_names).get)
    begins = CtState.NEW in parse_ct_state(states[0])
    return with_defaults(said, source_mac=own_mac(flows, said["in_port"]), begins=begins)


def differences(
    walked: Walk, run_dir: Path, bridge: str, port_names: PortNames, states: Sequence[str]
) -> list[str]:
    """Where the switch that runs in `run_dir` does something else with the packet.

    Raises UnixctlError and LiveTraceError.
    """
    arguments = ofproto_trace.trace_arguments(bridge, walked.packet, states)
    answer = unixctl.call(unixctl.switch_socket(run_dir), ofproto_trace.METHOD, *arguments)
    live = ofproto_trace.parse_trace_untrusted(answer, _numbers(port_names).get)
    return ofproto_trace.compare(walked, live, port_names.get)


def _numbers(port_names: PortNames) -> dict[str, int]:
    return {name: number for number, name in port_names.items()}
