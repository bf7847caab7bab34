"""Build a lab, find one that is up, take it down.

with `up(...)` the hosts, links and services are there, the node runs and the client is
connected; the pieces (`build`, `start_node`, `connect_client`) can be had one by one.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy_router.config import parse_document
from privacy_router.errors import ConflictError, ExitCode, PrivacyRouterError
from privacy_router.hops.xray.command import arguments as xray_command
from privacy_router.host import nftables
from privacy_router.lab import internet, network, register
from privacy_router.lab.hosts import (
    AUTHORITY,
    NODE_CONFIG,
    PYTHON_MODULE,
    LabError,
    LabHost,
    Service,
    create_hosts,
    end,
)
from privacy_router.lab.settings import node_document
from privacy_router.lab.spawn_hosts import SCRATCH
from privacy_router.lab.standins.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from privacy_router.config import PrivacyRouterConfig

    Say = Callable[[str], None]

CLIENT_NAME = "phone"
XRAY_SERVER = "xray-server"
CLIENT_FILE = SCRATCH / "phone.conf"
_CERTIFICATE = SCRATCH / "certificate.pem"
_XRAY_FILE = SCRATCH / "xray.json"
VPS_RULES = SCRATCH / "vps.nft"
_BUS_PROGRAM = "dbus-daemon"
_BUS_FILE = SCRATCH / "bus.conf"
_BUS_SOCKET = Path("/run/dbus/system_bus_socket")
_BUS_CONFIG = f"""<busconfig>
  <type>system</type>
  <listen>unix:path={_BUS_SOCKET}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""
_SERVICE_PATIENCE_S = 10.0
_COMMAND_PATIENCE_S = 30.0
_TURN_S = 0.01
_LISTENING = "0A"


@dataclass(frozen=True)
class Lab:
    """A lab whose hosts are there."""

    name: str
    hosts: Mapping[str, LabHost]
    created_at: float
    ready: bool = False
    node_started: bool = False

    def __getitem__(self, host: str) -> LabHost:
        """The host of that name. Raises ConflictError naming those that there are."""
        try:
            return self.hosts[host]
        except KeyError:
            raise ConflictError(
                f"the lab has no host named {host}", remedy=f"hosts: {', '.join(self.hosts)}"
            ) from None

    @property
    def config(self) -> PrivacyRouterConfig:
        """The node's configuration."""
        text = self["node"].file(NODE_CONFIG).read_text()
        return parse_document(text, "the lab's node").config

    def note(self) -> None:
        """Write it into the register."""
        hosts = tuple(self.hosts.values())
        register.write(
            self.name, register.Entry(self.created_at, self.ready, self.node_started, hosts)
        )


def find(name: str = register.DEFAULT_NAME) -> Lab:
    """A lab that is up and whole. Raises ConflictError when it is not."""
    entry = register.read(name)
    if entry is None:
        raise ConflictError(f"the lab {name} is not up", remedy="privacy-router lab up")
    lab = _lab(name, entry)
    gone = [host.name for host in entry.hosts if not host.alive]
    if gone or not entry.ready:
        what = f"its hosts {', '.join(gone)} have ended" if gone else "it was not finished"
        raise ConflictError(
            f"the lab {name} is damaged: {what}", remedy="privacy-router lab up builds it anew"
        )
    return lab


def _lab(name: str, entry: register.Entry) -> Lab:
    hosts = {host.name: host for host in entry.hosts}
    return Lab(name, hosts, entry.created_at, entry.ready, entry.node_started)


def up(
    name: str = register.DEFAULT_NAME,
    *,
    overrides: dict[str, Any] | None = None,
    with_node: bool = True,
    with_bus: bool = False,
    state_size_bytes: int | None = None,
    say: Say = lambda _: None,
) -> Lab:
    """Build a lab, after clearing away what an earlier start left behind.

    `overrides` is a document that is merged over the node's configuration; without `with_node`
    everything is prepared and `start_node` and `connect_client` remain; `with_bus` gives the node a
    system bus, where this machine has one to start. `state_size_bytes` limits the file system of
    each host's state. Raises ConflictError when it is up already, and
    PrivacyRouterError for what goes wrong; then nothing is left.
    """
    document = node_document(overrides)
    with register.locked(name):
        _refuse_second(name)
        _end(name)
        try:
            lab = build(name, document, state_size_bytes=state_size_bytes, say=say)
            if with_bus and shutil.which(_BUS_PROGRAM):
                start_bus(lab)
            if with_node:
                start_node(lab, say)
                connect_client(lab)
                say("the client is connected")
            lab = replace(lab, ready=True, node_started=with_node)
            lab.note()
        except BaseException:
            _end(name)
            register.forget(name)
            raise
    return lab


def _refuse_second(name: str) -> None:
    try:
        find(name)
    except ConflictError:
        return
    raise ConflictError(
        f"the lab {name} is up already",
        remedy="privacy-router lab check; to start anew: privacy-router lab down",
    )


def down(name: str = register.DEFAULT_NAME) -> bool:
    """End a lab in any state; returns whether there was one."""
    if name not in register.names():
        return False
    with register.locked(name):
        _end(name)
        register.forget(name)
    return True


def _end(name: str) -> None:
    entry = register.read(name)
    end(entry.hosts if entry is not None else ())


