"""A document that has plugins.privacy alone: the hops, on a bridge that is as usual."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from privacy_router.lab import internet, stage
from privacy_router.lab.check import run_check
from privacy_router.lab.hosts import NODE_CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def site(lab_prefix: str) -> Iterator[Lab]:
    try:
        lab = stage.up(lab_prefix, with_node=False)
        document = json.loads(lab["node"].file(NODE_CONFIG).read_text())
        document["plugins"] = {"privacy": document["plugins"].pop("privacy_router")}
        lab["node"].write(NODE_CONFIG, json.dumps(document).encode())
        stage.start_node(lab)
        stage.connect_client(lab)
        yield lab
    finally:
        stage.down(lab_prefix)


def test_the_hops_alone_keep_every_promise(site: Lab) -> None:
    report = run_check(site)
    assert report.problems == []
    assert report.exit_ip == str(internet.VPS[0])
    assert report.tcp
    assert report.udp
    assert report.dns
    assert report.ipv6
    assert report.cleartext_packets == 0


def test_the_same_as_a_whole_node_is_no_change(site: Lab) -> None:
    document = json.loads(site["node"].file(NODE_CONFIG).read_text())
    document["plugins"] = {"privacy_router": document["plugins"]["privacy"]}
    site["node"].write(NODE_CONFIG, json.dumps(document).encode())
    plan = site["node"].run(("privacy-router", "plan", "--json"), 60.0)
    assert plan.returncode == 0, plan.stderr
    assert json.loads(plan.stdout)["changes"] == []
