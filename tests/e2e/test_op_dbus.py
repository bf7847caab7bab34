"""op-dbus as its users meet it: documents applied over the bus by the command line, in the lab.

The plugins whose services the lab has not (systemd and its kin) are exercised in tests/machine.
"""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from privacy_router.errors import ExitCode
from privacy_router.lab import stage
from privacy_router.lab.hosts import NODE_CONFIG
from tests.e2e.bus import BUS, ENV, MANAGER, await_true, busctl, call, on_the_bus, read, start_bus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from privacy_router.lab.stage import Lab

pytestmark = pytest.mark.e2e

FILE = "/run/lab/document.json"
HERE, THERE = "198.18.7.7/32", "198.18.7.8/32"
SERVICE = (
    *("env", *(f"{name}={value}" for name, value in ENV.items())),
    *("op-dbus", "run", "--config", str(NODE_CONFIG)),
)
PLUGINS = {
    *("net", "systemd", "login1", "lxc", "sessdecl", "dns", "pcidecl", "packagekit"),
    *("openflow", "privacy", "netmaker", "privacy_router"),
}


@pytest.fixture(scope="module")
def site(lab_prefix: str) -> Iterator[Lab]:
    """A lab whose node is up, on a bus of its own."""
    try:
        lab = stage.up(lab_prefix, with_node=False)
        start_bus(lab["node"])
        up = lab["node"].run(("privacy-router", "up", "--detach"), 60.0, env=ENV)
        assert up.returncode == 0, up.stderr
        await_true(lambda: on_the_bus(lab))
        yield lab
    finally:
        stage.down(lab_prefix)


@pytest.fixture(autouse=True)
def as_before(site: Lab) -> Iterator[None]:
    """Each test leaves the machine as the lab's own document says."""
    yield
    say(site, "apply", str(NODE_CONFIG))
    assert addresses(site) == set()


def command(lab: Lab, *arguments: str, user: str = "") -> subprocess.CompletedProcess[str]:
    as_user = ("setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups") if user else ()
    return lab["node"].run((*as_user, "privacy-router", *arguments), 60.0, env=ENV)


def say(lab: Lab, *arguments: str) -> Any:
    result = command(lab, *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout) if result.stdout else None


def whole(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab["node"].file(NODE_CONFIG).read_text())
    return found


def document(lab: Lab, **plugins: Any) -> str:
    """The lab's node and these sections, as a file."""
    found = whole(lab)
    found["plugins"].update(plugins)
    lab["node"].write(Path(FILE), json.dumps(found).encode())
    return FILE


def net(*wanted: str, **more: Any) -> dict[str, Any]:
    return {"interfaces": {"lo": {"addresses": list(wanted), **more}}}


def addresses(lab: Lab) -> set[str]:
    listed = lab["node"].run(("ip", "-o", "-4", "address", "show", "dev", "lo")).stdout.split()
    return {word for word in listed if word.startswith("198.18.7.")}


def daemon_pid(lab: Lab) -> int:
    shown = command(lab, "status", "--no-probe", "--json")  # quiet, unless a client sends
    return int(json.loads(shown.stdout)["controller_pid"])


# --- looking --------------------------------------------------------------------------------------


def test_every_plugin_of_the_seed_is_there(site: Lab) -> None:
    found = {one["Name"]: one for one in say(site, "plugins")}
    assert set(found) == PLUGINS
    assert found["privacy_router"]["State"] == "kept"
    assert found["openflow"]["Available"] is True
    for name in ("systemd", "login1", "sessdecl", "packagekit"):
        assert (found[name]["State"], found[name]["Available"]) == ("unavailable", False)
        assert found[name]["Reason"]
        assert found[name]["Remedy"]
    paths = set(busctl(site, "tree", "--list", "org.opdbus").stdout.split())
    assert {f"/org/opdbus/plugin/{name.replace('_', '_5f')}" for name in PLUGINS} <= paths


