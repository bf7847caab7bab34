"""What was undone stays undone, with each command that reads the file next; what could not be
applied is tried again when it can be."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.errors import ExitCode
from privacy_router.lab import internet, stage
from privacy_router.lab.hosts import NODE_CONFIG
from tests.e2e.bus import ENV, MANAGER, await_true, busctl, on_the_bus, read, start_bus

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

PROFILE = Path("/run/lab/wgcf-profile.conf")
OWN_PROFILE = Path("/var/lib/privacy-router/wgcf-profile.conf")
SERVICE = (
    *("env", *(f"{name}={value}" for name, value in ENV.items())),
    *("op-dbus", "run", "--config", str(NODE_CONFIG)),
)
READ = """
from pathlib import Path
from privacy_router.host.wireguard import UserspaceWireGuard
gateway = UserspaceWireGuard().read("wg100", Path("/run/netns/pr-gateway"))
warp = UserspaceWireGuard().read("wgcf", Path("/run/netns/pr-warp"))
print(gateway.listen_port, len(gateway.peers), warp.peers[0].endpoint[1])
"""


@pytest.fixture(scope="module")
def site(lab_prefix: str) -> Iterator[Lab]:
    """A lab whose node is up with a profile that its document names, on a bus of its own."""
    try:
        lab = stage.up(lab_prefix, with_node=False)
        start_bus(lab["node"])
        must(lab, "up", "--detach")
        lab["node"].write(PROFILE, lab["node"].file(OWN_PROFILE).read_bytes())
        change(lab, warp={"wgcf_config": str(PROFILE)})
        must(lab, "apply", str(NODE_CONFIG))
        yield lab
    finally:
        stage.down(lab_prefix)


@pytest.fixture(autouse=True)
def as_before(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test leaves the file, the profile and the node as they were."""
    if "site" not in request.fixturenames:
        yield
        return
    lab: Lab = request.getfixturevalue("site")
    contents = {path: lab["node"].file(path).read_bytes() for path in (NODE_CONFIG, PROFILE)}
    yield
    for path, content in contents.items():
        lab["node"].write(path, content)
    must(lab, "apply", str(NODE_CONFIG))
    assert node(lab) == (51820, 1, 2408)


