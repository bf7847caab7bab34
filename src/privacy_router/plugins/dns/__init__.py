"""How the machine resolves names: systemd-resolved, or /etc/resolv.conf."""

from privacy_router.plugins.dns.plugin import DnsPlugin

__all__ = ["DnsPlugin"]
