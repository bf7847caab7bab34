"""What flows consist of, as os-ken says and reads it: match fields, actions, instructions.

Each stands in a flow-mod, which os-ken can both write and read. What os-ken makes of a thing that
it does not know stands in the tables at the end, and is tested too.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.openflow import (
    Action,
    ApplyActions,
    ClearActions,
    Clone,
    Conjunction,
    CopyTtlIn,
    CopyTtlOut,
    Ct,
    DecMplsTtl,
    DecNwTtl,
    ExperimenterInstruction,
    FlowMod,
    GotoTable,
    Group,
    Instruction,
    Learn,
    Learned,
    Load,
    Match,
    MatchItem,
    Meter,
    Move,
    Nat,
    NiciraAction,
    Note,
    Output,
    PopMpls,
    PopPbb,
    PopVlan,
    PushMpls,
    PushPbb,
    PushVlan,
    RawAction,
    RawInstruction,
    Resubmit,
    SendToController,
    SetField,
    SetFieldMasked,
    SetMplsTtl,
    SetNwTtl,
    SetQueue,
    WriteActions,
    WriteMetadata,
    decode_untrusted,
    encode,
    set_field,
    to_controller,
)
from privacy_router.openflow.fields import FIELDS, Field, Form
from tests.peers import osken
from tests.peers.osken import constants as c
from tests.peers.osken import parser as p

if TYPE_CHECKING:
    from collections.abc import Callable

XID = 7
V4, V6 = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")


def with_action(action: Action) -> FlowMod:
    return FlowMod(instructions=(ApplyActions((action,)),))


def theirs_with(*, actions: list[Any] | None = None, instruction: Any = None) -> bytes:
    """os-ken's own flow-mod around its own action or instruction."""
    parts = [instruction] if actions is None else [apply(*actions)]
    return their_flow_mod(instructions=parts)


def their_flow_mod(**parts: Any) -> bytes:
    """Their defaults, but for those that count for deleting flows only."""
    anywhere = {"out_port": c.OFPP_ANY, "out_group": c.OFPG_ANY}
    return osken.encode(p.OFPFlowMod(osken.DATAPATH, **anywhere, **parts), XID)


def apply(*actions: Any) -> Any:
    return p.OFPInstructionActions(c.OFPIT_APPLY_ACTIONS, list(actions))


def assert_both_agree(ours: FlowMod, theirs: bytes) -> None:
    """The same bytes from both; either reads the other's and writes the same again."""
    data = encode(ours, XID)
    assert theirs.hex(" ", 4) == data.hex(" ", 4)
    assert decode_untrusted(theirs) == (XID, ours)
    assert osken.encode(osken.decode(data), XID).hex(" ", 4) == data.hex(" ", 4)


# --- match fields -------------------------------------------------------------------------------

# os-ken's names for Open vSwitch's fields, where they are not ours.
NAMES = {
    "tun_id": "tunnel_id",
    "tun_src": "tun_ipv4_src",
    "tun_dst": "tun_ipv4_dst",
}


def their_value(field: Field, value: int) -> str | int:
    match field.form:
        case Form.MAC:
            return value.to_bytes(6, "big").hex(":")
        case Form.IPV4:
            return str(ipaddress.IPv4Address(value))
        case Form.IPV6:
            return str(ipaddress.IPv6Address(value))
    return value


def some_value(field: Field) -> int:
    """A value with its first and its last bit set, so that a lost or shifted byte shows."""
    return 1 << (field.bits - 1) | 1


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_a_match_field_is_the_same_for_both(field: Field) -> None:
    name, value = NAMES.get(field.name, field.name), some_value(field)
    theirs = their_flow_mod(match=p.OFPMatch(**{name: their_value(field, value)}))
    assert_fields_agree(field, FlowMod(one_field(field, value, None)), theirs)


