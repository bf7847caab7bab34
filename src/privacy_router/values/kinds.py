"""The key of each kind of item, and the values that are of one kind alone.

In the order of `Kind`. Values that are more than an item's are elsewhere: routes, rules and
neighbours in `values.network`, ports in `values.bridges`, flows in `pipeline.flow`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from privacy_router.values.items import NODE, ItemValue, Key, Kind, Plain, plain
from privacy_router.values.network import FAMILY, MAIN_TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.values.bridges import SwitchSetting, Value
    from privacy_router.values.network import Address, Interface, Network, Route, Rule
    from privacy_router.values.rulesets import Ruleset
    from privacy_router.values.wireguard import Endpoint

_TAG_KEY: Final = secrets.token_bytes(16)
_TAG_BYTES: Final = 16
_AND_MORE: Final = " and more"


@dataclass(frozen=True)
class Present(ItemValue):
    """Of an item that is there or not, and nothing else: a namespace, the bridge itself."""

    def plain(self) -> Plain:
        """True."""
        return True

    def __str__(self) -> str:
        return "there"


# --- namespaces -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamespaceKey(Key, kind=Kind.NAMESPACE):
    """A network namespace; it is where it is itself. Value: `Present`."""

    @property
    def name(self) -> str:
        """As `ip netns` has it."""
        return self.where


# --- kernel settings ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sysctl:
    """A kernel setting below /proc/sys/net, by its parts (ip-sysctl.rst).

    `place` is the device whose setting it is, or `all` or `default`; None where it has none.
    """

    protocol: str
    setting: str
    place: str | None = None

    @classmethod
    def at(cls, path: str) -> Sysctl:
        """From the kernel's own name, such as `ipv4/conf/warp0/forwarding`."""
        protocol, _, setting = path.partition("/")
        parts = setting.split("/", 2)
        if len(parts) == 3 and parts[0] == "conf":
            return cls(protocol, parts[2], parts[1])
        return cls(protocol, setting)

    @cached_property
    def path(self) -> str:
        """The kernel's own name."""
        place = () if self.place is None else ("conf", self.place)
        return "/".join((self.protocol, *place, self.setting))

    @property
    def device(self) -> str | None:
        """The one device that it is of; None for a setting of all of them, or of none."""
        return None if self.place in ("all", "default") else self.place


@dataclass(frozen=True)
class SettingKey(Key, kind=Kind.SETTING):
    """A kernel setting that is there as long as its namespace is. Value: `SettingValue`."""

    sysctl: Sysctl

    @property
    def name(self) -> str:
        """Its path below /proc/sys/net."""
        return self.sysctl.path


@dataclass(frozen=True)
class DeviceSettingKey(Key, kind=Kind.DEVICE_SETTING):
    """A kernel setting that comes and goes with its device. Value: `SettingValue`."""

    sysctl: Sysctl

    @property
    def name(self) -> str:
        """Its path below /proc/sys/net."""
        return self.sysctl.path


@dataclass(frozen=True)
class SettingValue(ItemValue):
    """The value of a kernel setting, as its file has it, without the end of the line."""

    text: str

    def plain(self) -> Plain:
        """The text."""
        return self.text

    def __str__(self) -> str:
        return self.text


# --- processes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProcessKey(Key, kind=Kind.PROCESS):
    """A process of the node's by its name. `pid` is that of a second one of the name, which is one
    too many, and None else. Value: `ProcessState`."""

    where: str = field(default=NODE, init=False)
    process: str
    pid: int | None = None

    @property
    def name(self) -> str:
        """Its name in the node; of one too many with its number."""
        return self.process if self.pid is None else f"{self.process} (pid {self.pid})"


@dataclass(frozen=True)
class ProcessState(ItemValue):
    """What a process was started with, and whether it is where it should be and can be asked."""

    fingerprint: str
    is_elsewhere: bool = False
    is_unreachable: bool = False

    def plain(self) -> Plain:
        """In one text."""
        return str(self)

    def __str__(self) -> str:
        troubles = (" elsewhere" * self.is_elsewhere, " unreachable" * self.is_unreachable)
        return self.fingerprint + "".join(troubles)


# --- the bridge and its ports ---------------------------------------------------------------------


@dataclass(frozen=True)
class BridgeItemKey(Key, kind=Kind.BRIDGE):
    """A bridge, or a setting of one."""


@dataclass(frozen=True)
class BridgeKey(BridgeItemKey, kind=Kind.BRIDGE):
    """A bridge by its name. Value: `Present`."""

    where: str = field(default=NODE, init=False)
    bridge: str

    @property
    def name(self) -> str:
        """The bridge's."""
        return self.bridge


@dataclass(frozen=True)
class BridgeSettingKey(BridgeItemKey, kind=Kind.BRIDGE):
    """A setting of the bridge `where`, or of all of Open vSwitch. Value: `SwitchValue`."""

    setting: SwitchSetting

    @property
    def name(self) -> str:
        """What is set, and of what."""
        return str(self.setting)


@dataclass(frozen=True)
class PortItemKey(Key, kind=Kind.PORT):
    """A port of the bridge `where`, or a setting of one."""


