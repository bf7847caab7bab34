"""Where a node keeps its things; both places can be moved by the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NodePaths:
    """`state` survives `down` and reboots (keys, clients, account); `run` does not."""

    state: Path
    run: Path

    @classmethod
    def from_environment(cls) -> NodePaths:
        """PRIVACY_ROUTER_STATE and PRIVACY_ROUTER_RUN, or the usual places."""
        return cls(
            state=Path(os.environ.get("PRIVACY_ROUTER_STATE", "/var/lib/privacy-router")),
            run=Path(os.environ.get("PRIVACY_ROUTER_RUN", "/run/privacy-router")),
        )

    @property
    def gateway_key(self) -> Path:
        """The gateway's WireGuard private key."""
        return self.state / "gateway.key"

    @property
    def clients(self) -> Path:
        """The clients' public halves and preshared keys."""
        return self.state / "clients.json"

    @property
    def xray_identity(self) -> Path:
        """Both ends' REALITY keys."""
        return self.state / "xray.json"

    @property
    def warp_account(self) -> Path:
        """The WARP account that was registered."""
        return self.state / "wgcf-account.toml"

    @property
    def warp_profile(self) -> Path:
        """The WARP tunnel of that account."""
        return self.state / "wgcf-profile.conf"

    @property
    def borrowed(self) -> Path:
        """What settings of the host were before the node changed them."""
        return self.state / "borrowed.json"

    @property
    def warp_endpoint(self) -> Path:
        """The addresses of the WARP endpoint, the one in use first."""
        return self.state / "warp-endpoint"

    @property
    def journal(self) -> Path:
        """What runs were about to change, how to undo it, and what is declared now."""
        return self.state / "journal.db"

    @property
    def runtime_flows(self) -> Path:
        """Flows that were added over D-Bus; they go when the node is taken down."""
        return self.run / "flows.json"

    @property
    def lock(self) -> Path:
        """Held by the controller; holds its process id."""
        return self.run / "controller.lock"

    @property
    def endpoints(self) -> Path:
        """Where the clients were last seen, so that a new gateway device can call them."""
        return self.run / "endpoints.json"

    @property
    def health(self) -> Path:
        """What the controller found of each hop last."""
        return self.run / "health.json"

    @property
    def file_note(self) -> Path:
        """Why the file that the controller reads is not what it keeps."""
        return self.run / "file.json"

    @property
    def logs(self) -> Path:
        """What the processes of the hops print."""
        return self.run / "log"

    @property
    def controller_log(self) -> Path:
        """What a controller in the background prints."""
        return self.logs / "controller.log"
