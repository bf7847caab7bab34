"""Names for the numbers of OpenFlow 1.3.5 and the Nicira extensions; `onf` has ONF's."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Self

VERSION = 0x04  # OpenFlow 1.3 on the wire
MAX_MESSAGE_BYTES = 0xFFFF
NO_BUFFER = 0xFFFFFFFF
ONF_EXPERIMENTER = 0x4F4E4600
NICIRA_EXPERIMENTER = 0x00002320


class OpenEnum(IntEnum):
    """An enumeration of a wire field: a value without a name is kept, and prints as a number."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value:#x}"
        member._value_ = value
        return member


class MessageType(OpenEnum):
    """OpenFlow 1.3.5, 7.1 (ofp_type)."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    EXPERIMENTER = 4
    FEATURES_REQUEST = 5
    FEATURES_REPLY = 6
    GET_CONFIG_REQUEST = 7
    GET_CONFIG_REPLY = 8
    SET_CONFIG = 9
    PACKET_IN = 10
    FLOW_REMOVED = 11
    PORT_STATUS = 12
    PACKET_OUT = 13
    FLOW_MOD = 14
    GROUP_MOD = 15
    PORT_MOD = 16
    TABLE_MOD = 17
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19
    BARRIER_REQUEST = 20
    BARRIER_REPLY = 21
    QUEUE_GET_CONFIG_REQUEST = 22
    QUEUE_GET_CONFIG_REPLY = 23
    ROLE_REQUEST = 24
    ROLE_REPLY = 25
    GET_ASYNC_REQUEST = 26
    GET_ASYNC_REPLY = 27
    SET_ASYNC = 28
    METER_MOD = 29


class PortNumber(OpenEnum):
    """Reserved ports: OpenFlow 1.3.5, 7.2.1 (ofp_port_no)."""

    MAX = 0xFFFFFF00
    UNSET = 0xFFFFFFF7  # OpenFlow 1.5; Open vSwitch shows it for a group without a watched port
    IN_PORT = 0xFFFFFFF8
    TABLE = 0xFFFFFFF9
    NORMAL = 0xFFFFFFFA
    FLOOD = 0xFFFFFFFB
    ALL = 0xFFFFFFFC
    CONTROLLER = 0xFFFFFFFD
    LOCAL = 0xFFFFFFFE
    ANY = 0xFFFFFFFF


class TableId(OpenEnum):
    """OpenFlow 1.3.5, 7.3.4.1 (ofp_table)."""

    MAX = 0xFE
    ALL = 0xFF


class GroupId(OpenEnum):
    """OpenFlow 1.3.5, 7.3.4.2 (ofp_group)."""

    MAX = 0xFFFFFF00
    ALL = 0xFFFFFFFC
    ANY = 0xFFFFFFFF


class MeterId(OpenEnum):
    """OpenFlow 1.3.5, 7.3.4.4 (ofp_meter)."""

    MAX = 0xFFFF0000
    SLOWPATH = 0xFFFFFFFD
    CONTROLLER = 0xFFFFFFFE
    ALL = 0xFFFFFFFF


class PortConfig(IntFlag):
    """OpenFlow 1.3.5, 7.2.1 (ofp_port_config)."""

    PORT_DOWN = 1 << 0
    NO_RECV = 1 << 2
    NO_FWD = 1 << 5
    NO_PACKET_IN = 1 << 6


class PortState(IntFlag):
    """OpenFlow 1.3.5, 7.2.1 (ofp_port_state)."""

    LINK_DOWN = 1 << 0
    BLOCKED = 1 << 1
    LIVE = 1 << 2


class ConfigFlag(OpenEnum):
    """OpenFlow 1.3.5, 7.3.2 (ofp_config_flags): what becomes of IP fragments."""

    FRAG_NORMAL = 0
    FRAG_DROP = 1
    FRAG_REASM = 2
    FRAG_MASK = 3


class FlowModCommand(OpenEnum):
    """OpenFlow 1.3.5, 7.3.4.1 (ofp_flow_mod_command)."""

    ADD = 0
    MODIFY = 1
    MODIFY_STRICT = 2
    DELETE = 3
    DELETE_STRICT = 4


class FlowModFlag(IntFlag):
    """OpenFlow 1.3.5, 7.3.4.1 (ofp_flow_mod_flags)."""

    SEND_FLOW_REM = 1 << 0
    CHECK_OVERLAP = 1 << 1
    RESET_COUNTS = 1 << 2
    NO_PKT_COUNTS = 1 << 3
    NO_BYT_COUNTS = 1 << 4


class FlowRemovedReason(OpenEnum):
    """OpenFlow 1.3.5, 7.4.2 (ofp_flow_removed_reason)."""

    IDLE_TIMEOUT = 0
    HARD_TIMEOUT = 1
    DELETE = 2
    GROUP_DELETE = 3
    METER_DELETE = 4


class PacketInReason(OpenEnum):
    """OpenFlow 1.3.5, 7.4.1 (ofp_packet_in_reason)."""

    NO_MATCH = 0
    ACTION = 1
    INVALID_TTL = 2


class PortStatusReason(OpenEnum):
    """OpenFlow 1.3.5, 7.4.3 (ofp_port_reason)."""

    ADD = 0
    DELETE = 1
    MODIFY = 2


class GroupCommand(OpenEnum):
    """OpenFlow 1.3.5, 7.3.4.2 (ofp_group_mod_command)."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


