#!/bin/bash
# The same chain as an administrator would script it: ovs-vsctl, ovs-ofctl, ip, wg, nft, one after
# the other, waiting only for what has to be there. The peer of `make bench-chain`.
#
# In the environment: RUN (a scratch folder), WIREGUARD_GO, PYTHON, XRAY_CONFIG, GATEWAY_KEY (file),
# CLIENT_PUBLIC, CLIENT_PSK (file), CLIENT_V4, CLIENT_V6, WARP_KEY (file), WARP_PUBLIC,
# WARP_ENDPOINT, WARP_V4, WARP_V6, CLIENTS_V4, CLIENTS_V6.
set -euo pipefail

export OVS_RUNDIR=$RUN OVS_DBDIR=$RUN OVS_LOGDIR=$RUN OVS_SYSCONFDIR=$RUN
DB=unix:$RUN/db.sock
OF="ovs-ofctl -O OpenFlow13"

until_exists() { for _ in $(seq 500); do [ -e "$1" ] && return; sleep 0.01; done; exit 1; }
in_ns() { local ns=$1; shift; ip netns exec "$ns" "$@"; }

mkdir -p "$RUN"

# Open vSwitch
ovsdb-tool create "$RUN/conf.db" /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server "$RUN/conf.db" --remote="punix:$RUN/db.sock" --unixctl="$RUN/db.ctl" \
    --pidfile="$RUN/db.pid" --detach -vconsole:off -vsyslog:off
ovs-vsctl --db="$DB" --no-wait init
ovs-vswitchd "$DB" --disable-system --unixctl="$RUN/sw.ctl" --pidfile="$RUN/sw.pid" \
    --detach -vconsole:off -vsyslog:off
ovs-vsctl --db="$DB" add-br ovsbr0 -- set bridge ovsbr0 datapath_type=netdev fail_mode=secure \
    -- add-port ovsbr0 warp0 -- set interface warp0 type=internal ofport_request=1 'mac="02:00:00:00:00:01"' \
    -- add-port ovsbr0 internal_100 -- set interface internal_100 type=internal ofport_request=2 'mac="02:00:00:00:00:02"' \
    -- add-port ovsbr0 internal_101 -- set interface internal_101 type=internal ofport_request=3 'mac="02:00:00:00:00:03"'
cat > "$RUN/flows" <<EOF
priority=101,in_port=1,ip,nw_dst=$CLIENTS_V4,actions=output:2
priority=101,in_port=1,ipv6,ipv6_dst=$CLIENTS_V6,actions=output:2
priority=100,in_port=1,actions=output:3
priority=100,in_port=2,actions=output:1
priority=100,in_port=3,actions=output:1
EOF
$OF --bundle add-flows "unix:$RUN/ovsbr0.mgmt" "$RUN/flows"

# Hop namespaces
for hop in gateway warp xray; do
    ip netns add "hand-$hop"
    in_ns "hand-$hop" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
        net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0 \
        net.ipv6.conf.default.addr_gen_mode=1
    ip -n "hand-$hop" link set lo up
done
for hop in gateway warp; do
    in_ns "hand-$hop" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
done
station() { # namespace port number
    ip link set "$2" netns "$1"
    ip -n "$1" addr add "10.102.0.$3/24" dev "$2"
    ip -n "$1" addr add "fd70:7276:6174::$3/64" dev "$2" nodad
    ip -n "$1" link set "$2" up
    for peer in 1 2 3; do
        [ "$peer" = "$3" ] && continue
        ip -n "$1" neigh replace "10.102.0.$peer" lladdr "02:00:00:00:00:0$peer" dev "$2" nud permanent
        ip -n "$1" neigh replace "fd70:7276:6174::$peer" lladdr "02:00:00:00:00:0$peer" dev "$2" nud permanent
    done
}
station hand-warp warp0 1
station hand-gateway internal_100 2
station hand-xray internal_101 3

# WireGuard
for device in wg100 wgcf; do
    WG_PROCESS_FOREGROUND=1 "$WIREGUARD_GO" --foreground $device > /dev/null 2>&1 &
    echo $! > "$RUN/$device.pid"
