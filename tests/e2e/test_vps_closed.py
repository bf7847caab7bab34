"""Clients do not reach the VPS itself: not by an address that it has, gets, or that stands for one;
and the Internet behind it all the same."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.hops.xray.server_firewall import TABLE
from privacy_router.lab import internet, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

PORT = 8088
ANSWERED_WITHIN_S = 5.0
REFUSED_WITHIN_S = 2.0
LATER = ("198.18.123.7", "2001:db8:77::7")
PRIVATE = "10.77.0.9"
# the usual firewall of a server: the service is for the machine itself
CLOSED = f"""
table inet own {{
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname lo accept
        meta l4proto {{ tcp, udp }} th dport {PORT} drop
    }}
}}
"""
# answers TCP and UDP at every address
SERVE = """
import socket, sys, threading
kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
tcp, udp = (socket.socket(socket.AF_INET6, kind) for kind in kinds)
for line in (tcp, udp):
    line.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    line.bind(("::", int(sys.argv[1])))
tcp.listen()
def accept():
    while True:
        tcp.accept()[0].sendall(b"own")
threading.Thread(target=accept, daemon=True).start()
print("ready", flush=True)
while True:
    udp.sendto(b"own", udp.recvfrom(100)[1])
"""
# what answers of these (protocol, address, port), asked one after the other; UDP by one socket
ASK = """
import json, socket, sys
lines = {}
def ask(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        if kind == "tcp":
            with socket.create_connection((address, port), float(sys.argv[2])) as line:
                line.settimeout(float(sys.argv[2]))
                return line.recv(100).decode()
        if family not in lines:
            lines[family] = socket.socket(family, socket.SOCK_DGRAM)
        lines[family].settimeout(float(sys.argv[2]))
        lines[family].sendto(b"x", (address, port))
        return lines[family].recv(100).decode()
    except OSError as error:
        return ""
print(json.dumps([ask(*one) for one in json.loads(sys.argv[1])]))
"""


def must(lab: Lab, host: str, *argv: str) -> str:
    done = lab[host].run(argv)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def serving(lab: Lab) -> Iterator[Lab]:
    """A lab whose VPS serves itself, and has got addresses meanwhile."""
    vps = lab["vps"]
    must(lab, "vps", "sh", "-c", f"nft -f - <<'END'{CLOSED}END")
    pipes: dict[str, Any] = {"stdout": -1}
    server = vps.popen(("python3", "-c", SERVE, str(PORT)), **pipes)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    for address in (*LATER, PRIVATE):
        must(lab, "vps", "ip", "address", "add", address, "dev", "lo")
    with server:
        yield lab
        server.kill()


def ask(lab: Lab, host: str, *questions: tuple[str, str, int]) -> list[str]:
    timeout = ANSWERED_WITHIN_S if host == "vps" else REFUSED_WITHIN_S
    argv = ("python3", "-c", ASK, json.dumps(questions), str(timeout))
    answers: list[str] = json.loads(must(lab, host, *argv))
    return answers


def own_addresses() -> list[str]:
    links = [internet.cable("vps", other) for other in ("cloudflare", "web")]
    linked = [str(link.address("vps", version)) for link in links for version in (4, 6)]
    return [*linked, *LATER, PRIVATE, "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::"]


def test_the_service_answers_the_vps_itself(serving: Lab) -> None:
    questions = [("tcp", one, PORT) for one in own_addresses() if one not in ("0.0.0.0", "::")]
    assert set(ask(serving, "vps", *questions)) == {"own"}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_clients_do_not_reach_an_address_of_the_vps(serving: Lab, protocol: str) -> None:
    questions = [(protocol, address, PORT) for address in own_addresses()]
    assert set(ask(serving, "client", *questions)) == {""}


@pytest.mark.parametrize(
    "prefix", ["64:ff9b::", "64:ff9b:1::", "::ffff:0:", "::", "2002:c612:c801::"]
)
def test_nor_by_an_address_that_stands_for_one(serving: Lab, prefix: str) -> None:
    questions = [(protocol, f"{prefix}{internet.VPS[0]}", PORT) for protocol in ("tcp", "udp")]
    assert set(ask(serving, "client", *questions)) == {""}


def test_nor_by_a_socket_that_was_let_through_to_another_address(serving: Lab) -> None:
    """XRay judges the first destination of a UDP socket; the kernel judges each."""
    for version in (0, 1):
        echo = ("udp", str(internet.WEB[version]), 7)
        own = ("udp", str(internet.VPS[version]), PORT)
        later = ("udp", LATER[version], PORT)
        loopback = ("udp", ("127.0.0.1", "::1")[version], PORT)
        found = ask(serving, "client", echo, own, later, loopback, echo)
        assert [bool(answer) for answer in found] == [True, False, False, False, True]
        assert "own" not in found


@pytest.mark.parametrize("name", ["localhost", "vps"])
def test_nor_by_a_name_that_the_vps_resolves_to_itself(serving: Lab, name: str) -> None:
    proxy = f"socks5h://10.102.0.3:{serving.config.xray.socks_port}"
    argv = ("ip", "netns", "exec", "pr-xray", "curl", "-sx", proxy, "-m", "3")
    found = serving["node"].run((*argv, "--http0.9", f"http://{name}:{PORT}/"))
    assert "own" not in found.stdout
    web = serving["node"].run((*argv, f"http://{internet.WEB_NAME}/"))
    assert web.returncode == 0, web.stderr


def test_the_internet_is_there_all_the_same(serving: Lab) -> None:
    for address in internet.WEB:
        host = f"[{address}]" if address.version == 6 else str(address)
        page = serving["client"].run(("curl", "-sgfo", "/dev/null", "-m5", f"http://{host}/"))
        assert page.returncode == 0
    assert all(ask(serving, "client", *(("udp", str(one), 7) for one in internet.WEB)))


def test_it_is_the_rules_that_keep_clients_away(serving: Lab) -> None:
    """Without them XRay serves addresses that it was not told of; they are loaded at each start."""
    own = ("tcp", str(internet.VPS[0]), PORT)
    must(serving, "vps", "nft", "delete", "table", "inet", TABLE)
    assert ask(serving, "client", own) == ["own"]
    must(serving, "vps", "nft", "-f", str(stage.VPS_RULES))
    deadline = time.monotonic() + ANSWERED_WITHIN_S
    while ask(serving, "client", own) != [""]:
        assert time.monotonic() < deadline