def test_the_plan_of_the_node_names_the_domains(site: Lab) -> None:
    assert say(site, "plan") == {"changes": [], "obstacles": []}
    changed = whole(site)
    changed["plugins"]["privacy_router"]["openflow"] = {"rates": {"icmp": 77}}
    site["node"].write(Path(FILE), json.dumps(changed).encode())
    rows = say(site, "plan", "--config", FILE)["changes"]
    assert {(row["plugin"], row["by"]) for row in rows} == {("openflow", "privacy_router")}
    assert {row["kind"] for row in rows} >= {"meter"}


def test_what_is_there_can_be_asked(site: Lab) -> None:
    rows = say(site, "query", "openflow")
    assert len(rows) > 100
    assert {row["plugin"] for row in rows} == {"openflow"}
    kinds = {row["kind"] for row in say(site, "query", "net")}
    assert {"port", "route", "neighbour"} <= kinds
    unknown = command(site, "query", "nothing")
    assert unknown.returncode == ExitCode.CONFLICT
    assert "there is no plugin nothing" in unknown.stderr


# --- applying -------------------------------------------------------------------------------------


def test_a_document_is_applied_and_given_back(site: Lab) -> None:
    done = say(site, "apply", document(site, net=net(HERE, THERE)))
    assert [(row["verb"], row["plugin"]) for row in done["changes"]] == [("add", "net")] * 2
    assert addresses(site) == {HERE, THERE}
    again = say(site, "apply", FILE)
    assert (again["run"], again["changes"]) == (0, [])
    less = say(site, "apply", document(site, net=net(HERE)))
    assert [(row["verb"], row["plugin"]) for row in less["changes"]] == [("remove", "net")]
    assert addresses(site) == {HERE}
    runs = say(site, "runs")
    assert [run["phase"] for run in runs[:2]] == ["committed"] * 2


def test_a_section_that_nobody_can_serve_is_refused_whole(site: Lab) -> None:
    units = {"units": {"cron.service": {"active": True}}}
    refused = command(site, "apply", document(site, net=net(HERE), systemd=units))
    assert refused.returncode == ExitCode.MISSING_PREREQUISITE
    assert "plugins.systemd: " in refused.stderr
    assert addresses(site) == set()


def test_what_fails_is_undone_whole(site: Lab) -> None:
    """The node is the last plugin here, and the switch refuses it: the name of a port is taken."""
    site_node = site["node"]
    before = json.dumps([say(site, "query", name) for name in ("net", "lxc", "privacy")])
    in_the_way = ("link", "add", "internal_109", "type", "veth", "peer", "name", "foreign")
    made = site_node.run(("ip", "-n", "pr-switch", *in_the_way))
    assert made.returncode == 0, made.stderr
    try:
        changed = whole(site)
        changed["plugins"]["net"] = net(HERE)
        own = changed["plugins"]["privacy_router"]
        own.setdefault("xray", {})["container_id"] = 109
        site_node.write(Path(FILE), json.dumps(changed).encode())
        failed = command(site, "apply", FILE)
    finally:
        site_node.run(("ip", "-n", "pr-switch", "link", "delete", "foreign"))
    assert failed.returncode != 0
    assert "could not make the port internal_109" in failed.stderr
    assert addresses(site) == set()
    assert say(site, "runs")[0]["phase"] == "undone"
    await_true(lambda: say(site, "plan") == {"changes": [], "obstacles": []})
    after = json.dumps([say(site, "query", name) for name in ("net", "lxc", "privacy")])
    assert after == before


