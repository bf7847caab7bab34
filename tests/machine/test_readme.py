"""README.md, "Use it on a node", typed as it stands: every command works, and prints what it says.

The machine takes the place of the lab's node, so that Cloudflare, a VPS and a web site answer it.
What a reader has to put in for himself is put in here: the repository, and a VPS that has SSH.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from privacy_router.host import nftables
from privacy_router.lab import internet, stage
from privacy_router.lab.hosts import AUTHORITY
from tests.machine.whole_node import CONFIG, ROOT, STATE, must, pids, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = [pytest.mark.machine, pytest.mark.timeout(600)]

README = ROOT / "README.md"
HEADING = "## Use it on a node\n"
REPOSITORY = Path("/srv/privacy-router.git")
HOME = Path("/root/reader")
TOOLS = Path("/usr/local/sbin")
VPS_HOME = Path("/srv/vps")
ROUTER_NAME = "router.example.com"
RESOLVER = "1.1.1.1"
REALITY_NAME = "dl.google.com"
IN_THE_TREE = ("LICENSE", "Makefile", "README.md", "packaging", "pyproject.toml", "src")
LAB = "readme"

SCP = f"""#!/bin/sh
set -eu
mkdir -p {VPS_HOME}
[ "$3" = root@vps.example.com:/root/ ]
cp "$1" "$2" {VPS_HOME}
"""
SSH = f"""#!/bin/sh
set -eu
[ "$1" = root@vps.example.com ]
shift
command="PATH={VPS_HOME}/bin:\\$PATH; $(printf '%s' "$*" | sed 's,/root/,{VPS_HOME}/,g')"
exec {ROOT}/.venv/bin/privacy-router lab exec --name {LAB} vps -- sh -euc "$command"
"""
VPS_APT = """#!/bin/sh
# A host of the lab has no database of packages.
[ "$*" = "install -y --no-install-recommends nftables" ] && command -v nft
"""
VPS_SYSTEMCTL = f"""#!/bin/sh
# What systemd does of a unit of Xray's, as far as the README has it done.
set -eu
[ "$1" = daemon-reload ] && exit 0
[ "$*" = "restart xray" ]
$(sed -n 's/^ExecStartPre=+//p' /etc/systemd/system/xray.service.d/vps.conf)
setsid {ROOT}/.venv/bin/python -P -m privacy_router.hops.xray.runner \\
    /usr/local/etc/xray/config.json >/run/lab/xray.log 2>&1 &