def command(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab["node"].run(("privacy-router", *arguments), 60.0, env=ENV)


def must(lab: Lab, *arguments: str) -> str:
    result = command(lab, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def change(lab: Lab, **sections: dict[str, Any]) -> None:
    """Have these keys in the file."""
    document = json.loads(lab["node"].file(NODE_CONFIG).read_text())
    own = document["plugins"]["privacy_router"]
    for name, values in sections.items():
        own[name] = {**own.get(name, {}), **values}
    lab["node"].write(NODE_CONFIG, json.dumps(document).encode())


def node(lab: Lab) -> tuple[int, int, int]:
    """The gateway's port, how many clients it has, the port of WARP's endpoint."""
    found = lab["node"].run(("python", "-c", READ))
    assert found.returncode == 0, found.stderr
    port, clients, endpoint = map(int, found.stdout.split())
    return port, clients, endpoint


def runs(lab: Lab) -> list[Any]:
    return list(json.loads(must(lab, "runs", "--json")))


def status(lab: Lab) -> Any:
    return json.loads(command(lab, "status", "--no-probe", "--json").stdout)


def undone(lab: Lab) -> bool:
    return bool(runs(lab)[0]["phase"] == "undone") and status(lab)["file"] is not None


def leave_unconfirmed(lab: Lab) -> int:
    """Apply the file, and confirm it not; how many runs there were."""
    must(lab, "apply", str(NODE_CONFIG), "--confirm-within", "2")
    await_true(lambda: undone(lab))
    return len(runs(lab))


def hang_up(lab: Lab) -> None:
    """As `systemctl reload` does. The call that follows is answered when that is done."""
    pid = str(status(lab)["controller_pid"])
    assert lab["node"].run(("kill", f"-{int(signal.SIGHUP)}", pid)).returncode == 0
    assert busctl(lab, "call", "org.opdbus", *MANAGER, "Reload").returncode == 0


def log_of(lab: Lab) -> str:
    return lab["node"].file("/run/privacy-router/log/controller.log").read_text()


def restart(lab: Lab, number: signal.Signals) -> None:
    """End the controller, and start the service."""
    pid = status(lab)["controller_pid"]
    lab["node"].run(("kill", f"-{int(number)}", str(pid)))
    await_true(lambda: not lab["node"].file(f"/proc/{pid}").exists())
    lab["node"].spawn(f"op-dbus-after-{pid}", SERVICE)
    await_true(lambda: on_the_bus(lab))
    await_true(lambda: read(lab, *MANAGER, "State") != "starting")


def test_what_was_not_confirmed_is_applied_by_nothing_but_an_apply(site: Lab) -> None:
    change(site, wireguard={"listen_port": 51999})
    before = leave_unconfirmed(site)
    assert node(site) == (51820, 1, 2408)
    assert "51820" in must(site, "client", "add", "tablet")
    await_true(lambda: node(site) == (51820, 2, 2408))
    must(site, "client", "remove", "tablet")
    await_true(lambda: node(site) == (51820, 1, 2408))
    told = log_of(site).count("the file is not applied")
    hang_up(site)
    assert node(site) == (51820, 1, 2408)
    await_true(lambda: log_of(site).count("the file is not applied") == told + 2)  # call, signal
    for number in (signal.SIGTERM, signal.SIGKILL):
        restart(site, number)
        assert node(site) == (51820, 1, 2408)
    assert len(runs(site)) == before
    assert status(site)["file"]["state"] == "undone"
    shown = command(site, "status", "--no-probe").stdout
    assert f"{NODE_CONFIG} was undone at " in shown
    assert "it was not confirmed in time" in shown
    assert f"try again with privacy-router apply {NODE_CONFIG}" in shown
    must(site, "apply", str(NODE_CONFIG))
    assert node(site) == (51999, 1, 2408)
    await_true(lambda: status(site)["file"] is None)


def test_what_was_rolled_back_by_hand_stays_back(site: Lab) -> None:
    """A run that stood, and the checkpoint before it."""
    change(site, wireguard={"listen_port": 51999})
    must(site, "apply", str(NODE_CONFIG))
    must(site, "rollback")
    await_true(lambda: status(site)["file"] is not None)
    assert status(site)["file"]["state"] == "overruled"
    hang_up(site)
    restart(site, signal.SIGTERM)
    assert node(site) == (51820, 1, 2408)


def test_what_was_refused_is_not_tried_by_a_reload(site: Lab) -> None:
    own = json.loads(site["node"].file(NODE_CONFIG).read_text())["plugins"]["privacy_router"]
    other = {**own, "bridge_name": "ovsbr7"}  # refused while the node is up on another
    document = {"version": 1, "plugins": {"privacy_router": other}}
    site["node"].write(NODE_CONFIG, json.dumps(document).encode())
    assert command(site, "apply", str(NODE_CONFIG)).returncode == ExitCode.INVALID_CONFIG
    before = len(runs(site))
    hang_up(site)
    restart(site, signal.SIGTERM)
    assert len(runs(site)) == before
    assert status(site)["file"]["state"] == "refused"


def test_a_profile_that_was_not_confirmed_is_not_taken_either(site: Lab) -> None:
    """The document is the same: what it names has another content."""
    text = site["node"].file(PROFILE).read_text()
    site["node"].write(PROFILE, text.replace(":2408", ":500").encode())
    leave_unconfirmed(site)
    assert node(site) == (51820, 1, 2408)
    must(site, "client", "add", "tablet")
    await_true(lambda: node(site) == (51820, 2, 2408))
    must(site, "client", "remove", "tablet")
    await_true(lambda: node(site) == (51820, 1, 2408))
    hang_up(site)
    assert node(site) == (51820, 1, 2408)
    site["node"].write(PROFILE, text.replace(":2408", ":1701").encode())
    hang_up(site)
    assert node(site) == (51820, 1, 1701)


def test_status_is_of_what_the_node_runs_and_says_that_the_file_differs(site: Lab) -> None:
    """It had a line for each item that the file would change."""
    change(site, wireguard={"listen_port": 51999})
    found = status(site)
    assert (found["file"]["state"], found["pending"]) == ("changed", [])
    shown = command(site, "status", "--no-probe").stdout
    assert f"{NODE_CONFIG} is not what is kept" in shown
    assert "not as configured" not in shown
    asked = command(site, "status", "--no-probe", "--json", "--config", str(NODE_CONFIG))
    assert json.loads(asked.stdout)["pending"], "of a file that is named, as before"


# --- a first start without Internet ---------------------------------------------------------------


def ways(lab: Lab, verb: str) -> None:
    """Refuse the ways to the account service, or do so no longer."""
    for address in internet.WARP_API:
        family = "-4" if address.version == 4 else "-6"
        made = lab["node"].run(("ip", family, "route", verb, "unreachable", str(address)))
        assert made.returncode == 0, made.stderr


def waits(lab: Lab) -> bool:
    found = status(lab)["file"]
    return found is not None and found["state"] == "waiting"


def test_a_first_start_without_internet_goes_on_when_there_is_one(bare_lab: Lab) -> None:
    """It was in the log once, and then the service was up with nothing for ever."""
    lab = bare_lab
    start_bus(lab["node"])
    ways(lab, "add")
    lab["node"].spawn("op-dbus", SERVICE)
    await_true(lambda: on_the_bus(lab))
    restart(lab, signal.SIGTERM)
    await_true(lambda: waits(lab))
    shown = command(lab, "status", "--no-probe")
    assert shown.returncode == ExitCode.CHECK_FAILED
    for words in ("is not applied yet", internet.API_NAME, "cannot be reached", "next try at"):
        assert words in shown.stdout
    found = status(lab)["file"]
    assert found["next_s"] > found["at_s"]
    assert read(lab, *MANAGER, "State") == "degraded"
    assert "cannot be reached" in read(lab, *MANAGER, "Trouble")
    ways(lab, "del")
    await_true(lambda: status(lab)["file"] is None)
    await_true(lambda: status(lab)["state"] in ("up", "quiet"))
    assert [run["phase"] for run in runs(lab)] == ["committed"]
