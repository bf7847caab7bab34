"""Every fault of the storm: what is done to the lab, and what must be as it was afterwards (pure).

The scripts are bash and run in a host of the lab with the functions of `shell.PRELUDE`: `v`
(ovs-vsctl), `f` (ovs-ofctl), `n SPACE COMMAND` (ip netns exec), `pid NAME`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy_router.values.wireguard import wireguard_go

if TYPE_CHECKING:
    from collections.abc import Iterator

STRANGER = "198.18.1.1"
"""An address of the ISP with which the node has nothing to do."""

_DEVICES = (
    ("pr-gateway", "internal_100"),
    ("pr-gateway", "wg100"),
    ("pr-warp", "warp0"),
    ("pr-warp", "wgcf"),
    ("pr-xray", "internal_101"),
)
_PORTS = ("internal_100", "warp0", "internal_101")
_SPACES = ("pr-gateway", "pr-warp", "pr-xray")
_PROCESSES = ("wg100", "wgcf", "xray", "ovs-vswitchd", "ovsdb-server")
_WRONG_MAC = "02:00:00:00:00:66"
_STATE = "/var/lib/privacy-router"
_RUN = "/run/privacy-router"
_CLOUDFLARES_END = shlex.join(wireguard_go("warp", is_called=True))
_HANG_UP = "kill -HUP $(pid controller)"


@dataclass(frozen=True)
class Fault:
    """`script` runs in `host`; afterwards each of `parts` has to become as it was.

    `undo` runs `hold_s` later: an outage that ends, or a file that its owner puts back; healing is
    counted from then. `held` parts must not change at all in the meantime. With `restart_vps` the
    harness starts the XRay server of the VPS again.
    """

    name: str
    group: str
    script: str
    parts: tuple[str, ...]
    host: str = "node"
    undo: str = ""
    hold_s: float = 0.0
    held: tuple[str, ...] = ()
    restart_vps: bool = False


def every_fault() -> tuple[Fault, ...]:
    """The whole catalogue, in a fixed order."""
    return (
        *_process_faults(),
        *_kernel_device_faults(),
        *_kernel_space_faults(),
        *_setting_faults(),
        *_flow_faults(),
        *_bridge_faults(),
        *_port_faults(),
        *_tunnel_faults(),
        *_file_faults(),
        *_outages(),
    )


def _process_faults() -> Iterator[Fault]:
    for name in _PROCESSES:
        yield Fault(f"kill {name}", "process", f"kill -9 $(pid {name})", ("processes",))
        yield Fault(f"stop {name}", "process", f"kill -STOP $(pid {name})", ("processes",))
    for name, others in (("tunnels", "wg100 wgcf"), ("everything", " ".join(_PROCESSES))):
        script = f"for p in {others}; do kill -9 $(pid $p); done"
        yield Fault(f"kill {name}", "process", script, ("processes",))
    controller = "kill -9 $(pid controller)"
    yield Fault("kill controller", "controller", controller, ("processes",))
    yield Fault("end controller", "controller", "kill -TERM $(pid controller)", ("processes",))
    yield Fault(
        "kill controller in a repair",
        "controller",
        f"n pr-warp nft flush ruleset; sleep 0.0$((RANDOM % 9)); {controller}",
        ("processes", "firewall"),
    )
    yield Fault(
        "kill controller and vswitchd",
        "controller",
        f"kill -9 $(pid ovs-vswitchd); sleep 0.1$((RANDOM % 9)); {controller}",
        ("processes", "flows"),
    )
    yield Fault(
        "controller hangs",
        "controller",
        "kill -STOP $(pid controller); n pr-xray nft flush ruleset",
        ("processes", "firewall"),
        undo="kill -CONT $(pid controller)",
        hold_s=2.0,
    )
    hang_ups = f"for i in 1 2 3 4 5 6 7 8 9; do {_HANG_UP}; done"
    yield Fault("nine SIGHUPs", "controller", hang_ups, ("processes",), held=("tunnels",))


def _kernel_device_faults() -> Iterator[Fault]:
    for space, device in _DEVICES:
        scripts = {
            "addresses flushed": ("addresses", f"ip -n {space} addr flush dev {device}"),
            "stranger's address": (
                "addresses",
                f"ip -n {space} addr add 10.66.0.1/24 dev {device}",
            ),
            "down": ("links", f"ip -n {space} link set {device} down"),
            "mtu": ("links", f"ip -n {space} link set {device} mtu 700"),
            "deleted": ("links", f"ip -n {space} link del {device}"),
            "moved": ("links", f"ip -n {space} link set {device} netns 1"),
            "moved to another hop": (
                "links",
                f"ip -n {space} link set {device} netns "
                + next(one for one in _SPACES if one != space),
            ),
            "renamed": (
                "links",
                f"ip -n {space} link set {device} down; ip -n {space} link set {device} name evil0",
            ),
            "queue of one packet": (
                "queues",
                f"n {space} tc qdisc add dev {device} root pfifo limit 1",
            ),
        }
        for what, (part, script) in scripts.items():
            yield Fault(f"{device} {what}", "device", script, (part, "routes"))


def _kernel_space_faults() -> Iterator[Fault]:
    for space in _SPACES:
        evil = f"n {space} nft 'add table inet evil; "
        chain = "{ type filter hook %s priority -300; policy drop; }'"
        scripts = {
            "deleted": ("spaces", f"ip netns delete {space}"),
            "unmounted": ("spaces", f"umount /run/netns/{space}"),
            "main routes flushed": ("routes", f"ip -n {space} route flush table main"),
            "IPv6 routes flushed": ("routes", f"ip -n {space} -6 route flush table main"),
            "all routes flushed": (
                "routes",
                f"for i in main local 101 102 103 104; do ip -n {space} route flush table $i; done",
            ),
            "black hole": ("routes", f"ip -n {space} route add blackhole 198.18.0.0/16"),
            "refusal gone": (
                "routes",
                f"ip -n {space} route del unreachable default metric 4000000",
            ),
            "rules flushed": ("rules", f"ip -n {space} rule flush; ip -n {space} -6 rule flush"),
            "evil rule": ("rules", f"ip -n {space} rule add pref 50 blackhole"),
            "neighbours flushed": ("neighbours", f"ip -n {space} neigh flush nud permanent"),
            "neighbour lies": (
                "neighbours",
                (
                    f"ip -n {space} neigh show nud permanent | while read a d i l m r; do "
                    f"ip -n {space} neigh replace $a dev $i lladdr {_WRONG_MAC} nud permanent; "
                    "done"
                ),
            ),
            "firewall flushed": ("firewall", f"n {space} nft flush ruleset"),
            "firewall's rules gone": (
                "firewall",
                f"n {space} nft flush table inet privacy_router",
            ),
            "evil firewall, forward": (
                "firewall",
                evil + "add chain inet evil c " + chain % "forward",
            ),
            "evil firewall, output": (
                "firewall",
                evil + "add chain inet evil c " + chain % "output",
            ),
            "evil firewall, prerouting": (
                "firewall",
                evil + "add chain inet evil c " + chain % "prerouting",
            ),
        }
        for what, (part, script) in scripts.items():
            yield Fault(f"{space} {what}", "space", script, (part,))
        for way in ("out", "in", "fwd"):
            policy = f"ip -n {space} xfrm policy add src ::/0 dst ::/0 dir {way} action block"
            v4 = policy.replace("::/0", "0.0.0.0/0")
            yield Fault(f"{space} xfrm {way}", "space", f"{policy}; {v4}", ("policies",))


def _setting_faults() -> Iterator[Fault]:
    for space in _SPACES:
        wanted = [
            ("no forwarding", "net.ipv4.ip_forward=0"),
            ("no IPv6 forwarding", "net.ipv6.conf.all.forwarding=0"),
            ("no IPv6", "net.ipv6.conf.all.disable_ipv6=1"),
            ("redirects", "net.ipv4.conf.all.send_redirects=1"),
            ("advertisements", "net.ipv6.conf.all.accept_ra=2"),
            ("reverse paths", "net.ipv4.conf.all.rp_filter=1"),
            ("ttl", "net.ipv4.ip_default_ttl=1"),
        ]
        if space == "pr-xray":
            wanted[0] = ("forwarding", "net.ipv4.ip_forward=1")
        for what, value in wanted:
            yield Fault(
                f"{space} {what}", "setting", f"n {space} sysctl -qw {value}", ("settings",)
            )
    for space, device in _DEVICES:
        for what, value in (
            ("no forwarding", f"net.ipv4.conf.{device}.forwarding=0"),
            ("no IPv6", f"net.ipv6.conf.{device}.disable_ipv6=1"),
            ("reverse path", f"net.ipv4.conf.{device}.rp_filter=1"),
            ("route_localnet", f"net.ipv4.conf.{device}.route_localnet=1"),
        ):
            script = f"n {space} sysctl -qw {value}"
            yield Fault(f"{device} {what}", "setting", script, ("settings", "routes"))


def _flow_faults() -> Iterator[Fault]:
    ours = "cookie=0x5052000100000001"
    scripts = {
        "all gone": "f del-flows",
        "privacy table gone": "f del-flows table=8",
        "one gone": "f del-flows --strict table=8,priority=100,in_port=1; f del-flows table=1",
        "changed to drop": "f mod-flows table=8,actions=drop",
        "way round": f"f add-flow {ours},table=0,priority=60000,in_port=2,actions=output:3",
        "flood": f"f add-flow {ours},table=0,priority=60001,actions=flood",
        "many of ours": f"for i in $(seq 200); do echo {ours},table=0,priority=$i,tcp,tp_dst=$i,"
        "actions=drop; done | f add-flows -",
    }
    for what, script in scripts.items():
        yield Fault(f"flows {what}", "flow", script, ("flows",))
    yield Fault("meters gone", "flow", "f del-meters", ("meters", "flows"))
    yield Fault(
        "meter tightened",
        "flow",
        "m=$(f dump-meters | grep -o 'meter=[0-9]*' | head -1); "
        "f mod-meter $m,pktps,band=type=drop,rate=1",
        ("meters",),
    )
    for port in _PORTS:
        for what in ("no-forward", "no-receive", "down"):
            script = f"f mod-port {port} {what}"
            yield Fault(f"switch {port} {what}", "flow", script, ("port-config",))


def _bridge_faults() -> Iterator[Fault]:
    b = "bridge ovsbr0"
    scripts = {
        "sflow": f'v -- --id=@s create sflow agent=to-isp target=\\"{STRANGER}:6343\\" sampling=1'
        f" polling=1 -- set {b} sflow=@s",
        "ipfix": f'v -- --id=@s create ipfix targets=\\"{STRANGER}:4739\\" sampling=1'
        f" -- set {b} ipfix=@s",
        "netflow": f'v -- --id=@s create netflow targets=\\"{STRANGER}:2055\\" active-timeout=1'
        f" -- set {b} netflow=@s",
        "mirror": f"v -- --id=@p get port ovsbr0 -- --id=@m create mirror name=evil select-all=true"
        f" output-port=@p -- set {b} mirrors=@m",
        "mirror to warp0": "v -- --id=@p get port warp0 -- --id=@m create mirror name=evil"
        f" select-all=true output-port=@p -- set {b} mirrors=@m",
        "controller": f"v set-controller ovsbr0 tcp:{STRANGER}:6653",
        "manager": f"v set-manager tcp:{STRANGER}:6640",
        "passive manager": "v set-manager ptcp:6640",
        "standalone": "v set-fail-mode ovsbr0 standalone",
        "fail mode gone": "v del-fail-mode ovsbr0",
        "external_ids cleared": f"v clear {b} external_ids",
        "other_config cleared": f"v clear {b} other_config",
        "flow-restore-wait": "v set open . other_config:flow-restore-wait=true",
        "protocols": f"v set {b} protocols=OpenFlow10",
        "spanning tree": f"v set {b} stp_enable=true",
        "snooping": f"v set {b} mcast_snooping_enable=true",
        "deleted": "v del-br ovsbr0",
        "database reset": "v emer-reset",
    }
    for what, script in scripts.items():
        also = ("flows", "processes") if what in {"deleted", "protocols"} else ()
        yield Fault(f"bridge {what}", "bridge", script, ("database", *also))
    # what is not the node's stays: its owner takes it away
    yield Fault(
        "bridge stranger's port",
        "bridge",
        "v add-port ovsbr0 evil0 -- set interface evil0 type=internal",
        ("database",),
        undo="v del-port ovsbr0 evil0",
        hold_s=1.0,
        held=("flows",),
    )


def _port_faults() -> Iterator[Fault]:
    for port in _PORTS:
        scripts = {
            "deleted": f"v del-port ovsbr0 {port}",
            "tagged": f"v set port {port} tag=5",
            "trunk": f"v set port {port} trunks=7 vlan_mode=trunk",
            "shaped": f"v set port {port} qos=@q -- --id=@q create qos type=linux-htb",
            "policed": f"v set interface {port} ingress_policing_rate=1",
            "number": f"v set interface {port} ofport_request=77",
            "mac": f"v set interface {port} mac=\\'02:00:00:00:00:66\\'",
            "mtu_request": f"v set interface {port} mtu_request=700",
            "protected": f"v set port {port} protected=true",
        }
        for what, script in scripts.items():
            yield Fault(f"port {port} {what}", "port", script, ("database", "links"))


def _tunnel_faults() -> Iterator[Fault]:
    client = "$(wg show wg100 peers | head -1)"
    warp = "$(wg show wgcf peers | head -1)"
    scripts = {
        "wg100 key": "wg set wg100 private-key <(wg genkey)",
        "wgcf key": "wg set wgcf private-key <(wg genkey)",
        "wg100 peer removed": f"wg set wg100 peer {client} remove",
        "wgcf peer removed": f"wg set wgcf peer {warp} remove",
        "wg100 psk": f"wg set wg100 peer {client} preshared-key <(wg genpsk)",
        "wgcf psk": f"wg set wgcf peer {warp} preshared-key <(wg genpsk)",
        "wg100 port": "wg set wg100 listen-port 51999",
        "wg100 mark": "wg set wg100 fwmark 77",
        "wgcf mark": "wg set wgcf fwmark 77",
        "wgcf endpoint": f"wg set wgcf peer {warp} endpoint {STRANGER}:2408",
        "wg100 allowed": f"wg set wg100 peer {client} allowed-ips 10.101.0.77/32",
        "wgcf allowed": f"wg set wgcf peer {warp} allowed-ips 203.0.113.0/24",
        "wg100 keepalive": f"wg set wg100 peer {client} persistent-keepalive 1",
        "wg100 stranger": "wg set wg100 peer $(wg genkey | wg pubkey) allowed-ips 10.101.0.66/32",
        "wgcf stranger": "wg set wgcf peer $(wg genkey | wg pubkey) allowed-ips 0.0.0.0/0 endpoint "
        f"{STRANGER}:2408 persistent-keepalive 1",
        "wgcf swapped": f"wg set wgcf peer {warp} remove peer $(wg genkey | wg pubkey) allowed-ips "
        f"0.0.0.0/0,::/0 endpoint {STRANGER}:2408 persistent-keepalive 1",
    }
    for what, script in scripts.items():
        yield Fault(f"tunnel {what}", "tunnel", script, ("tunnels",))
    roam = (
        "nft 'add table ip evil; add chain ip evil c { type filter hook postrouting priority 0; };"
        ' add rule ip evil c oifname "to-node" udp sport 2408 ip saddr set 198.18.2.1\''
    )
    yield Fault(
        "tunnel wgcf roams",
        "tunnel",
        roam,
        ("tunnels",),
        host="isp",
        undo="nft delete table ip evil",
        hold_s=1.5,
    )


def _file_faults() -> Iterator[Fault]:
    files = {
        "gateway.key": "gateway.key",
        "clients.json": "clients.json",
        "xray.json": "xray.json",
        "WARP files": "wgcf-account.toml wgcf-profile.conf",
    }
    kept = "/run/storm-kept"
    for what, names in files.items():
        yield Fault(
            f"state {what} removed",
            "file",
            f"mkdir -p {kept}; cd {_STATE}; cp -a {names} {kept}/; rm {names}; {_HANG_UP}",
            ("state", "tunnels"),
            undo=f"cp -a {kept}/* {_STATE}/; rm -r {kept}; {_HANG_UP}",
            hold_s=2.0,
            held=("tunnels", "processes"),
        )
    yield Fault(
        "state broken",
        "file",
        f"mkdir -p {kept}; cd {_STATE}; cp -a clients.json {kept}/; echo '{{' > clients.json;"
        f" {_HANG_UP}",
        ("state", "tunnels"),
        undo=f"cp -a {kept}/* {_STATE}/; rm -r {kept}; {_HANG_UP}",
        hold_s=2.0,
        held=("tunnels", "processes"),
    )
    yield Fault(
        "state disk full",
        "file",
        f"head -c 64M /dev/zero > {_STATE}/filler 2>/dev/null; {_HANG_UP}; "
        "n pr-warp nft flush ruleset",
        ("firewall",),
        undo=f"rm -f {_STATE}/filler",
        hold_s=2.0,
    )
    removals = {
        "db.sock": "ovs/db.sock",
        "management socket": "ovs/ovsbr0.mgmt",
        "Open vSwitch's directory": "ovs",
        "log directory": "log",
        "lock": "controller.lock",
        "directory": "",
    }
    for what, name in removals.items():
        # an operator, or a script of his, that finds no controller starts one
        second = "; timeout 8 privacy-router up --detach --wait 0" if "ovs" not in name else ""
        yield Fault(
            f"run {what} removed",
            "file",
            f"rm -rf {_RUN}/{name}{second}",
            ("sockets", "processes", "flows"),
        )


def _outages() -> Iterator[Fault]:
    # by nftables, since not every kernel has the queue that loses packets (netem)
    lose = (
        "nft 'add table inet storm; "
        "add chain inet storm c { type filter hook forward priority 0; }; "
        "add rule inet storm c iifname %(device)s drop; "
        "add rule inet storm c oifname %(device)s drop'"
    )
    back = "nft delete table inet storm"
    for device, hold_s in (("to-node", 1.0), ("to-client", 1.0), ("to-cloudflare", 3.0)):
        yield Fault(
            f"ISP loses {device}", "outage", lose % {"device": device}, (), "isp", back, hold_s
        )
    stop = "kill -%s $(pgrep -f '^wireguard-go --foreground warp$')"
    yield Fault("Cloudflare hangs", "outage", stop % "STOP", (), "cloudflare", stop % "CONT", 2.0)
    yield Fault(
        "Cloudflare starts anew",
        "outage",
        "wg showconf warp > /run/lab/warp.conf; ip -o addr show dev warp scope global | "
        "awk '{print $4}' > /run/lab/warp.addr; " + stop % "9",
        (),
        "cloudflare",
        f"(WG_PROCESS_FOREGROUND=1 setsid {_CLOUDFLARES_END} >/dev/null 2>&1 &); "
        "for i in $(seq 50); do wg setconf warp /run/lab/warp.conf 2>/dev/null && break; sleep 0.1;"
        " done; ip link set warp up mtu 1420; "
        "for a in $(cat /run/lab/warp.addr); do ip addr add $a dev warp nodad; done",
        1.0,
    )
    yield Fault(
        "VPS starts anew",
        "outage",
        "pkill -9 -f hops.xray.runner",
        (),
        "vps",
        hold_s=1.0,
        restart_vps=True,
    )
    yield Fault(
        "VPS hangs",
        "outage",
        "pkill -STOP -f hops.xray.runner",
        (),
        "vps",
        "pkill -CONT -f hops.xray.runner",
        2.0,
    )
