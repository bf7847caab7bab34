"""The functions table: which container serves what, and what the containers may do besides.

New connections go by function: from every sender and for every address of the mesh the packet goes
to the container that serves the function (its address is translated, so that the container takes
it).
What belongs to a connection goes to the owner of its destination. Everything else that a container
sends leaves by the way into the mesh; from there, nothing comes in but functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.config.policies import PORT_NAME_PLACEHOLDER
from privacy_router.openflow.actions import Output, set_field
from privacy_router.openflow.constants import CtFlag, EtherType, NatFlag
from privacy_router.openflow.match import Match
from privacy_router.openflow.nicira import Ct, Nat
from privacy_router.pipeline.allocation import MESH_TRACKING_ZONE, Layer, Zone
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.notation import FlowRefusedError, ip_only, matches, verdict
from privacy_router.pipeline.selectors import fill, selects
from privacy_router.pipeline.terms import DROP, VERSIONS, do, in_zone, ip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.config.sections import FunctionRoute
    from privacy_router.openflow.action import Action
    from privacy_router.openflow.instructions import Instruction
    from privacy_router.pipeline.mesh import MeshPort
    from privacy_router.pipeline.selectors import Filled

_NEW = "+new+trk"
_KNOWN = "-new+trk"
_TO_OWNER, _TO_MESH, _TO_ITSELF, _OUTWARD = 0xFFFF, 0xFFFE, 11, 10
_USER_TOP = _TO_MESH - 2  # room above for what keeps a function's own container from itself


def mesh_port(
    config: PrivacyRouterConfig, port: MeshPort, others: Mapping[str, MeshPort]
) -> Iterator[Flow]:
    """Everything of this table that comes with one port. `others` are all ports by name.

    Raises FlowRefusedError for a route or a policy that may not be.
    """
    if port.container_id is None:
        yield from _way_into_the_mesh(port)
    else:
        yield from _to_owner(port)
        yield from _functions(config, port, others)
    yield from _policies(config, port, others)


def referenced(config: PrivacyRouterConfig) -> frozenset[str]:
    """The ports that flows of other ports speak of; when one changes, all are compiled anew."""
    names: set[object] = {config.netmaker.interface}
    for policy in config.openflow.flow_policies:
        names |= {action.partition(":")[2].strip() for action in policy.template.actions}
        names.add(policy.template.match_fields.get("in_port"))
    names |= {route.match_fields.get("in_port") for route in config.openflow.function_routing}
    return frozenset(str(name) for name in names if name and name != PORT_NAME_PLACEHOLDER)


def _to_owner(port: MeshPort) -> Iterator[Flow]:
    for version in VERSIONS:
        match = ip(
            version, destination=port.address(version), ct_state=_KNOWN, **in_zone(Zone.MESH)
        )
        yield Flow(
            "functions",
            _TO_OWNER,
            match,
            do(set_field("eth_dst", port.mac), Output(port.ofport)),
            Layer.FUNCTION,
            "discovery",
            f"connections of {port.name}",
            port.ofport,
        )


def _way_into_the_mesh(port: MeshPort) -> Iterator[Flow]:
    known = Match(eth_dst=port.mac, ct_state=_KNOWN, **in_zone(Zone.MESH))
    yield _outward(port, _TO_MESH, known, do(Output(port.ofport)), "connections with the mesh")
    begin = Ct(flags=CtFlag.COMMIT, zone=MESH_TRACKING_ZONE)
    leave = do(begin, Output(port.ofport))
    for version in VERSIONS:
        new = ip(version, eth_dst=port.mac, ct_state=_NEW, **in_zone(Zone.MESH))
        yield _outward(port, _OUTWARD, new, leave, "containers may ask the mesh")
        # A switch sends nothing back to where it came from, but would remember the connection.
        own = new.extended(in_port=port.ofport)
        yield _outward(port, _TO_ITSELF, own, DROP, "the mesh asks itself for no function")


def _outward(
    port: MeshPort,
    priority: int,
    match: Match,
    instructions: tuple[Instruction, ...],
    reason: str,
) -> Flow:
    return Flow(
        "functions",
        priority,
        match,
        instructions,
        Layer.FUNCTION,
        "netmaker.interface",
        reason,
        port.ofport,
    )


# --- functions ----------------------------------------------------------------------------------


def _functions(
    config: PrivacyRouterConfig, port: MeshPort, others: Mapping[str, MeshPort]
) -> Iterator[Flow]:
    gateway = others.get(config.netmaker.interface)
    for index, route in enumerate(config.openflow.function_routing):
        if route.target_socket == port.name:
            yield from _function(
                f"openflow.function_routing[{index}]", route, port, gateway, others
            )


def _function(
    key: str,
    route: FunctionRoute,
    port: MeshPort,
    gateway: MeshPort | None,
    others: Mapping[str, MeshPort],
) -> Iterator[Flow]:
    where = f"plugins.privacy_router.{key}"
    _require_room(where, route.priority)
    for match in matches(where, route.match_fields, _ofports(others)):
        _require_ip(where, match)
        asked = match.extended(ct_state=_NEW, **in_zone(Zone.MESH))
        reason = f"function {route.function} → {port.name}"
        yield _route(key, route.priority, asked, _serve(port, match), reason, port)
        if gateway is not None and match.get("in_port") is None:
            own = asked.extended(in_port=port.ofport, eth_dst=gateway.mac)
            begin = Ct(flags=CtFlag.COMMIT, zone=MESH_TRACKING_ZONE)
            leave = do(begin, Output(gateway.ofport))
            reason = f"{port.name} serves {route.function}, and asks the mesh for another's"
            yield _route(key, route.priority + 1, own, leave, reason, port)


def _serve(port: MeshPort, match: Match) -> tuple[Instruction, ...]:
    version = 4 if match.value("eth_type") == EtherType.IPV4 else 6
    translate = Nat(NatFlag.DST, port.address(version))
    return do(
        Ct(flags=CtFlag.COMMIT, zone=MESH_TRACKING_ZONE, actions=(translate,)),
        set_field("eth_dst", port.mac),
        Output(port.ofport),
    )


def _route(
    key: str,
    priority: int,
    match: Match,
    instructions: tuple[Instruction, ...],
    reason: str,
    port: MeshPort,
) -> Flow:
    return Flow(
        "functions", priority, match, instructions, Layer.FUNCTION, key, reason, port.ofport
    )


def _require_room(where: str, priority: int) -> None:
    if priority > _USER_TOP:
        raise FlowRefusedError(
            f"{where}: priority {priority} is kept for connections that exist",
            remedy=f"take a priority of at most {_USER_TOP}",
        )


def _require_ip(where: str, match: Match) -> None:
    if match.value("eth_type") not in (EtherType.IPV4, EtherType.IPV6):
        raise FlowRefusedError(
            f"{where}: a function is reached over IP",
            remedy="match on an IP protocol, an address or a port, such as tcp_dst",
        )


def _ofports(others: Mapping[str, MeshPort]) -> Callable[[str], int | None]:
    return lambda name: others[name].ofport if name in others else None


# --- policies -----------------------------------------------------------------------------------


def _policies(
    config: PrivacyRouterConfig, port: MeshPort, others: Mapping[str, MeshPort]
) -> Iterator[Flow]:
    for index, policy in enumerate(config.openflow.flow_policies):
        if selects(policy.selector, port.name):
            filled = fill(policy, port_name=port.name, bridge=config.bridge_name)
            yield from _policy(f"openflow.flow_policies[{index}]", filled, port, others)


def _policy(
    key: str, filled: Filled, port: MeshPort, others: Mapping[str, MeshPort]
) -> Iterator[Flow]:
    where = f"plugins.privacy_router.{key}"
    _require_room(where, filled.priority)
    decision = verdict(where, filled.actions)
    target = others.get(decision.target) if decision.target is not None else None
    source = filled.match_fields.get("in_port")
    if (decision.target is not None and target is None) or (source not in (None, *others)):
        return  # it comes when those ports do
    found = matches(where, filled.match_fields, _ofports(others))
    for match in ip_only(where, found) if decision.rewrites else found:
        zoned = match.extended(**in_zone(Zone.MESH))
        instructions = DROP
        if target is not None:
            zoned = _for_port(zoned, target).extended(ct_state=_NEW)
            instructions = do(*_begin(target), *decision.rewrites, Output(target.ofport))
        yield Flow(
            "functions",
            filled.priority,
            zoned,
            instructions,
            Layer.POLICY,
            key,
            filled.reason(port.name),
            port.ofport,
        )


def _for_port(match: Match, port: MeshPort) -> Match:
    """What does not say where it goes to is for the container's own address, or two containers of
    one policy would want the same packets."""
    version = {EtherType.IPV4: 4, EtherType.IPV6: 6}.get(EtherType(match.value("eth_type") or 0))
    if port.container_id is None or version is None or f"ipv{version}_dst" in match:
        return match
    return match.extended(**{f"ipv{version}_dst": port.address(version)})


def _begin(target: MeshPort) -> tuple[Action, ...]:
    commit = Ct(flags=CtFlag.COMMIT, zone=MESH_TRACKING_ZONE)
    return (commit, set_field("eth_dst", target.mac))
