"""What a check of the lab found, and whether every promise holds (pure)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

_THROUGH_WARP = frozenset({"on", "plus"})


@dataclass(frozen=True)
class Promise:
    """A line of the proof."""

    text: str
    holds: bool
    detail: str


@dataclass(frozen=True)
class Report:
    """The fields of `lab check --json`; `problems` says in words what went wrong.

    `exit_ip` is the address that a web site sees, None when none was reached. `hops` are those of
    the node's own status.
    """

    exit_ip: str | None
    exit_is_vps: bool
    vps_sees_warp: bool
    warp_trace: str | None
    tcp: bool
    udp: bool
    dns: bool
    ipv6: bool
    cleartext_packets: int
    foreign_packets: int
    capture_drops: int
    payload_seen_at_web: bool
    hops: list[dict[str, Any]]
    elapsed_s: float
    problems: list[str] = field(default_factory=list)

    @property
    def hops_are_up(self) -> bool:
        """Whether the node has hops and all of them are up."""
        return bool(self.hops) and all(hop.get("state") == "up" for hop in self.hops)

    @property
    def ok(self) -> bool:
        """Whether every promise holds."""
        return all(promise.holds for promise in self.promises())

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {"ok": self.ok, **asdict(self)}

    def promises(self) -> list[Promise]:
        """The proof, line by line."""
        hops = ", ".join(f"{hop.get('name')} {hop.get('state')}" for hop in self.hops)
        return [
            Promise("every hop is up", self.hops_are_up, hops or "the node has no status"),
            Promise("TCP passes the whole chain", self.tcp, "HTTP and HTTPS"),
            Promise("UDP passes the whole chain", self.udp, "echo on ports 7 and 443"),
            Promise("DNS passes the whole chain", self.dns, "over UDP and TCP"),
            Promise("IPv6 passes the whole chain", self.ipv6, "TCP and UDP"),
            Promise("web sites see the VPS", self.exit_is_vps, f"exit address {self.exit_ip}"),
            Promise("the VPS sees Cloudflare", self.vps_sees_warp, "captured in front of it"),
            Promise(
                "Cloudflare says that WARP is on",
                self.warp_trace in _THROUGH_WARP,
                f"warp={self.warp_trace}",
            ),
            Promise(
                "the ISP can read nothing",
                self.cleartext_packets == 0,
                f"{self.cleartext_packets} packets in clear",
            ),
            Promise(
                "the node talks to no one else",
                self.foreign_packets == 0,
                f"{self.foreign_packets} packets to strangers",
            ),
            Promise(
                "the captures would have seen it",
                self.payload_seen_at_web and self.capture_drops == 0,
                f"payload read between VPS and web: {'yes' if self.payload_seen_at_web else 'no'},"
                f" {self.capture_drops} frames lost",
            ),
        ]