@pytest.mark.parametrize(
    "field", [f for f in FIELDS.values() if f.maskable], ids=lambda field: field.name
)
def test_a_masked_match_field_is_the_same_for_both(field: Field) -> None:
    name, mask = NAMES.get(field.name, field.name), field.full_mask - 2
    value = some_value(field) & mask
    pair = (their_value(field, value), their_value(field, mask))
    theirs = their_flow_mod(match=p.OFPMatch(**{name: pair}))
    assert_fields_agree(field, FlowMod(one_field(field, value, mask)), theirs)


# We write wide registers as the plain ones that they consist of, as Open vSwitch reads them back.
WIDE = {name for name in FIELDS if name.startswith(("xreg", "xxreg"))}


def assert_fields_agree(field: Field, ours: FlowMod, theirs: bytes) -> None:
    if field.name in WIDE:
        assert decode_untrusted(theirs) == (XID, ours)
    else:
        assert_both_agree(ours, theirs)


def one_field(field: Field, value: int, mask: int | None) -> Match:
    """A match without the prerequisites of its field."""
    return Match.of_items([MatchItem(field, value, mask)])


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_a_field_is_set_the_same_way_by_both(field: Field) -> None:
    value = some_value(field)
    name = NAMES.get(field.name, field.name)
    theirs = p.OFPActionSetField(**{name: their_value(field, value)})
    assert_both_agree(with_action(SetField(field.name, value)), theirs_with(actions=[theirs]))


def test_a_match_on_several_fields_is_read_alike() -> None:
    ours = Match(in_port=1, eth_type=0x800, ip_proto=6, tcp_dst=443, ipv4_dst="10.0.0.0/24")
    theirs = osken.decode(encode(FlowMod(ours), XID)).match
    assert dict(theirs.items()) == {
        "in_port": 1,
        "eth_type": 0x800,
        "ip_proto": 6,
        "tcp_dst": 443,
        "ipv4_dst": ("10.0.0.0", "255.255.255.0"),
    }


# --- actions and instructions -------------------------------------------------------------------

LEARN = Learn(
    1,
    (
        Learned(48, "eth_src", "eth_dst"),
        Learned(16, 0x800, "eth_type"),
        Learned(16, "reg0", "reg1", 16, 8, loads=True),
        Learned(16, 5, "reg2", loads=True),
        Learned(16, "reg0", None, 16),
    ),
    *(7, 8, 9, 10, 1, 11, 12),
)


def their_learn() -> Any:
    return p.NXActionLearn(
        table_id=1,
        specs=[
            p.NXFlowSpecMatch(src=("eth_src_nxm", 0), dst=("eth_dst_nxm", 0), n_bits=48),
            p.NXFlowSpecMatch(src=0x800, dst=("eth_type_nxm", 0), n_bits=16),
            p.NXFlowSpecLoad(src=("reg0", 16), dst=("reg1", 8), n_bits=16),
            p.NXFlowSpecLoad(src=5, dst=("reg2", 0), n_bits=16),
            p.NXFlowSpecOutput(src=("reg0", 16), dst="", n_bits=16),
        ],
        priority=7,
        cookie=8,
        idle_timeout=9,
        hard_timeout=10,
        flags=1,
        fin_idle_timeout=11,
        fin_hard_timeout=12,
    )


def their_ct(*actions: Any, flags: int = 1, alg: int = 0, zone: int = 5, source: str = "") -> Any:
    return p.NXActionCT(flags, source, zone, 3, alg, list(actions))