@dataclass(frozen=True)
class PortKey(PortItemKey, kind=Kind.PORT):
    """A port by its name. Value: `values.bridges.PortSpec`."""

    port: str

    @property
    def name(self) -> str:
        """The port's."""
        return self.port


@dataclass(frozen=True)
class PortSettingKey(PortItemKey, kind=Kind.PORT):
    """A setting of a port or of an interface of it. Value: `SwitchValue`."""

    setting: SwitchSetting

    @property
    def name(self) -> str:
        """What is set, and of what."""
        return str(self.setting)


@dataclass(frozen=True)
class SwitchValue(ItemValue):
    """What a setting of a bridge or a port is set to: a column's value, or an OpenFlow flag's."""

    value: Value

    def plain(self) -> Plain:
        """The value alone."""
        return plain(self.value)

    def __str__(self) -> str:
        return str(self.value)


# --- firewalls ------------------------------------------------------------------------------------


class TableRole(Enum):
    """Whose a table of nftables is, and what for."""

    OWN = auto()
    GUARD = auto()
    """The host's guard, which is in force before all else and the last to go."""
    FOREIGN = auto()
    """Another program's, in a namespace of the node's."""


@dataclass(frozen=True)
class FirewallKey(Key, kind=Kind.FIREWALL):
    """A table of nftables. Value: `RulesetValue`; of a foreign one `ForeignTable`."""

    table: str
    role: TableRole = TableRole.OWN
    family: str = "inet"

    @property
    def name(self) -> str:
        """The table's; of a foreign one with its family."""
        return f"{self.family} {self.table}" if self.role is TableRole.FOREIGN else self.table


class FirewallValue(ItemValue):
    """What is known of a table."""

    __slots__ = ()


@dataclass(frozen=True)
class RulesetValue(FirewallValue):
    """The chains and rules of a table: libnftables' JSON as one text, the same for any order of
    chains and sets."""

    text: str

    @classmethod
    def of(cls, objects: Ruleset) -> RulesetValue:
        """From what libnftables-json(5) lists."""
        return cls(_canonical(objects))

    @property
    def objects(self) -> Ruleset:
        """The opposite of `of`."""
        objects: Ruleset = json.loads(self.text)
        return objects

    def plain(self) -> Plain:
        """The text."""
        return self.text

    def __str__(self) -> str:
        return self.text


def _canonical(objects: Ruleset) -> str:
    others = [item for item in objects if not item.keys() & {"chain", "rule"}]
    others.sort(key=lambda item: json.dumps(item, sort_keys=True))
    chains = sorted((item for item in objects if "chain" in item), key=_chain_name)
    rules = [item for item in objects if "rule" in item]
    grouped = sorted(rules, key=lambda item: str(item["rule"]["chain"]))  # stable within a chain
    return json.dumps([*others, *chains, *grouped], sort_keys=True)


def _chain_name(item: dict[str, Any]) -> str:
    return str(item["chain"]["name"])


@dataclass(frozen=True)
class ForeignTable(FirewallValue):
    """Another program's table. With flags it may be out of force (dormant) or owned by a socket."""

    family: str
    name: str
    flags: int = 0


# --- rules of routing -----------------------------------------------------------------------------


@dataclass(frozen=True)
class RuleKey(Key, kind=Kind.RULE):
    """A policy routing rule, which is the same rule only if all of it is the same; `has_more`: one
    with more than the plan's have, which is another. Value: `values.network.Rule`."""

    rule: Rule
    has_more: bool

    @classmethod
    def of(cls, where: str, rule: Rule) -> RuleKey:
        """The key of a rule of that namespace."""
        return cls(where, replace(rule, extra=b""), bool(rule.extra))

    @property
    def name(self) -> str:
        """The rule, nearly as `ip rule` has it."""
        rule = self.rule
        words = [f"{rule.priority}:", "inet" if rule.family == FAMILY[4] else "inet6"]
        if rule.source is not None:
            words.append(f"from {rule.source}")
        if rule.destination is not None:
            words.append(f"to {rule.destination}")
        if rule.input_device is not None:
            words.append(f"iif {rule.input_device}")
        if rule.mark is not None:
            words.append(f"mark {rule.mark}")
        return " ".join([*words, f"lookup {rule.table}"]) + _AND_MORE * self.has_more


# --- devices and what is on them ------------------------------------------------------------------


@dataclass(frozen=True)
class DeviceKey(Key, kind=Kind.DEVICE):
    """A network device by its name. Value: `Device`."""

    device: str

    @property
    def name(self) -> str:
        """The device's."""
        return self.device


@dataclass(frozen=True)
class Device(ItemValue):
    """A device as it should be in its namespace; `mac` None where it has none (WireGuard)."""

    mac: str | None
    mtu_bytes: int
    up: bool = True
    carrier: bool = True

    def __str__(self) -> str:
        state = "up" if self.up and self.carrier else "down"
        return f"{state}, mtu {self.mtu_bytes}" + (f", {self.mac}" if self.mac else "")