class GroupType(OpenEnum):
    """OpenFlow 1.3.5, 7.3.4.2 (ofp_group_type)."""

    ALL = 0
    SELECT = 1
    INDIRECT = 2
    FAST_FAILOVER = 3


class MeterCommand(OpenEnum):
    """OpenFlow 1.3.5, 7.3.4.4 (ofp_meter_mod_command)."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


class MeterFlag(IntFlag):
    """OpenFlow 1.3.5, 7.3.4.4 (ofp_meter_flags)."""

    KBPS = 1 << 0
    PKTPS = 1 << 1
    BURST = 1 << 2
    STATS = 1 << 3


class MeterBandType(OpenEnum):
    """OpenFlow 1.3.5, 7.3.4.4 (ofp_meter_band_type)."""

    DROP = 1
    DSCP_REMARK = 2
    EXPERIMENTER = 0xFFFF


class InstructionType(OpenEnum):
    """OpenFlow 1.3.5, 7.2.4 (ofp_instruction_type)."""

    GOTO_TABLE = 1
    WRITE_METADATA = 2
    WRITE_ACTIONS = 3
    APPLY_ACTIONS = 4
    CLEAR_ACTIONS = 5
    METER = 6
    EXPERIMENTER = 0xFFFF


class ActionType(OpenEnum):
    """OpenFlow 1.3.5, 7.2.5 (ofp_action_type)."""

    OUTPUT = 0
    COPY_TTL_OUT = 11
    COPY_TTL_IN = 12
    SET_MPLS_TTL = 15
    DEC_MPLS_TTL = 16
    PUSH_VLAN = 17
    POP_VLAN = 18
    PUSH_MPLS = 19
    POP_MPLS = 20
    SET_QUEUE = 21
    GROUP = 22
    SET_NW_TTL = 23
    DEC_NW_TTL = 24
    SET_FIELD = 25
    PUSH_PBB = 26
    POP_PBB = 27
    EXPERIMENTER = 0xFFFF


class NiciraActionType(OpenEnum):
    """Nicira extension actions, ovs-actions(7)."""

    REG_MOVE = 6
    REG_LOAD = 7
    NOTE = 8
    RESUBMIT_TABLE = 14
    LEARN = 16
    CONTROLLER = 20
    REG_LOAD2 = 33
    CONJUNCTION = 34
    CT = 35
    NAT = 36
    CONTROLLER2 = 37
    CLONE = 42


class MultipartType(OpenEnum):
    """OpenFlow 1.3.5, 7.3.5 (ofp_multipart_type)."""

    DESC = 0
    FLOW = 1
    AGGREGATE = 2
    TABLE = 3
    PORT_STATS = 4
    QUEUE = 5
    GROUP = 6
    GROUP_DESC = 7
    GROUP_FEATURES = 8
    METER = 9
    METER_CONFIG = 10
    METER_FEATURES = 11
    TABLE_FEATURES = 12
    PORT_DESC = 13
    EXPERIMENTER = 0xFFFF


class CtFlag(IntFlag):
    """Nicira connection tracking action, ovs-actions(7), `ct`."""

    COMMIT = 1 << 0
    FORCE = 1 << 1


class NatFlag(IntFlag):
    """Nicira NAT action, ovs-actions(7), `nat`."""

    SRC = 1 << 0
    DST = 1 << 1
    PERSISTENT = 1 << 2
    PROTO_HASH = 1 << 3
    PROTO_RANDOM = 1 << 4


class CtState(IntFlag):
    """Bits of the `ct_state` field, ovs-fields(7)."""

    NEW = 1 << 0
    EST = 1 << 1
    REL = 1 << 2
    RPL = 1 << 3
    INV = 1 << 4
    TRK = 1 << 5
    SNAT = 1 << 6
    DNAT = 1 << 7


class TcpFlag(IntFlag):
    """Bits of the `tcp_flags` field, RFC 9293 section 3.1 and RFC 3540."""

    FIN = 1 << 0
    SYN = 1 << 1
    RST = 1 << 2
    PSH = 1 << 3
    ACK = 1 << 4
    URG = 1 << 5
    ECE = 1 << 6
    CWR = 1 << 7
    NS = 1 << 8


class EtherType(OpenEnum):
    """EtherTypes that OpenFlow's prerequisites name (IEEE registry)."""

    IPV4 = 0x0800
    ARP = 0x0806
    RARP = 0x8035
    VLAN = 0x8100
    IPV6 = 0x86DD
    MPLS = 0x8847
    MPLS_MULTICAST = 0x8848
    QINQ = 0x88A8
    PBB = 0x88E7


class IpProtocol(OpenEnum):
    """IP protocols that OpenFlow's prerequisites name (IANA registry)."""

    ICMP = 1
    TCP = 6
    UDP = 17
    ICMPV6 = 58
    SCTP = 132


VLAN_PRESENT = 0x1000  # the bit of `vlan_vid` that says "has a tag" (7.2.3.7, OFPVID_PRESENT)