"""


# --- the text ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """Commands of one block of the README, and what it says that they print, if it does."""

    title: str
    commands: tuple[str, ...]
    output: tuple[str, ...] | None


def blocks() -> list[Block]:
    """The section's commands, in order."""
    text = README.read_text()
    section = text[text.index(HEADING) + len(HEADING) :]
    section = section[: section.index("\n## ")]
    found: list[Block] = []
    title = ""
    pieces = re.compile(r"^### ([^\n]+)\n|^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
    for match in pieces.finditer(section):
        heading, kind, body = match.groups()
        if heading:
            title = heading
        elif kind == "sh":
            found.append(Block(title, tuple(body.splitlines()), None))
        elif kind == "text":
            before = found[-1]
            assert before.output is None, f"{title}: the output of which commands?"
            found[-1] = Block(before.title, before.commands, tuple(body.splitlines()))
    return found


def is_as_told(printed: list[str], told: tuple[str, ...]) -> bool:
    """Whether the lines are those that the README shows; "…" stands for anything, also lines."""
    pattern = "".join(
        "(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".+") + "\n" for line in told
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


# --- what the reader has -------------------------------------------------------------------------


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def make_repository() -> None:
    """The checkout as it is, whether or not its changes are committed."""
    for name in (*IN_THE_TREE, "requirements.lock"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        REPOSITORY.mkdir(exist_ok=True)
        copy(source, REPOSITORY / name)
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message=all")):
        identity = ("-c", "user.name=reader", "-c", "user.email=reader@example.com")
        must("git", "-C", str(REPOSITORY), *identity, *command)


def take_the_nodes_place(lab: Lab) -> None:
    """Its link to the ISP becomes the machine's uplink."""
    cable = internet.cable("isp", "node")
    device = cable.device("node")
    must("nsenter", f"--net={lab['node'].network}", "ip", "link", "set", device, "netns", "1")
    must("ip", "link", "set", device, "up")
    for address in cable.interfaces("node"):
        family = f"-{address.version}"
        must("ip", family, "address", "add", str(address), "dev", device)
        router = str(cable.address("isp", address.version))
        must("ip", family, "route", "replace", "default", "via", router, "dev", device)


def trust_the_lab(lab: Lab) -> None:
    authority = lab["node"].file(AUTHORITY).read_bytes()
    Path("/usr/local/share/ca-certificates/lab.crt").write_bytes(authority)
    must("update-ca-certificates")
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write(internet.hosts_file("node"))


def serve_the_usual_names(lab: Lab) -> None:
    """The resolver and the REALITY target of a configuration that names none."""
    web_vps = internet.cable("vps", "web").address("web", 4)
    vps = internet.cable("cloudflare", "vps").address("vps", 4)
    for host, router in (("vps", web_vps), ("cloudflare", vps)):
        way = ("ip", "route", "replace", f"{RESOLVER}/32", "via", str(router))
        assert lab[host].run(way).returncode == 0
    rule = f"ip daddr {RESOLVER} dnat to {internet.DNS[0]}"
    chain = f"chain in {{\ntype nat hook prerouting priority -100\n{rule}\n}}"
    nftables.load(lab["web"].network, f"table ip resolver {{\n{chain}\n}}\n")
    with lab["vps"].file("/run/lab/hosts").open("a") as hosts:
        hosts.write(f"{internet.WEB[0]} {REALITY_NAME}\n")
    with lab["client"].file("/run/lab/hosts").open("a") as hosts:
        hosts.write(f"{internet.address_of('node')} {ROUTER_NAME}\n")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    without_vps = {"plugins": {"privacy_router": {"xray": {"enabled": False}}}}
    try:
        found = stage.up(LAB, overrides=without_vps, with_node=False)
        take_the_nodes_place(found)
        trust_the_lab(found)
        serve_the_usual_names(found)
        yield found
    finally:
        stage.down(LAB)


@pytest.fixture(scope="module")
def reader(lab: Lab) -> None:
    """What is on the reader's machine, and nothing of a node: as it comes from Debian."""
    shutil.rmtree(STATE, ignore_errors=True)
    shutil.rmtree(CONFIG.parent, ignore_errors=True)
    make_repository()
    HOME.mkdir()
    executable(TOOLS / "scp", SCP)
    executable(TOOLS / "ssh", SSH)
    executable(VPS_HOME / "bin/systemctl", VPS_SYSTEMCTL)
    executable(VPS_HOME / "bin/apt-get", VPS_APT)


# --- typing it -----------------------------------------------------------------------------------


def typed(block: Block) -> list[str]:
    """What a block prints when it is typed; each of its commands has to succeed."""
    lines = [line.replace("<this repository>", str(REPOSITORY)) for line in block.commands]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PRIVACY_ROUTER")}
    done = subprocess.run(
        ("sh", "-euc", "\n".join(lines)),
        stdin=subprocess.DEVNULL,
        cwd=HOME,
        env={**environment, "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(f"### {block.title}\n{done.stdout}")
    assert done.returncode == 0, f"{block.title}: {done.stdout}"
    return done.stdout.splitlines()


def connect_a_phone(lab: Lab, printed: list[str]) -> None:
    """The configuration that `client add` prints goes into the lab's client."""
    start = printed.index("[Interface]")
    settings = re.compile(r"\[|\w+ = |#|$")
    lines = list(takewhile(settings.match, printed[start:]))
    assert f"Endpoint = {ROUTER_NAME}:51820" in lines
    text = "\n".join(lines).replace(ROUTER_NAME, str(internet.address_of("node")))
    lab["client"].write(stage.CLIENT_FILE, text.encode())
    stage.connect_client(lab)


def the_phone_reaches_the_web(lab: Lab) -> None:
    seen = lab["client"].run(("curl", "-sm", "20", f"http://{internet.WEB_NAME}/ip"))
    assert ip_address(seen.stdout.strip()) in internet.VPS, seen.stdout + seen.stderr


def test_the_section_has_a_block_for_every_step() -> None:
    titles = list(dict.fromkeys(block.title for block in blocks()))
    assert titles == [
        *("Install", "Configure", "The VPS", "Start", "Add devices", "Back up and restore"),
        *("Upgrade", "Take it away"),
    ]


def lose_everything() -> None:
    """What makes a backup worth having."""
    shutil.rmtree(STATE)
    shutil.rmtree(CONFIG.parent)


@pytest.mark.parametrize("number", range(len(blocks())))
def test_it_does_and_prints_what_it_says(lab: Lab, reader: None, number: int) -> None:
    block = blocks()[number]
    restores = any("tar -C / -x" in command for command in block.commands)
    if restores:
        lose_everything()
    printed = typed(block)
    if block.output is not None:
        assert is_as_told(printed, block.output), "\n".join(printed)
    if block.title == "Add devices":
        connect_a_phone(lab, printed)
    if block.title in ("Add devices", "Upgrade") or restores:
        the_phone_reaches_the_web(lab)


def test_nothing_is_left(reader: None) -> None:
    assert pids() == {}
    assert not CONFIG.parent.exists()
    assert not STATE.exists()
    assert not Path("/opt/privacy-router").exists()
    assert run("systemctl", "cat", "op-dbus.service").returncode != 0
    tables = must("nft", "list", "tables")
    assert "privacy" not in tables
