"""Datagrams that are larger than the clients' MTU: they pass in pieces where that is configured.

Up to it every size passes: that is part of `lab check`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from privacy_router.lab import internet, stage
from privacy_router.lab.standins.sizes import PORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

# bytes of a question and of its answer; the clients' MTU leaves 1,392 of IPv4 and 1,372 of IPv6
LARGE = [(100, 1373), (100, 1393), (100, 1472), (100, 1473), (100, 8000), (1393, 100), (4000, 100)]
# asks each of the questions a few times; prints the sizes of the answers, 0 for none
ASK = """
import json, socket, sys
from privacy_router.lab.standins.sizes import question
def ask(sent, wanted):
    family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as line:
        line.connect((sys.argv[1], int(sys.argv[2])))
        line.settimeout(1)
        for _ in range(4):
            line.send(question("word", wanted, sent))
            try:
                return len(line.recv(65535))
            except TimeoutError:
                pass
    return 0
print(json.dumps([ask(*one) for one in json.loads(sys.argv[3])]))
"""


@pytest.fixture(scope="module")
def lab(lab_prefix: str) -> Iterator[Lab]:
    reassembling = {"plugins": {"privacy_router": {"openflow": {"fragments": "reassemble"}}}}
    try:
        yield stage.up(lab_prefix, overrides=reassembling)
    finally:
        stage.down(lab_prefix)


@pytest.mark.parametrize("address", internet.WEB, ids=["IPv4", "IPv6"])
def test_what_is_larger_than_the_mtu_passes_in_pieces(lab: Lab, address: object) -> None:
    argv = ("python3", "-c", ASK, str(address), str(PORT), json.dumps(LARGE))
    done = lab["client"].run(argv, 60.0)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [wanted for _, wanted in LARGE]