@dataclass(frozen=True)
class AddressKey(Key, kind=Kind.ADDRESS):
    """An address of a device. Value: `AddressValue`."""

    device: str
    address: Interface

    @property
    def name(self) -> str:
        """The address with its prefix, and the device."""
        return f"{self.address} on {self.device}"


@dataclass(frozen=True)
class AddressValue(ItemValue):
    """An address that is there with the kernel's routes to it."""

    device: str
    address: Interface

    def plain(self) -> Plain:
        """A list of the two."""
        return [self.device, str(self.address)]

    def __str__(self) -> str:
        return f"{self.address} on {self.device}"


@dataclass(frozen=True)
class NeighbourKey(Key, kind=Kind.NEIGHBOUR):
    """A permanent neighbour by its address. Value: `values.network.Neighbour`."""

    device: str
    address: Address

    @property
    def name(self) -> str:
        """The address, and the device."""
        return f"{self.address} on {self.device}"


@dataclass(frozen=True)
class RouteKey(Key, kind=Kind.ROUTE):
    """What makes a route the same route; `has_more`: one with more than the plan's have, which is
    another. Value: `values.network.Route`."""

    destination: Network
    table: int
    metric: int
    has_more: bool

    @classmethod
    def of(cls, where: str, route: Route) -> RouteKey:
        """The key of a route of that namespace."""
        return cls(where, route.destination, route.table, route.metric, bool(route.extra))

    @property
    def name(self) -> str:
        """Destination, table and metric, nearly as `ip route` has them."""
        table = "" if self.table == MAIN_TABLE else f" table {self.table}"
        metric = f" metric {self.metric}" if self.metric else ""
        return f"{self.destination}{table}{metric}{_AND_MORE * self.has_more}"


# --- tunnels --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TunnelKey(Key, kind=Kind.TUNNEL):
    """A WireGuard device by its name, for its keys and peers. Value: `TunnelState`; of one that
    does not answer `SilentTunnel`."""

    device: str

    @property
    def name(self) -> str:
        """The device's."""
        return self.device


@dataclass(frozen=True)
class SecretTag:
    """Tells two secrets apart and reveals neither; means nothing in another process."""

    tag: str

    @classmethod
    def of(cls, secret: str | None) -> SecretTag:
        """The tag of a secret; None is one too, that of none at all."""
        if secret is None:
            return cls("none")
        return cls(
            hashlib.blake2s(secret.encode(), key=_TAG_KEY, digest_size=_TAG_BYTES).hexdigest()
        )


@dataclass(frozen=True)
class PeerState:
    """What of a WireGuard peer is compared: not the counters.

    `endpoint` None: the peer may be anywhere, and move (WireGuard's "roaming").
    """

    allowed_ips: frozenset[Network]
    keepalive_s: int
    preshared_key: SecretTag
    endpoint: Endpoint | None = None


class TunnelValue(ItemValue):
    """What is known of a WireGuard device."""

    __slots__ = ()


@dataclass(frozen=True)
class TunnelState(TunnelValue):
    """What of a WireGuard device is compared; the private key by its public half.

    `listen_port` None: the kernel chooses. `firewall_mark` is on what the device's sockets send.
    """

    public_key: str
    listen_port: int | None
    peers: Mapping[str, PeerState]
    firewall_mark: int = 0

    def __str__(self) -> str:
        port = f"port {self.listen_port}, " if self.listen_port else ""
        return f"{port}{len(self.peers)} peer(s)"


@dataclass(frozen=True)
class SilentTunnel(TunnelValue):
    """A device that does not say what it is told; `reason` is for people."""

    reason: str

    def plain(self) -> Plain:
        """The reason."""
        return self.reason

    def __str__(self) -> str:
        return self.reason


# --- what belongs to other programs ---------------------------------------------------------------


@dataclass(frozen=True)
class ForeignKey(Key, kind=Kind.FOREIGN):
    """What another program put into a hop's namespace, by what the kernel says it is. Value:
    `node.kinds.foreign.ForeignValue`."""

    what: str

    @property
    def name(self) -> str:
        """As `what`."""
        return self.what


# --- meters and flows -----------------------------------------------------------------------------


@dataclass(frozen=True)
class MeterKey(Key, kind=Kind.METER):
    """A meter of the bridge `where` by its number. Value: `MeterState`."""

    number: int

    @property
    def name(self) -> str:
        """With its number."""
        return f"meter {self.number}"


@dataclass(frozen=True)
class MeterState(ItemValue):
    """A meter: what it lets pass, None where only is known that it is another rate; `is_used`: a
    flow that is wanted leads through it."""

    packets_per_s: int | None
    is_used: bool = True

    def plain(self) -> Plain:
        """As it prints."""
        return str(self)

    def __str__(self) -> str:
        if not self.is_used:
            return "without use"
        return "another rate" if self.packets_per_s is None else f"{self.packets_per_s} packets/s"


@dataclass(frozen=True)
class FlowKey(Key, kind=Kind.FLOW):
    """A flow of the bridge `where` by `pipeline.flow.Flow.key`. Value: `pipeline.flow.Flow`."""

    flow: str

    @property
    def name(self) -> str:
        """Table, priority and match."""
        return self.flow