def test_nobody_confirms_and_all_is_as_before(site: Lab) -> None:
    done = say(site, "apply", document(site, net=net(HERE)), "--confirm-within", "2")
    assert done["confirm_within_s"] == 2
    assert addresses(site) == {HERE}
    waiting = command(site, "apply", str(NODE_CONFIG))
    assert waiting.returncode == ExitCode.CONFLICT
    assert "waits to be confirmed" in waiting.stderr
    await_true(lambda: addresses(site) == set())
    await_true(lambda: say(site, "runs")[0]["phase"] == "undone")
    late = command(site, "confirm")
    assert late.returncode == ExitCode.CONFLICT
    assert "no run waits" in late.stderr


def test_confirmed_in_time_it_stands(site: Lab) -> None:
    say(site, "apply", document(site, net=net(HERE)), "--confirm-within", "30")
    assert command(site, "confirm").returncode == 0
    assert read(site, *MANAGER, "Awaiting") == 0
    assert addresses(site) == {HERE}


def test_rolled_back_by_hand(site: Lab) -> None:
    say(site, "apply", document(site, net=net(HERE)), "--confirm-within", "30")
    assert command(site, "rollback").returncode == 0
    assert addresses(site) == set()


def test_checkpoints_lead_back(site: Lab) -> None:
    say(site, "apply", document(site, net=net(HERE)))
    assert command(site, "checkpoint", "create", "good").returncode == 0
    again = command(site, "checkpoint", "create", "good")
    assert again.returncode == ExitCode.CONFLICT
    assert "--replace" in again.stderr
    assert command(site, "checkpoint", "create", "good", "--replace").returncode == 0
    say(site, "apply", document(site, net=net(THERE)))
    names = [one["name"] for one in say(site, "checkpoint", "list")]
    assert names[1] == "good"
    rows = say(site, "checkpoint", "diff", "good")["changes"]
    assert {(row["verb"], row["kind"]) for row in rows} == {("add", "address")}
    shown = say(site, "checkpoint", "show", "good")
    assert json.loads(shown["document"])["plugins"]["net"] == net(HERE)
    say(site, "checkpoint", "restore", "good")
    assert addresses(site) == {HERE}
    assert command(site, "checkpoint", "drop", "good").returncode == 0
    gone = command(site, "rollback", "good")
    assert gone.returncode == ExitCode.CONFLICT
    assert "there is no checkpoint good" in gone.stderr


# --- keeping watch --------------------------------------------------------------------------------


def test_drift_is_put_right_and_told(site: Lab) -> None:
    say(site, "apply", document(site, net=net(HERE)))
    monitor = ("privacy-router", "monitor", "--json", "--count", "1")
    with site["node"].popen(monitor, env=ENV, stdout=subprocess.PIPE) as listening:
        await_true(lambda: listeners(site) >= 1)
        site["node"].run(("ip", "address", "del", HERE, "dev", "lo"))
        output, _ = listening.communicate(timeout=30)
    told = json.loads(output)
    assert (told["signal"], told["body"][0], told["body"][2]) == ("Drift", "net", True)
    assert told["body"][1][0][:3] == ["add", "net", "address"]
    assert addresses(site) == {HERE}
    (net_plugin,) = (one for one in say(site, "plugins") if one["Name"] == "net")
    assert net_plugin["LastDrift"][1]


def listeners(lab: Lab) -> int:
    """How many on the bus have asked for our signals."""
    statistics = ("/org/freedesktop/DBus", "org.freedesktop.DBus.Debug.Stats")
    asked = busctl(lab, "call", "org.freedesktop.DBus", *statistics, "GetAllMatchRules")
    return asked.stdout.count("sender='org.opdbus'")


def test_what_is_only_observed_is_reported_and_left(site: Lab) -> None:
    done = say(site, "apply", document(site, net=net(HERE, mode="observe-only")))
    assert done["run"] == 0
    assert {row["mode"] for row in done["changes"]} == {"observe-only"}
    assert addresses(site) == set()
    await_true(lambda: state_of(site, "net") == "different")


