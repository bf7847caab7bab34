"""nftables through libnftables' JSON interface, see libnftables-json(5)."""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from privacy_router.errors import MachineError, MissingPrerequisiteError
from privacy_router.host.namespaces import run_in
from privacy_router.host.rtnetlink import ask, decode_attributes, open_socket
from privacy_router.json_input import JsonError, read_json_untrusted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from privacy_router.values.rulesets import Ruleset


OUR_FAMILY: Final = "inet"
_OUTPUT_JSON = 1 << 4
_OUTPUT_STATELESS = 1 << 2
_OUTPUT_TERSE = 1 << 11  # without what is in sets: packets put it there
_LISTING_LIMIT_BYTES = 64 * 1024 * 1024
# linux/netfilter/nfnetlink.h and nf_tables.h
NETLINK_NETFILTER: Final = 12
_GET_TABLE: Final = (10 << 8) | 1
_HEADER_BYTES: Final = 4  # struct nfgenmsg, which begins with the family
_NAME, _FLAGS = 1, 2  # NFTA_TABLE_…
# A set that a meter made, and the statement that adds to it, as libnftables 1.1 lists them.
_COUNTING: Final = frozenset({"family", "table", "name", "type", "size", "flags"})
_ADDS: Final = frozenset({"op", "elem", "set", "stmt"})
_FAMILIES: Final = {1: OUR_FAMILY, 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}


class NftablesError(MachineError):
    """libnftables refused a command."""


@dataclass(frozen=True)
class Table:
    """A table that is there; with flags it may be out of force (dormant) or another program's."""

    family: str
    name: str
    flags: int = 0


def tables_here() -> list[Table]:
    """Every table of the namespace that the calling thread is in. Raises OSError.

    Asked of the kernel, since libnftables 1.0.6 writes a table's flags as unreadable JSON.
    """
    with open_socket(None, protocol=NETLINK_NETFILTER) as line:
        return [_table(content) for content in ask(line, _GET_TABLE, bytes(_HEADER_BYTES))]


def _table(content: bytes) -> Table:
    attributes = dict(decode_attributes(content[_HEADER_BYTES:]))
    name = attributes.get(_NAME, b"").rstrip(b"\0").decode(errors="replace")
    family = _FAMILIES.get(content[0], str(content[0]))
    return Table(family, name, int.from_bytes(attributes.get(_FLAGS, b""), "big"))


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise MissingPrerequisiteError(
            "libnftables is not installed", remedy="apt-get install libnftables1"
        ) from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


def _run(command: str) -> str:
    library = _library()
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    try:
        library.nft_ctx_output_set_flags(context, _OUTPUT_JSON | _OUTPUT_STATELESS | _OUTPUT_TERSE)
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        if library.nft_run_cmd_from_buffer(context, command.encode()) != 0:
            raise NftablesError(
                library.nft_ctx_get_error_buffer(context).decode(errors="replace").strip()
            )
        return str(library.nft_ctx_get_output_buffer(context).decode(errors="replace"))
    finally:
        library.nft_ctx_free(context)


def apply(namespace: Path | None, table: str, objects: Ruleset) -> None:
    """Put table `inet <table>` in place as given, as one transaction, replacing the one there.

    `objects` are its chains and rules as libnftables-json(5) writes them, without the table.
    Raises NftablesError; then nothing has changed.
    """
    identity = {"family": "inet", "name": table}
    commands: Ruleset = [
        {"add": {"table": identity}},
        {"delete": {"table": identity}},
        {"add": {"table": identity}},
        *({"add": item} for item in objects),
    ]
    run_in(namespace, lambda: _run(json.dumps({"nftables": commands})))


def load(namespace: Path | None, text: str) -> None:
    """Run the commands of `text`, which is written as for `nft -f`, as one transaction.

    Raises NftablesError; then nothing has changed.
    """
    run_in(namespace, lambda: _run(text))


def delete(namespace: Path | None, table: str, family: str = OUR_FAMILY) -> None:
    """Take a table away if it is there."""
    identity = {"family": family, "name": table}
    commands = [{"add": {"table": identity}}, {"delete": {"table": identity}}]
    run_in(namespace, lambda: _run(json.dumps({"nftables": commands})))


