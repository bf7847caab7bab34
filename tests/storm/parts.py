"""The state of a node, part by part, as independent tools see it: bash scripts (pure).

Each prints the same as long as nothing is altered: counters, handles, times and numbers that the
kernel or the switch gives out anew are left out.
"""

from __future__ import annotations

import re

_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
_EACH = "for s in pr-gateway pr-warp pr-xray; do echo == $s; "
_BRIDGE_COLUMNS = (
    "name,fail_mode,external_ids,other_config,sflow,ipfix,netflow,mirrors,controller,protocols,"
    "stp_enable,rstp_enable,mcast_snooping_enable,flood_vlans,datapath_type,flow_tables"
)
_PORT_COLUMNS = "name,tag,trunks,vlan_mode,qos,other_config,external_ids,bond_mode,protected,cvlans"
_INTERFACE_COLUMNS = (
    "name,mac,type,ofport_request,ingress_policing_rate,ingress_policing_burst,mtu_request,"
    "options,other_config,external_ids,lldp,bfd"
)
# rows of `qos` and `queue` outlive the port that refers to them, and do nothing by themselves
_FOREIGN_TABLES = ("controller", "manager", "mirror", "sflow", "netflow", "ipfix")
_SETTINGS = (
    "ipv4/ip_forward ipv6/conf/all/forwarding ipv[46]/conf/*/forwarding ipv4/conf/*/rp_filter "
    "ipv4/conf/*/accept_redirects ipv4/conf/*/send_redirects ipv4/conf/*/route_localnet "
    "ipv6/conf/*/disable_ipv6 ipv6/conf/*/accept_ra ipv6/conf/*/accept_redirects "
    "ipv4/ip_nonlocal_bind ipv6/ip_nonlocal_bind ipv4/ip_default_ttl"
)

PARTS: dict[str, str] = {
    "processes": (
        "for p in ovsdb-server ovs-vswitchd wg100 wgcf xray; do "
        "echo $p $(for i in $(pid $p); do ps -o state= -p $i | tr SRDI r; done); done; "
        # the kernel's names of a process that sleeps, runs or waits come and go
        "pgrep -fc 'privacy-router up|op-dbus'"
    ),
    "spaces": "ls /run/netns | sort; " + _EACH + "ip netns exec $s true && echo there; done",
    "links": _EACH
    + "ip -n $s -j link | jq -c 'sort_by(.ifname)|.[]|select(.ifname|test(\"^(tunl|sit|gre|erspan|"
    'ip6|ip_vti)")|not)|[.ifname,.mtu,.address,.qdisc,(.flags-["PROMISC"]|sort)]\'; done',
    "addresses": _EACH + "ip -n $s -j addr show scope global | jq -c 'map(select(.addr_info!=[]))|"
    'sort_by(.ifname)|.[]|[.ifname,(.addr_info|map(.local+"/"+(.prefixlen|tostring))|sort)]\'; '
    "done",
    "routes": _EACH + "ip -n $s -4 route show table all | sed 's/ linkdown//' | sort; "
    "ip -n $s -6 route show table all | grep -v -e fe80 -e ff00 -e '^::1 dev lo' "
    "| sed 's/ linkdown//' | sort; done",
    "rules": _EACH + "ip -n $s -4 rule; ip -n $s -6 rule; done",
    "neighbours": _EACH + "ip -n $s neigh show nud permanent | sort; done",
    "firewall": "nft -t list ruleset; " + _EACH + "n $s nft -t list ruleset; done",
    "settings": _EACH
    + f"n $s bash -c 'cd /proc/sys/net; grep -H . {_SETTINGS} | grep -v -e tunl0 -e sit0'; done",
    "policies": _EACH + "ip -n $s xfrm policy; ip -n $s xfrm state; done",
    "queues": _EACH + "n $s tc qdisc show | sed 's/ [0-9a-f]*: / /' | sort; done",
    "flows": "f dump-flows --no-stats | sed 's/meter:[0-9]*/meter/' | sort",
    "meters": "f dump-meters | grep -o 'rate=.*' | sort",
    "port-config": "f dump-ports-desc | grep -e '(' -e config | sed 's/addr:.*//'",
    "database": (
        f"v -f csv -- --columns={_BRIDGE_COLUMNS} list bridge "
        f"-- --columns={_PORT_COLUMNS} list port -- --columns={_INTERFACE_COLUMNS} list interface "
        + "".join(f"-- list {table} " for table in _FOREIGN_TABLES)
        + "-- --columns=other_config,external_ids,manager_options list open_vswitch | sort"
    ),
    "tunnels": (
        "n pr-gateway wg show wg100 dump | cut -f 1-4,8 | awk 'NR==1{print}NR>1{print $1,$2,$4,$5}'"
        " | sort; wg show wg100 listen-port; "
        "wg show wgcf dump | awk 'NR==1{print $1,$2,$4}NR>1{print $1,$2,$3,$4,$8}' | sort"
    ),
    "sockets": "cd /run/privacy-router; ls -d ovs/db.sock ovs/ovsbr0.mgmt log controller.lock",
    "state": "cd /var/lib/privacy-router; sha256sum gateway.key clients.json xray.json "
    "wgcf-account.toml wgcf-profile.conf; ls journal.db",
}


def script_of(names: tuple[str, ...]) -> str:
    """One script that prints these parts, each behind a line with its name."""
    return "\n".join(f"echo '## {name}'; ( {PARTS[name]} )" for name in names)


def differences(before: str, after: str) -> list[str]:
    """Lines that went (-) and came (+), each behind its part; keys are cut short."""
    old, new = _located(before), _located(after)
    found = [*(f"- {x}" for x in old if x not in new), *(f"+ {x}" for x in new if x not in old)]
    return [_KEY.sub(lambda key: f"{key[0][:6]}…", line) for line in found]


def _located(text: str) -> dict[str, None]:
    part = ""
    found: dict[str, None] = {}
    for line in text.splitlines():
        if line.startswith("## "):
            part = line.removeprefix("## ")
        elif line.startswith("== "):
            part = part.partition(" ")[0] + " " + line.removeprefix("== ")
        else:
            found[f"{part}: {line}"] = None
    return found