# Ours, and how to say the same in os-ken.
ACTIONS: list[tuple[Action, Callable[[], Any]]] = [
    (Output(3), lambda: p.OFPActionOutput(3, 0)),
    (to_controller(), lambda: p.OFPActionOutput(c.OFPP_CONTROLLER, c.OFPCML_NO_BUFFER)),
    (Group(1), lambda: p.OFPActionGroup(1)),
    (SetQueue(2), lambda: p.OFPActionSetQueue(2)),
    (SetNwTtl(64), lambda: p.OFPActionSetNwTtl(64)),
    (DecNwTtl(), p.OFPActionDecNwTtl),
    (CopyTtlOut(), p.OFPActionCopyTtlOut),
    (CopyTtlIn(), p.OFPActionCopyTtlIn),
    (SetMplsTtl(64), lambda: p.OFPActionSetMplsTtl(64)),
    (DecMplsTtl(), p.OFPActionDecMplsTtl),
    (PushVlan(), lambda: p.OFPActionPushVlan(0x8100)),
    (PopVlan(), p.OFPActionPopVlan),
    (PushMpls(), lambda: p.OFPActionPushMpls(0x8847)),
    (PopMpls(0x800), lambda: p.OFPActionPopMpls(0x800)),
    (PushPbb(), lambda: p.OFPActionPushPbb(0x88E7)),
    (PopPbb(), p.OFPActionPopPbb),
    (set_field("ipv4_dst", V4), lambda: p.OFPActionSetField(ipv4_dst=str(V4))),
    (
        RawAction(0xFFFF, b"\0\0\0\1abcdefgh"),
        lambda: p.OFPActionExperimenterUnknown(1, b"abcdefgh"),
    ),
    # Nicira's
    (Move("ipv4_src", "ipv4_dst", 32), lambda: p.NXActionRegMove("ipv4_src", "ipv4_dst", 32)),
    (Move("reg0", "reg1", 16, 8, 4), lambda: p.NXActionRegMove("reg0", "reg1", 16, 8, 4)),
    (Load("reg0", 5, 16, 8), lambda: p.NXActionRegLoad(8 << 6 | 15, "reg0", 5)),
    (SetFieldMasked("reg0", 1, 3), lambda: p.NXActionRegLoad2("reg0", 1, 3)),
    (Resubmit(3), lambda: p.NXActionResubmitTable(0xFFF8, 3)),
    (Note(b"people"), lambda: p.NXActionNote(note=list(b"people"))),
    (Conjunction(7, 1, 3), lambda: p.NXActionConjunction(1, 3, 7)),
    (LEARN, their_learn),
    (SendToController(128, 1, 2), lambda: p.NXActionController(128, 1, 2)),
    (
        SendToController(128, 1, 2, b"for the controller", pause=True),
        lambda: p.NXActionController2(
            max_len=128,
            controller_id=1,
            reason=2,
            userdata=list(b"for the controller"),
            pause=True,
        ),
    ),
    (Ct(1, 5, 3), their_ct),
    (Ct(0, 5, 3, alg=21), lambda: their_ct(flags=0, alg=21)),
    (Ct(1, 15, 3, zone_field="reg0"), lambda: their_ct(source="reg0", zone=15)),
    (
        Ct(1, 5, 3, (SetField("ct_mark", 1),)),
        lambda: their_ct(p.OFPActionSetField(ct_mark=1)),
    ),
    (Ct(1, 5, 3, (Nat(),)), lambda: their_ct(p.NXActionNAT(0))),
    (
        Ct(1, 5, 3, (Nat(1, V4, V4 + 3, 1000, 2000),)),
        lambda: their_ct(p.NXActionNAT(1, str(V4), str(V4 + 3), "", "", 1000, 2000)),
    ),
    (
        Ct(1, 5, 3, (Nat(2, V6, V6 + 3),)),
        lambda: their_ct(p.NXActionNAT(2, "", "", str(V6), str(V6 + 3))),
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), ACTIONS, ids=lambda v: type(v).__name__)
def test_an_action_is_the_same_for_both(ours: Action, theirs: Callable[[], Any]) -> None:
    assert_both_agree(with_action(ours), theirs_with(actions=[theirs()]))


INSTRUCTIONS: list[tuple[Instruction, Callable[[], Any]]] = [
    (GotoTable(2), lambda: p.OFPInstructionGotoTable(2)),
    (WriteMetadata(1, 3), lambda: p.OFPInstructionWriteMetadata(1, 3)),
    (
        WriteActions((Output(1), DecNwTtl())),
        lambda: p.OFPInstructionActions(
            c.OFPIT_WRITE_ACTIONS, [p.OFPActionOutput(1, 0), p.OFPActionDecNwTtl()]
        ),
    ),
    (ApplyActions(()), apply),
    (ClearActions(), lambda: p.OFPInstructionActions(c.OFPIT_CLEAR_ACTIONS, [])),
    (Meter(1), lambda: p.OFPInstructionMeter(1)),
]


