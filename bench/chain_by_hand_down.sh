#!/bin/bash
# Takes down what chain_by_hand.sh built. In the environment: RUN.
set -u
for file in "$RUN"/*.pid; do
    [ -e "$file" ] && kill "$(cat "$file")" 2> /dev/null
done
for file in "$RUN"/*.pid; do
    [ -e "$file" ] && while kill -0 "$(cat "$file")" 2> /dev/null; do sleep 0.02; done
done
for hop in gateway warp xray; do ip netns del "hand-$hop"; done
for device in ovsbr0 ovs-netdev; do ip link del $device 2> /dev/null; done
rm -rf "$RUN"
