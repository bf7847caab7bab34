"""What a section of `net` must not say to itself: named with its key, before anything is done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from privacy_router.config import ConfigError, parse_document

ROUTER = {"to": "default", "via": "192.0.2.1"}
BRIDGE = "plugins.net.bridges.a"
ROUTE = "plugins.net.routes[0]"


def parse(net: Any) -> Any:
    return parse_document(json.dumps({"version": 1, "plugins": {"net": net}}), "a test").plugins


@pytest.mark.parametrize(
    ("net", "path", "words"),
    [
        ({"routes": [{"to": "default"}]}, ROUTE, "a router (via), a device (dev), or both"),
        (
            {"routes": [{"to": "10.0.0.0/8", "via": "2001:db8::1"}]},
            f"{ROUTE}.via",
            "of the same version of IP as 10.0.0.0/8",
        ),
        (
            {"routes": [{"to": "2001:db8:77::/48", "via": "fe80::1"}]},
            f"{ROUTE}.dev",
            "whose link fe80::1 is on",
        ),
        ({"routes": [{**ROUTER, "onlink": True}]}, f"{ROUTE}.onlink", "via and dev beside it"),
        (
            {"routes": [{"to": "10.0.0.0/8", "dev": "eth0", "onlink": True}]},
            f"{ROUTE}.onlink",
            "via and dev beside it",
        ),
        ({"routes": [ROUTER, ROUTER]}, "plugins.net.routes[1]", "than routes[0] has"),
        (
            {"routes": [ROUTER, {"to": "0.0.0.0/0", "dev": "eth0", "metric": 0}]},
            "plugins.net.routes[1]",
            "than routes[0] has",
        ),
        ({"bridges": {"a": {"ports": {"b": {}}}, "b": {}}}, f"{BRIDGE}.ports.b", "another port"),
        (
            {"bridges": {"a": {"ports": {"x": {}}}, "b": {"ports": {"x": {}}}}},
            "plugins.net.bridges.b.ports.x",
            f"{BRIDGE}.ports.x does not have",
        ),
        (
            {"bridges": {"a": {"ports": {"x": {"mac": "02:00:00:00:00:01"}}}}},
            f"{BRIDGE}.ports.x.mac",
            "keeps its own MAC",
        ),
        ({"bridges": {"a": {"uplink": "a"}}}, f"{BRIDGE}.uplink", "and not a bridge"),
        (
            {"bridges": {"a": {"uplink": "x", "ports": {"x": {}}}}},
            f"{BRIDGE}.uplink",
            f"{BRIDGE}.ports.x does not have",
        ),
        (
            {"bridges": {"a": {"uplink": "x", "fail_mode": "secure"}}},
            f"{BRIDGE}.fail_mode",
            "lose its connection",
        ),
        (
            {"bridges": {"a": {"uplink": "x"}, "b": {"uplink": "x"}}},
            "plugins.net.bridges.b.uplink",
            f"{BRIDGE}.uplink does not have",
        ),
        (
            {"bridges": {"a": {"uplink": "x"}}, "interfaces": {"x": {"exact": True}}},
            "plugins.net.interfaces.x",
            "move to its bridge",
        ),
        (
            {"bridges": {"a": {"uplink": "x"}}, "interfaces": {"x": {"up": False}}},
            "plugins.net.interfaces.x.up",
            "carries nothing",
        ),
        (
            {"bridges": {"a": {"uplink": "x"}}, "routes": [{"to": "default", "dev": "x"}]},
            f"{ROUTE}.dev",
            "move to its bridge",
        ),
    ],
)
def test_contradictions_are_problems(net: Any, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(net)
    assert [problem.path for problem in caught.value.problems] == [path]
    assert words in caught.value.problems[0].expected


def test_what_is_no_contradiction_passes() -> None:
    routes = [
        {**ROUTER, "dev": "eth0", "onlink": True},
        {**ROUTER, "metric": 1},
        {"to": "::/0", "via": "fe80::1", "dev": "eth0"},
        {"to": "2001:db8:77::/48", "via": "2001:db8::1"},
    ]
    assert parse({"routes": routes}).net.routes[0].onlink is True
