"""In which order a chain is changed so that no packet meets half of it (pure).

A change of the chain is many changes of items, and between two of them the node is neither the old
chain nor the new one. So they are made in stages, and the tunnel is closed around `during`:

* `before`: what can be made beside the old chain: namespaces that are new, what is in them, new
  processes, the guard. It takes longest, and the old chain carries the clients meanwhile.
* `ending`: programs of the hops that are to be started anew end, and an XRay that is to go; it
  resets its connections. Their peers hear of it only as long as the old chain is open, and would
  refuse new ones of the same ports otherwise.
* `during`: what the old or the new chain's packets could meet. The flows drop what hops send.
* `after`: what nothing leads to any more, once the new chain was read back and is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.plan.compile import OVS_PROCESSES
from privacy_router.values.items import Change, Kind
from privacy_router.values.network import AddressKey, Device, DeviceKey, Route
from privacy_router.values.processes import ProcessKey
from privacy_router.values.rulesets import FirewallKey, TableRole
from privacy_router.values.sysctls import DeviceSettingKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from privacy_router.hops.catalogue import Catalogue
    from privacy_router.values.items import ItemValue

_OF_A_NEW_NAMESPACE = frozenset({Kind.NAMESPACE, Kind.SETTING, Kind.FIREWALL, Kind.RULE})


@dataclass(frozen=True)
class Stages:
    """All changes of a list, each in one stage, in the order of the list; `ending` are the first
    halves of some that are `during`."""

    before: tuple[Change, ...] = ()
    ending: tuple[Change, ...] = ()
    during: tuple[Change, ...] = ()
    after: tuple[Change, ...] = ()


def in_stages(changes: Sequence[Change], hops: Catalogue = CATALOGUE) -> Stages:
    """Divide the changes that turn the observed node into the desired one. `hops` are those that
    there are."""
    new = {c.key.where for c in changes if c.key.kind is Kind.NAMESPACE and c.before is None}
    tunnels = {device for c in changes for device in _new_tunnel(c, new)}
    found: dict[str, list[Change]] = {"before": [], "during": [], "after": []}
    for change in changes:
        found[_stage(change, new, tunnels, hops)].append(change)
    ending = [Change(c.key, c.before, None) for c in found["during"] if _is_program_of_a_hop(c)]
    return Stages(
        tuple(found["before"]), tuple(ending), tuple(found["during"]), tuple(found["after"])
    )


def _is_program_of_a_hop(change: Change) -> bool:
    return isinstance(change.key, ProcessKey) and change.key.process not in OVS_PROCESSES


def places_to_forget(changes: Sequence[Change]) -> set[str]:
    """The namespaces whose firewall changes: the kernel must forget the node's connections there,
    since each keeps the verdict and the translation that it began with."""
    return {c.key.where for c in changes if c.key.kind is Kind.FIREWALL and not is_guard(c)}


def is_guard(change: Change) -> bool:
    """Whether it is about the host's guard, which comes first and goes last."""
    return isinstance(change.key, FirewallKey) and change.key.role is TableRole.GUARD


def _stage(change: Change, new: set[str], tunnels: set[str], hops: Catalogue) -> str:
    kind = change.key.kind
    if change.after is None:
        waits = kind is Kind.PROCESS and not _has_connections(change, hops)
        return "after" if waits or kind is Kind.NAMESPACE or is_guard(change) else "during"
    if kind is Kind.TUNNEL or is_guard(change):
        return "before"  # a tunnel's keys and peers do not decide where packets go
    if kind is Kind.PROCESS:
        return "before" if change.before is None else "during"
    beside = change.key.where in new and _needs_no_port(change, tunnels)
    return "before" if beside else "during"


def _has_connections(change: Change, hops: Catalogue) -> bool:
    """Whether it is about an XRay or the like, whose peers are to hear that its connections end."""
    hop = hops.of_program(change.key.process) if isinstance(change.key, ProcessKey) else None
    return hop is not None and hop.resets_connections


def _needs_no_port(change: Change, tunnels: set[str]) -> bool:
    """Whether an item of a new namespace can be made before the bridge's port is in it."""
    key, after = change.key, change.after
    if key.kind in _OF_A_NEW_NAMESPACE:
        return True
    if isinstance(key, DeviceKey):
        return _has_no_mac(after)
    if isinstance(key, DeviceSettingKey):
        return key.sysctl.device in tunnels
    if isinstance(key, AddressKey):
        return key.device in tunnels
    return isinstance(after, Route) and after.device in {None, *tunnels}


def _new_tunnel(change: Change, new: set[str]) -> Iterator[str]:
    """The name of the device that is added, if that needs no port and is in a new namespace."""
    key, after = change.key, change.after
    if isinstance(key, DeviceKey) and key.where in new and _has_no_mac(after):
        yield key.device


def _has_no_mac(device: ItemValue | None) -> bool:
    return isinstance(device, Device) and device.mac is None
