"""The names of error types and codes: OpenFlow 1.3.5, 7.4.4; ONF EXT-230; Open vSwitch."""

from __future__ import annotations

from typing import Final

from privacy_router.openflow.constants import NICIRA_EXPERIMENTER, ONF_EXPERIMENTER, OpenEnum


class ErrorType(OpenEnum):
    """OpenFlow 1.3.5, 7.4.4 (ofp_error_type)."""

    HELLO_FAILED = 0
    BAD_REQUEST = 1
    BAD_ACTION = 2
    BAD_INSTRUCTION = 3
    BAD_MATCH = 4
    FLOW_MOD_FAILED = 5
    GROUP_MOD_FAILED = 6
    PORT_MOD_FAILED = 7
    TABLE_MOD_FAILED = 8
    QUEUE_OP_FAILED = 9
    SWITCH_CONFIG_FAILED = 10
    ROLE_REQUEST_FAILED = 11
    METER_MOD_FAILED = 12
    TABLE_FEATURES_FAILED = 13
    EXPERIMENTER = 0xFFFF


# In the order of their numbers, from 0.
_CODES: Final[dict[int, tuple[str, ...]]] = {
    ErrorType.HELLO_FAILED: ("INCOMPATIBLE", "EPERM"),
    ErrorType.BAD_REQUEST: (
        *("BAD_VERSION", "BAD_TYPE", "BAD_MULTIPART", "BAD_EXPERIMENTER", "BAD_EXP_TYPE", "EPERM"),
        *("BAD_LEN", "BUFFER_EMPTY", "BUFFER_UNKNOWN", "BAD_TABLE_ID", "IS_SLAVE", "BAD_PORT"),
        *("BAD_PACKET", "MULTIPART_BUFFER_OVERFLOW"),
    ),
    ErrorType.BAD_ACTION: (
        *("BAD_TYPE", "BAD_LEN", "BAD_EXPERIMENTER", "BAD_EXP_TYPE", "BAD_OUT_PORT"),
        *("BAD_ARGUMENT", "EPERM", "TOO_MANY", "BAD_QUEUE", "BAD_OUT_GROUP"),
        *("MATCH_INCONSISTENT", "UNSUPPORTED_ORDER", "BAD_TAG", "BAD_SET_TYPE", "BAD_SET_LEN"),
        "BAD_SET_ARGUMENT",
    ),
    ErrorType.BAD_INSTRUCTION: (
        *("UNKNOWN_INST", "UNSUP_INST", "BAD_TABLE_ID", "UNSUP_METADATA", "UNSUP_METADATA_MASK"),
        *("BAD_EXPERIMENTER", "BAD_EXP_TYPE", "BAD_LEN", "EPERM"),
    ),
    ErrorType.BAD_MATCH: (
        *("BAD_TYPE", "BAD_LEN", "BAD_TAG", "BAD_DL_ADDR_MASK", "BAD_NW_ADDR_MASK"),
        *("BAD_WILDCARDS", "BAD_FIELD", "BAD_VALUE", "BAD_MASK", "BAD_PREREQ", "DUP_FIELD"),
        "EPERM",
    ),
    ErrorType.FLOW_MOD_FAILED: (
        *("UNKNOWN", "TABLE_FULL", "BAD_TABLE_ID", "OVERLAP", "EPERM", "BAD_TIMEOUT"),
        *("BAD_COMMAND", "BAD_FLAGS"),
    ),
    ErrorType.GROUP_MOD_FAILED: (
        *("GROUP_EXISTS", "INVALID_GROUP", "WEIGHT_UNSUPPORTED", "OUT_OF_GROUPS"),
        *("OUT_OF_BUCKETS", "CHAINING_UNSUPPORTED", "WATCH_UNSUPPORTED", "LOOP"),
        *("UNKNOWN_GROUP", "CHAINED_GROUP", "BAD_TYPE", "BAD_COMMAND", "BAD_BUCKET"),
        *("BAD_WATCH", "EPERM"),
    ),
    ErrorType.PORT_MOD_FAILED: (
        *("BAD_PORT", "BAD_HW_ADDR", "BAD_CONFIG", "BAD_ADVERTISE", "EPERM"),
    ),
    ErrorType.TABLE_MOD_FAILED: ("BAD_TABLE", "BAD_CONFIG", "EPERM"),
    ErrorType.QUEUE_OP_FAILED: ("BAD_PORT", "BAD_QUEUE", "EPERM"),
    ErrorType.SWITCH_CONFIG_FAILED: ("BAD_FLAGS", "BAD_LEN", "EPERM"),
    ErrorType.ROLE_REQUEST_FAILED: ("STALE", "UNSUP", "BAD_ROLE"),
    ErrorType.METER_MOD_FAILED: (
        *("UNKNOWN", "METER_EXISTS", "INVALID_METER", "UNKNOWN_METER", "BAD_COMMAND"),
        *("BAD_FLAGS", "BAD_RATE", "BAD_BURST", "BAD_BAND", "BAD_BAND_VALUE"),
        *("OUT_OF_METERS", "OUT_OF_BANDS"),
    ),
    ErrorType.TABLE_FEATURES_FAILED: (
        *("BAD_TABLE", "BAD_METADATA", "BAD_TYPE", "BAD_LEN", "BAD_ARGUMENT", "EPERM"),
    ),
}

