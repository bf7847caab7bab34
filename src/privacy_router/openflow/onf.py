"""Names for the numbers of ONF's extensions of OpenFlow 1.3: bundles and flow monitoring."""

from __future__ import annotations

from enum import IntFlag

from privacy_router.openflow.constants import OpenEnum


class BundleControlType(OpenEnum):
    """ONF EXT-230, section 7.3.9.1 (ofp_bundle_ctrl_type)."""

    OPEN_REQUEST = 0
    OPEN_REPLY = 1
    CLOSE_REQUEST = 2
    CLOSE_REPLY = 3
    COMMIT_REQUEST = 4
    COMMIT_REPLY = 5
    DISCARD_REQUEST = 6
    DISCARD_REPLY = 7


class BundleFlag(IntFlag):
    """ONF EXT-230, section 7.3.9.2 (ofp_bundle_flags)."""

    ATOMIC = 1 << 0
    ORDERED = 1 << 1


class BundleMessageType(OpenEnum):
    """ONF EXT-230: experimenter types of the two bundle messages."""

    CONTROL = 2300
    ADD = 2301


class MonitorMessageType(OpenEnum):
    """ONF extension of OpenFlow 1.3: experimenter types of flow monitoring."""

    MONITOR = 1870
    PAUSED = 1871
    RESUMED = 1872


class MonitorFlag(IntFlag):
    """What a flow monitor tells, ovs-ofctl(8), `monitor`."""

    INITIAL = 1 << 0
    ADD = 1 << 1
    DELETE = 1 << 2
    MODIFY = 1 << 3
    ACTIONS = 1 << 4
    OWN = 1 << 5


class FlowEventKind(OpenEnum):
    """What a flow monitor tells of."""

    ADDED = 0
    DELETED = 1
    MODIFIED = 2
    ABBREVIATED = 3