def state_of(lab: Lab, plugin: str) -> Any:
    return read(lab, f"/org/opdbus/plugin/{plugin}", "org.opdbus.Plugin", "State")


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ('{"version": 2, "plugins": {}}', "version"),
        ('{"version": 1, "plugins": {"nonsense": {}}}', "nonsense"),
        ('{"version": 1, "plugins": {"netmaker": {}}}', "plugins.privacy_router.netmaker"),
        (" " * (9 * 1024 * 1024), "8"),
    ],
    ids=["no-json", "another-version", "unknown-plugin", "a-part", "too-large"],
)
def test_a_document_that_is_none(site: Lab, text: str, words: str) -> None:
    site["node"].write(Path(FILE), text.encode())
    here = command(site, "apply", FILE)
    assert here.returncode == ExitCode.INVALID_CONFIG
    assert words in here.stderr
    if len(text) < 1000:  # busctl takes it as an argument
        there = raw(site, "Apply", f"string:{text}", "string:", "double:0")
        assert "org.opdbus.Error.Config" in there.stderr
        assert words in there.stderr


def raw(lab: Lab, method: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A call whose error's name is shown."""
    sender = ("dbus-send", f"--bus={BUS}", "--print-reply", "--dest=org.opdbus", "/org/opdbus")
    result = lab["node"].run((*sender, f"org.opdbus.Manager.{method}", *arguments))
    assert result.returncode != 0
    return result


def test_who_may_not_change_is_told_so(site: Lab) -> None:
    for change in (("confirm",), ("rollback", "before-run-1"), ("checkpoint", "prune")):
        refused = command(site, *change, user="nobody")
        assert refused.returncode == ExitCode.NOT_PRIVILEGED, refused.stderr
        assert "administrators" in refused.stderr
    assert command(site, "plugins", user="nobody").returncode == 0
    assert read(site, *MANAGER, "State") == "up"


def test_a_second_daemon_is_refused(site: Lab) -> None:
    second = site["node"].run(SERVICE)
    assert second.returncode == ExitCode.CONFLICT
    assert str(daemon_pid(site)) in second.stderr


def completed(lab: Lab, *words: str) -> list[str]:
    """What the shell is offered for the last of the words."""
    asked = {
        "_PRIVACY_ROUTER_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("privacy-router", *words)),
        "COMP_CWORD": str(len(words)),
    }
    return lab["node"].run(("privacy-router",), 60.0, env=ENV | asked).stdout.split()


def test_the_shell_completes_names_that_op_dbus_knows(site: Lab) -> None:
    assert completed(site, "rollback", "before-run-1") != []
    assert completed(site, "query", "privacy_r") == ["privacy_router"]
    assert completed(site, "client", "remove", "ph") == ["phone"]
    assert completed(site, "checkpoint", "show", "nothing-begins-so") == []


@contextmanager
def interrupting(site: Lab) -> Iterator[Callable[[], None]]:
    """Ctrl-C for an `apply` while the daemon is stopped, so that the run is not over by then; the
    daemon goes on afterwards. What does it waits in the node, since entering that takes its time.
    """
    daemon = daemon_pid(site)
    script = f"echo ready; read line; kill -STOP {daemon}; pkill -INT -f '[p]rivacy-router apply'"
    started = site["node"].popen(
        ("sh", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with started as waiting:
        stdin, stdout = waiting.stdin, waiting.stdout
        assert stdin is not None
        assert stdout is not None
        assert stdout.readline() == b"ready\n"

        def interrupt() -> None:
            stdin.write(b"now\n")
            stdin.close()

        try:
            yield interrupt
        finally:
            waiting.kill()
            site["node"].run(("kill", "-CONT", str(daemon)))


def test_ctrl_c_leaves_a_run_to_the_daemon_and_says_so(site: Lab) -> None:
    say(site, "apply", document(site, net=net(HERE)))
    assert command(site, "checkpoint", "create", "good").returncode == 0
    empty = document(site)
    site["node"].write(Path(empty), b'{"version": 1, "plugins": {}}')
    # what a shell starts in the background is started with SIGINT ignored, and so are these tests
    run = ("env", "--default-signal=INT", "privacy-router", "apply", empty)
    with (
        interrupting(site) as interrupt,
        site["node"].popen(run, env=ENV, stderr=subprocess.PIPE) as process,
    ):
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"0/")
        interrupt()
        errors = process.stderr.read()
        assert process.wait(20) == 130
    assert b"op-dbus goes on with this" in errors
    await_true(lambda: read(site, *MANAGER, "State") == "idle")
    shown = command(site, "status", "--no-probe").stdout
    assert "nothing is declared: privacy-router apply" in shown
    rows = say(site, "checkpoint", "diff", "good")["changes"]
    assert {"net", "openflow", "privacy"} <= {row["plugin"] for row in rows}
    say(site, "rollback", "good")
    assert say(site, "checkpoint", "diff", "good") == {"changes": []}


# --- ending and coming back -----------------------------------------------------------------------


def test_killed_while_a_run_waits_it_goes_on_waiting(site: Lab) -> None:
    say(site, "apply", document(site, net=net(HERE)), "--confirm-within", "20")
    site["node"].run(("kill", "-KILL", str(daemon_pid(site))))
    assert addresses(site) == {HERE}
    site["node"].spawn("op-dbus", SERVICE)
    await_true(lambda: on_the_bus(site))
    await_true(lambda: read(site, *MANAGER, "Awaiting") > 0)
    assert 0 < read(site, *MANAGER, "AwaitingSeconds") < 20
    assert command(site, "rollback").returncode == 0
    assert addresses(site) == set()


def test_a_restart_goes_on_with_what_was_applied_last(site: Lab) -> None:
    """Not with the file, which was considered before; and what drifted meanwhile is put right."""
    say(site, "apply", document(site, net=net(HERE)))
    pid = daemon_pid(site)
    site["node"].run(("kill", f"-{int(signal.SIGTERM)}", str(pid)))
    await_true(lambda: not site["node"].file(f"/proc/{pid}").exists())
    site["node"].run(("ip", "address", "del", HERE, "dev", "lo"))
    site["node"].spawn("op-dbus-again", SERVICE)
    await_true(lambda: on_the_bus(site))
    await_true(lambda: addresses(site) == {HERE})
    await_true(lambda: read(site, *MANAGER, "State") == "up")


def test_many_clients_at_once_are_served(site: Lab) -> None:
    script = (
        "import asyncio\n"
        "from dbus_fast import Message\n"
        "from dbus_fast.aio import MessageBus\n"
        "async def one():\n"
        f"    bus = await MessageBus(bus_address={BUS!r}).connect()\n"
        "    for _ in range(10):\n"
        "        answer = await bus.call(Message(destination='org.opdbus', path='/org/opdbus',\n"
        "            interface='org.freedesktop.DBus.Properties', member='Get', signature='ss',\n"
        "            body=['org.opdbus.Manager', 'State']))\n"
        "        assert answer.body[0].value == 'up', answer.body\n"
        "    bus.disconnect()\n"
        "async def main():\n"
        "    await asyncio.gather(*(one() for _ in range(100)))\n"
        "asyncio.run(main())\n"
    )
    asked = site["node"].run(("python", "-c", script), 60.0)
    assert asked.returncode == 0, asked.stderr


def test_down_gives_everything_back(site: Lab) -> None:
    say(site, "apply", document(site, net=net(HERE)))
    down = command(site, "down")
    assert down.returncode == 0, down.stderr
    assert addresses(site) == set()
    assert not on_the_bus(site)
    up = site["node"].run(("privacy-router", "up", "--detach"), 60.0, env=ENV)
    assert up.returncode == 0, up.stderr
    await_true(lambda: on_the_bus(site))
    assert call(site, MANAGER, "Plan", "ss", "", "") == [[]]
