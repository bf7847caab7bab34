"""The only package that touches the machine: netlink, nftables, WireGuard, processes, files."""