def read(namespace: Path | None, table: str) -> Ruleset:
    """The chains and rules of `inet <table>` in the form that `apply` takes; [] if there is none.

    Kernel-made handles, counters' values and sets' elements are left out, so that `canonical` of
    what is read equals `canonical` of what was applied. Of a table with flags only these are told:
    it is not what was applied, even if its chains and rules are.
    """

    def listing() -> Ruleset:
        found = [one for one in tables_here() if (one.family, one.name) == (OUR_FAMILY, table)]
        if not found or found[0].flags:
            return [{"table": {"flags": one.flags}} for one in found]
        return _objects(_run(f"list table inet {table}"))

    found = run_in(namespace, listing)
    entries = with_meters([_plain(entry) for entry in found if not _is_table_itself(entry)])
    return [_as_given(entry) for entry in entries]


def _as_given(entry: dict[str, Any]) -> dict[str, Any]:
    """A set without the flag that rules fill it, which libnftables 1.0.6 does not take nor tell;
    later ones tell it, and a single flag without a list."""
    if "set" not in entry:
        return entry
    found = entry["set"].get("flags", [])
    flags = [found] if isinstance(found, str) else found
    return {"set": {**entry["set"], "flags": [flag for flag in flags if flag != "dynamic"]}}


def read_any(table: Table) -> Ruleset:
    """The chains and rules of any program's table, of the namespace that the calling thread is in.

    Of rules that iptables made there is only what libnftables can show. Raises NftablesError, also
    for a table that is gone.
    """
    identity = {"family": table.family, "name": table.name}
    return _objects(_run(json.dumps({"nftables": [{"list": {"table": identity}}]})))


def with_meters(objects: Ruleset) -> Ruleset:
    """Meters in the form that `apply` takes, which all versions of libnftables read.

    From 1.1 on (Debian 13) a listing has each as a set of its own, with the senders of now, and a
    statement that adds to it. Only what is of that form is changed: of a set that has anything else
    to it nothing is left out.
    """
    sets = {item["set"].get("name"): item["set"] for item in objects if "set" in item}
    counting = {name: one for name, one in sets.items() if _counts(one)}
    added: set[str] = set()

    def meter(expression: Any) -> Any:
        adds = expression.get("set") if isinstance(expression, dict) else None
        if not isinstance(adds, dict) or adds.keys() != _ADDS or adds["op"] != "add":
            return expression
        name, statements = str(adds["set"]).removeprefix("@"), adds["stmt"]
        if name not in counting or not isinstance(statements, list) or len(statements) != 1:
            return expression
        added.add(name)
        size = counting[name]["size"]
        return {"meter": {"name": name, "size": size, "key": adds["elem"], "stmt": statements[0]}}

    found = [_rewritten(item, meter) for item in objects]
    return [item for item in found if item.get("set", {}).get("name") not in added]


def _counts(one: dict[str, Any]) -> bool:
    """Whether a set is as a meter makes it, with any content."""
    return one.keys() - {"elem"} == _COUNTING and one["flags"] == ["dynamic"]


def _rewritten(item: dict[str, Any], rewrite: Callable[[Any], Any]) -> dict[str, Any]:
    if "rule" not in item:
        return item
    rule = item["rule"]
    return {"rule": {**rule, "expr": [rewrite(one) for one in rule.get("expr", [])]}}


def _is_table_itself(entry: dict[str, Any]) -> bool:
    """What a listing begins with; one that was made of a table's flags is kept."""
    return "metainfo" in entry or entry.get("table", {}).keys() >= {"name"}


def tables(namespace: Path | None, prefix: str) -> list[str]:
    """The names of the `inet` tables that begin so."""
    found = run_in(namespace, tables_here)
    ours = (one.name for one in found if one.family == OUR_FAMILY)
    return sorted(name for name in ours if name.startswith(prefix))


def _objects(text: str) -> Ruleset:
    """What the library says is there: names and rules of any program. Raises NftablesError."""
    try:
        found = read_json_untrusted(text, limit_bytes=_LISTING_LIMIT_BYTES) if text else {}
    except JsonError as error:
        raise NftablesError(f"what nftables lists cannot be read: {error.message}") from error
    objects: Ruleset = found.get("nftables", []) if isinstance(found, dict) else []
    return objects


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"counter"}:
        return {"counter": None}
    return {key: _plain(item) for key, item in value.items() if key != "handle"}
