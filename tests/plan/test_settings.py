"""Kernel settings: which a kernel may be without, and how a rule or route of others' is named."""

from __future__ import annotations

from ipaddress import ip_network
from socket import AF_INET
from typing import TYPE_CHECKING

import pytest

from privacy_router.hops.settings import is_everywhere, of_device, of_namespace
from privacy_router.plan.compile import compile_node
from privacy_router.values.network import Route, RouteKey, Rule, RuleKey
from privacy_router.values.sysctls import Sysctl
from tests.plan.goldens import rulesets_of

if TYPE_CHECKING:
    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.hops.keys import NodeFacts, NodeKeys

MAY_BE_MISSING = {
    "accept_untracked_na",
    "drop_unsolicited_na",
    "echo_ignore_all",
    "force_forwarding",
    "ioam6_enabled",
    "rpl_seg_enabled",
    "seg6_enabled",
}


def test_what_old_kernels_and_a_missing_module_are_without() -> None:
    names = set(of_namespace(forwards=True)) | set(of_device("wgcf", 1280, forwards=False))
    missing = {name for name in names if not is_everywhere(Sysctl.at(name))}
    of_module = {name for name in names if name.startswith("netfilter/")}
    assert of_module
    assert of_module <= missing
    of_kernel = {name.rsplit("/", 1)[1] for name in missing - of_module}
    assert of_kernel == MAY_BE_MISSING
    assert is_everywhere(Sysctl("ipv4", "icmp_echo_ignore_all")), "that of IPv4 is older"


@pytest.mark.parametrize("forwards", [True, False])
def test_every_place_of_a_hop_forwards_or_does_not(forwards: bool) -> None:
    found = of_namespace(forwards) | of_device("wgcf", 1280, forwards)
    value = "1" if forwards else "0"
    for place in ("all", "default", "lo", "wgcf"):
        for protocol in ("ipv4", "ipv6"):
            assert found[f"{protocol}/conf/{place}/forwarding"] == value
    assert found["ipv4/ip_forward"] == value
    assert found["ipv6/conf/wgcf/mtu"] == "1280"


def test_what_says_more_than_ours_has_another_name() -> None:
    rule = Rule(100, 101, int(AF_INET), input_device="eth0", mark=1)
    more = Rule(100, 101, int(AF_INET), input_device="eth0", mark=1, extra=b"tos")
    assert RuleKey.of("", more).name == f"{RuleKey.of('', rule).name} and more"
    route = Route(ip_network("192.0.2.0/24"), device="eth0")
    others = Route(ip_network("192.0.2.0/24"), device="eth0", extra=b"multipath")
    assert RouteKey.of("", others).name == f"{RouteKey.of('', route).name} and more"


def test_every_object_of_a_ruleset_is_of_the_table_that_is_its_item(
    config: PrivacyRouterConfig, keys: NodeKeys, facts: NodeFacts
) -> None:
    rulesets = rulesets_of(compile_node(config, keys, facts))
    assert rulesets
    for key, objects in rulesets.items():
        for one in objects:
            (content,) = one.values()
            assert (content["family"], content["table"]) == ("inet", key.name), one
