"""All plugins together: the seed's twelve, and the order of their changes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from privacy_router.daemon.plugins import all_plugins
from privacy_router.engine.order import in_order
from privacy_router.host.dbus import Bus
from privacy_router.node.paths import NodePaths
from privacy_router.plugins import target
from privacy_router.plugins.privacy_router import PrivacyRouterPlugin
from privacy_router.plugins.target import Machine

if TYPE_CHECKING:
    import pytest

SEED = {
    *("net", "systemd", "login1", "lxc", "sessdecl", "dns", "pcidecl", "packagekit"),
    *("openflow", "privacy", "netmaker", "privacy_router"),
}


def ordered() -> list[str]:
    node = PrivacyRouterPlugin(NodePaths(Path("/nowhere"), Path("/nowhere")))
    return [plugin.name for plugin in in_order(all_plugins(Machine(Bus(None)), node))]


async def test_every_plugin_of_the_seed_is_registered() -> None:
    assert set(ordered()) == SEED
    node = PrivacyRouterPlugin(NodePaths(Path("/nowhere"), Path("/nowhere")))
    for plugin in all_plugins(Machine(Bus(None)), node):
        assert plugin.after <= SEED, plugin.name


async def test_what_others_need_comes_first_and_what_cannot_go_back_last() -> None:
    names = ordered()
    chain = ["packagekit", "pcidecl", "net", "dns", "systemd", "login1"]
    assert [name for name in names if name in chain] == chain
    assert names.index("privacy_router") > names.index("login1") > names.index("systemd")
    assert names[-1] == "sessdecl"
    assert names.index("packagekit") < names.index("systemd") < names.index("privacy_router")
    assert names[-1] == "sessdecl"


async def test_a_plugin_that_does_not_load_takes_no_other_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str, package: str | None = None) -> object:
        if name.endswith("packagekit"):
            raise ImportError("a library is missing")
        return import_module(name, package)

    monkeypatch.setattr(target, "import_module", broken)
    node = PrivacyRouterPlugin(NodePaths(Path("/nowhere"), Path("/nowhere")))
    plugins = {plugin.name: plugin for plugin in all_plugins(Machine(Bus(None)), node)}
    assert set(plugins) == SEED
    assert (await plugins["packagekit"].availability()).reason == (
        "it cannot be loaded: a library is missing"
    )
    assert [plugin.name for plugin in in_order(plugins.values())]