# Experimenter error types of ONF extensions: EXT-230 (bundles), EXT-260 and EXT-425.
_ONF_CODES: Final[dict[int, str]] = {
    2300: "BUNDLE_FAILED.UNKNOWN",
    2301: "BUNDLE_FAILED.EPERM",
    2302: "BUNDLE_FAILED.BAD_ID",
    2303: "BUNDLE_FAILED.BUNDLE_EXIST",
    2304: "BUNDLE_FAILED.BUNDLE_CLOSED",
    2305: "BUNDLE_FAILED.OUT_OF_BUNDLES",
    2306: "BUNDLE_FAILED.BAD_TYPE",
    2307: "BUNDLE_FAILED.BAD_FLAGS",
    2308: "BUNDLE_FAILED.MSG_BAD_LEN",
    2309: "BUNDLE_FAILED.MSG_BAD_XID",
    2310: "BUNDLE_FAILED.MSG_UNSUP",
    2311: "BUNDLE_FAILED.MSG_CONFLICT",
    2312: "BUNDLE_FAILED.MSG_TOO_MANY",
    2313: "BUNDLE_FAILED.MSG_FAILED",
    2314: "BUNDLE_FAILED.TIMEOUT",
    2315: "BUNDLE_FAILED.BUNDLE_IN_PROGRESS",
    2600: "BAD_INSTRUCTION.DUP_INST",
    4250: "BAD_ACTION.BAD_SET_MASK",
}

# What Open vSwitch says with Nicira's number since OpenFlow 1.2, by `exp_type`.
_NICIRA_CODES: Final[dict[int, str]] = {
    2: "BAD_REQUEST.NXM_INVALID",
    3: "BAD_REQUEST.NXM_BAD_TYPE",
    4: "BAD_REQUEST.MUST_BE_ZERO",
    5: "BAD_REQUEST.BAD_REASON",
    6: "FLOW_MONITOR_FAILED.MONITOR_EXISTS",
    7: "FLOW_MONITOR_FAILED.BAD_FLAGS",
    8: "FLOW_MONITOR_FAILED.UNKNOWN_MONITOR",
    9: "BAD_REQUEST.FM_BAD_EVENT",
    10: "BAD_REQUEST.UNENCODABLE_ERROR",
    11: "BAD_ACTION.MUST_BE_ZERO",
    12: "FLOW_MOD_FAILED.HARDWARE",
    13: "FLOW_MOD_FAILED.BAD_TABLE_ID",
    15: "BAD_ACTION.BAD_CONJUNCTION",
    16: "TLV_TABLE_MOD_FAILED.BAD_COMMAND",
    17: "TLV_TABLE_MOD_FAILED.BAD_OPT_LEN",
    18: "TLV_TABLE_MOD_FAILED.BAD_FIELD_IDX",
    19: "TLV_TABLE_MOD_FAILED.TABLE_FULL",
    20: "TLV_TABLE_MOD_FAILED.ALREADY_MAPPED",
    21: "TLV_TABLE_MOD_FAILED.DUP_ENTRY",
    34: "RESUME_FAILED.NOT_SUPPORTED",
    35: "RESUME_FAILED.STALE",
    36: "STATS_FAILED.NOT_CONFIGURED",
}
_EXPERIMENTERS: Final = {
    ONF_EXPERIMENTER: ("ONF", _ONF_CODES),
    NICIRA_EXPERIMENTER: ("NICIRA", _NICIRA_CODES),
}


def error_name(error_type: int, code: int, experimenter: int | None = None) -> str:
    """ "TYPE.CODE" in the specification's words; numbers where they have no name.

    For an experimenter error, `code` is its `exp_type` and `experimenter` says whose.
    """
    if experimenter in _EXPERIMENTERS:
        whose, named = _EXPERIMENTERS[experimenter]
        return named.get(code, f"{whose}.{code}")
    kind = ErrorType(error_type)
    codes = _CODES.get(error_type, ())
    return f"{kind.name}.{codes[code] if code < len(codes) else code}"