@pytest.mark.parametrize(("ours", "theirs"), INSTRUCTIONS, ids=lambda v: type(v).__name__)
def test_an_instruction_is_the_same_for_both(ours: Instruction, theirs: Callable[[], Any]) -> None:
    assert_both_agree(FlowMod(instructions=(ours,)), theirs_with(instruction=theirs()))


# --- what os-ken does not know ------------------------------------------------------------------

UNKNOWN_TYPE = 99
ENDLESS: dict[str, FlowMod] = {
    "no experimenter's instructions": FlowMod(
        instructions=(ExperimenterInstruction(1, b"12345678"),)
    ),
    "no instructions of another type": FlowMod(
        instructions=(RawInstruction(UNKNOWN_TYPE, bytes(4)),)
    ),
}
REFUSED: dict[str, tuple[FlowMod, type[Exception]]] = {
    "no actions of another type": (
        with_action(RawAction(UNKNOWN_TYPE, bytes(4))),
        AssertionError,
    ),
    "no meter in the action controller": (
        with_action(SendToController(meter_id=5)),
        AttributeError,
    ),
}


@pytest.mark.parametrize("ours", ENDLESS.values(), ids=ENDLESS)
def test_os_ken_never_comes_back_from_an_unknown_instruction(ours: FlowMod) -> None:
    """Its loop over instructions goes on by the length of the last one that it knew."""
    with pytest.raises(osken.EndlessError):
        osken.decode(encode(ours, XID))


@pytest.mark.parametrize(("ours", "error"), REFUSED.values(), ids=REFUSED)
def test_os_ken_refuses_what_it_does_not_know(ours: FlowMod, error: type[Exception]) -> None:
    with pytest.raises(error):
        osken.decode(encode(ours, XID))


@pytest.mark.parametrize(
    "ours", [Clone((DecNwTtl(), Output(1))), NiciraAction(99, b"123456")], ids=["clone", "unknown"]
)
def test_os_ken_passes_unknown_nicira_actions_through(ours: Action) -> None:
    theirs = osken.decode(encode(with_action(ours), XID))
    (action,) = theirs.instructions[0].actions
    assert isinstance(action, p.NXActionUnknown)
    assert decode_untrusted(osken.encode(theirs, XID)) == (XID, with_action(ours))


def test_os_ken_misplaces_the_padding_of_nat() -> None:
    """It writes the zeros that fill NAT up to 8 bytes behind the actions that follow; so the
    switch would read the next action 4 bytes too early. Its reading is right."""
    nat, mark = Nat(1, V4, V4 + 3, 1000, 2000), SetField("ct_mark", 1)
    data = encode(with_action(Ct(1, 5, 3, (nat, mark))), XID)
    theirs = osken.decode(data)
    (ct,) = theirs.instructions[0].actions
    kinds = [type(action) for action in ct.actions]
    assert kinds == [p.NXActionNAT, p.OFPActionSetField]
    set_mark = mark.encode()
    assert osken.encode(theirs, XID) == data.replace(bytes(4) + set_mark, set_mark + bytes(4))


# --- nothing is forgotten -----------------------------------------------------------------------


def test_every_action_and_instruction_is_compared() -> None:
    special = [Clone, NiciraAction, Nat, Learned, RawAction, RawInstruction]
    special += [ExperimenterInstruction, SetField, ApplyActions]
    compared = {type(ours).__name__ for ours, _ in (*ACTIONS, *INSTRUCTIONS)}
    compared |= {kind.__name__ for kind in special}
    assert declared(Action) | declared(Instruction) <= compared


def declared(base: type[object]) -> set[str]:
    """The names of all classes of the package below that one."""
    below: set[type[object]] = {
        each for each in base.__subclasses__() if each.__module__.startswith("privacy")
    }
    return {each.__name__ for each in below}.union(*map(declared, below))