done
for device in wg100 wgcf; do until_exists /var/run/wireguard/$device.sock; done
ip link set wg100 netns hand-gateway
ip link set wgcf netns hand-warp
wg set wg100 listen-port 51820 private-key "$GATEWAY_KEY" \
    peer "$CLIENT_PUBLIC" preshared-key "$CLIENT_PSK" allowed-ips "$CLIENT_V4/32,$CLIENT_V6/128"
wg set wgcf private-key "$WARP_KEY" peer "$WARP_PUBLIC" endpoint "$WARP_ENDPOINT" \
    persistent-keepalive 25 allowed-ips 0.0.0.0/0,::/0
ip -n hand-gateway addr add 10.101.0.1/24 dev wg100
ip -n hand-gateway addr add fd70:7276:6174:1::1/64 dev wg100 nodad
ip -n hand-gateway link set wg100 mtu 1420 up
ip -n hand-warp addr add "$WARP_V4/32" dev wgcf
ip -n hand-warp addr add "$WARP_V6/128" dev wgcf nodad
ip -n hand-warp link set wgcf mtu 1280 up

# Routing
ip -n hand-gateway route add default via 10.102.0.1
ip -n hand-gateway -6 route add default via fd70:7276:6174::1
route() { # family table gateway-or-device... ; rule arguments follow "--"
    local family=$1 table=$2; shift 2
    ip -n hand-warp "$family" route add default "$@" table "$table"
    ip -n hand-warp "$family" route add unreachable default metric 4000000 table "$table"
}
route -4 101 via 10.102.0.2
route -6 101 via fd70:7276:6174::2
route -4 102 via 10.102.0.3
route -6 102 via fd70:7276:6174::3
route -4 103 dev wgcf
route -6 103 dev wgcf
for family in -4 -6; do
    if [ $family = -4 ]; then clients=$CLIENTS_V4 xray=10.102.0.3; else clients=$CLIENTS_V6 xray=fd70:7276:6174::3; fi
    ip -n hand-warp $family rule add to "$clients" table 101 priority 100
    ip -n hand-warp $family rule add iif warp0 from "$clients" table 102 priority 110
    ip -n hand-warp $family rule add iif warp0 from $xray table 103 priority 120
    ip -n hand-xray $family rule add fwmark 1 table 104 priority 100
    ip -n hand-xray $family route add local default dev lo table 104
done
ip -n hand-xray route add default via 10.102.0.1 mtu 1280
ip -n hand-xray -6 route add default via fd70:7276:6174::1 mtu 1280

# Firewall, masquerade, TPROXY
in_ns hand-gateway nft -f - <<EOF
table inet hand {
  chain forward { type filter hook forward priority 0; policy drop;
    iifname wg100 oifname internal_100 accept
    iifname internal_100 oifname wg100 ct state established,related accept
  }
}
EOF
in_ns hand-warp nft -f - <<EOF
table inet hand {
  chain forward { type filter hook forward priority 0; policy drop;
    iifname wgcf oifname warp0 ct state established,related accept
    iifname warp0 oifname wgcf ip saddr 10.102.0.3 accept
    iifname warp0 oifname wgcf ip6 saddr fd70:7276:6174::3 accept
    iifname warp0 oifname warp0 accept
  }
  chain post { type nat hook postrouting priority srcnat; oifname wgcf masquerade; }
}
EOF
in_ns hand-xray nft -f - <<EOF
table inet hand {
  chain pre { type filter hook prerouting priority mangle;
    iifname internal_101 ip saddr $CLIENTS_V4 meta l4proto { tcp, udp } meta mark set 1 tproxy ip to 127.0.0.1:12345
    iifname internal_101 ip6 saddr $CLIENTS_V6 meta l4proto { tcp, udp } meta mark set 1 tproxy ip6 to [::1]:12345
  }
}
EOF

# XRay
ip netns exec hand-xray "$PYTHON" -m privacy_router.hops.xray.runner "$XRAY_CONFIG" > "$RUN/xray.log" 2>&1 &
echo $! > "$RUN/xray.pid"
for _ in $(seq 500); do
    in_ns hand-xray ss -Hltn 'sport = :12345' | grep -q . && exit 0
    sleep 0.01
done
exit 1