def build(
    name: str, document: str, *, state_size_bytes: int | None = None, say: Say = lambda _: None
) -> Lab:
    """Hosts, links, services and everything that the node and the client will need."""
    created_at = time.time()

    def note(hosts: list[LabHost]) -> None:
        register.write(name, register.Entry(created_at, False, False, tuple(hosts)))

    hosts = create_hosts(internet.HOSTS, note=note, state_size_bytes=state_size_bytes)
    say(f"{len(hosts)} hosts: {', '.join(hosts)}")
    network.wire(hosts)
    say(f"{len(internet.CABLES)} links, none to this machine's own network")
    lab = Lab(name, hosts, created_at)
    _hand_out_certificates(hosts)
    hosts["node"].write(NODE_CONFIG, document.encode())
    services = [_start_stand_in(hosts[name]) for name in ("web", "cloudflare")]
    _prepare_node(lab)
    for service in services:
        _await(service, _ready_file(service.host).exists)
    if lab.config.xray_enabled:
        start_vps(lab)
    say("web site, DNS, Cloudflare and VPS serve")
    return lab


def _hand_out_certificates(hosts: Mapping[str, LabHost]) -> None:
    authority = Authority(datetime.now(UTC))
    for host in hosts.values():
        host.write(AUTHORITY, authority.certificate_pem)
    names = {
        "web": (internet.WEB_NAME, internet.REALITY_NAME, *internet.WEB),
        "cloudflare": (
            *(internet.API_NAME, internet.TRACE_NAME, internet.OTHER_TRACE_NAME),
            *internet.WARP_API,
        ),
    }
    for name, subjects in names.items():
        certificate = authority.issue(subjects)
        hosts[name].write(_CERTIFICATE, certificate.chain_pem + certificate.key_pem)


def _ready_file(host: LabHost) -> Path:
    return host.file(SCRATCH / "ready")


def _start_stand_in(host: LabHost) -> Service:
    module = f"privacy_router.lab.standins.{host.name}"
    return host.spawn(
        host.name, (*PYTHON_MODULE, module, str(_CERTIFICATE), str(SCRATCH / "ready"))
    )


def _await(service: Service, is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SERVICE_PATIENCE_S
    while not is_ready():
        if not service.alive or time.monotonic() > deadline:
            raise LabError(f"the lab's {service.name} did not start: {service.last_words()}")
        time.sleep(_TURN_S)


def _prepare_node(lab: Lab) -> None:
    """The node's own commands make its keys, the client's configuration and the VPS' settings."""
    rules = ("--firewall", str(VPS_RULES))
    prepared = {
        "gateway": ("client", (CLIENT_FILE,), ("client", "add", CLIENT_NAME, "--conf")),
        "xray": ("vps", (_XRAY_FILE, VPS_RULES), ("vps", "export", *rules, "--output")),
    }
    wanted = [work for hop, work in prepared.items() if hop in lab.config.chain_hops]

    def prepare(work: tuple[str, tuple[Path, ...], tuple[str, ...]]) -> None:
        receiver, files, arguments = work
        node_command(lab, (*arguments, str(files[0])))
        for file in files:
            lab[receiver].write(file, lab["node"].file(file).read_bytes())

    with ThreadPoolExecutor() as pool:
        list(pool.map(prepare, wanted))


def node_command(lab: Lab, arguments: Sequence[str]) -> str:
    """Run `privacy-router ARGUMENTS` in the node and return its output.

    Raises PrivacyRouterError with what it complained of, and its exit code.
    """
    argv = ("privacy-router", *arguments)
    try:
        result = lab["node"].run(argv, _COMMAND_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise LabError(
            f"the node's {' '.join(argv)} took over {_COMMAND_PATIENCE_S:g} s"
        ) from error
    if result.returncode != 0:
        failure = LabError(f"the node's {' '.join(argv)} failed:\n{result.stderr.strip()}")
        failure.exit_code = _exit_code(result.returncode)
        raise failure
    return result.stdout


def _exit_code(code: int) -> ExitCode:
    return ExitCode(code) if code in set(ExitCode) else ExitCode.FAILURE


def start_bus(lab: Lab) -> Service:
    """A bus where the node looks for its system's; every user in the node is root."""
    node = lab["node"]
    node.file(_BUS_SOCKET.parent).mkdir(parents=True, exist_ok=True)
    node.write(_BUS_FILE, _BUS_CONFIG.encode())
    command = (_BUS_PROGRAM, "--nofork", "--nopidfile", f"--config-file={_BUS_FILE}")
    service = node.spawn("bus", command)
    _await(service, node.file(_BUS_SOCKET).is_socket)
    return service


def start_vps(lab: Lab) -> Service:
    """Start the XRay server, for the first time or after it was killed, and wait for it."""
    vps, port = lab["vps"], lab.config.vps_port
    nftables.load(vps.network, vps.file(VPS_RULES).read_text())
    service = vps.spawn(XRAY_SERVER, xray_command(str(_XRAY_FILE)))
    _await(service, lambda: _listens(vps, port))
    return service


def _listens(host: LabHost, port: int) -> bool:
    """Whether a process of the host takes TCP connections to `port`; proc(5), /proc/net/tcp."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{host.pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def start_node(lab: Lab, say: Say = lambda _: None) -> float:
    """`privacy-router up --detach` in the node; returns the seconds until the chain answered."""
    started = time.monotonic()
    node_command(lab, ("up", "--detach"))
    elapsed_s = time.monotonic() - started
    say(f"the node is up and the chain answers ({elapsed_s:.1f} s)")
    return elapsed_s


def connect_client(lab: Lab) -> None:
    """Bring the client's tunnel up, where the node has a gateway to connect to."""
    if not lab.config.wireguard.enabled:
        return
    result = lab["client"].run((*PYTHON_MODULE, "privacy_router.lab.device", str(CLIENT_FILE)))
    if result.returncode != 0:
        raise PrivacyRouterError(f"the client cannot connect: {result.stderr.strip()}")
