"""nftables through libnftables' JSON interface, see libnftables-json(5)."""

from __future__ import annotations

import ctypes
import json
from functools import cache
from typing import TYPE_CHECKING, Any

from privacy_router.errors import MachineError, MissingPrerequisiteError
from privacy_router.host.namespaces import run_in

if TYPE_CHECKING:
    from pathlib import Path

Ruleset = list[dict[str, Any]]

_OUTPUT_JSON = 1 << 4
_OUTPUT_STATELESS = 1 << 2


class NftablesError(MachineError):
    """libnftables refused a command."""


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
        library.nft_ctx_output_set_flags(context, _OUTPUT_JSON | _OUTPUT_STATELESS)
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        if library.nft_run_cmd_from_buffer(context, command.encode()) != 0:
            raise NftablesError(library.nft_ctx_get_error_buffer(context).decode().strip())
        return str(library.nft_ctx_get_output_buffer(context).decode())
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


def delete(namespace: Path | None, table: str) -> None:
    """Take table `inet <table>` away if it is there."""
    identity = {"family": "inet", "name": table}
    commands = [{"add": {"table": identity}}, {"delete": {"table": identity}}]
    run_in(namespace, lambda: _run(json.dumps({"nftables": commands})))


def read(namespace: Path | None, table: str) -> Ruleset:
    """The chains and rules of `inet <table>` in the form that `apply` takes; [] if there is none.

    Kernel-made handles and counters' values are left out, so that `canonical` of what is read
    equals `canonical` of what was applied.
    """

    def listing() -> Ruleset:
        if table not in _tables():
            return []
        return _objects(_run(f"list table inet {table}"))

    found = run_in(namespace, listing)
    return [_plain(entry) for entry in found if "chain" in entry or "rule" in entry]


def tables(namespace: Path | None, prefix: str) -> list[str]:
    """The names of the `inet` tables that begin so."""
    return sorted(name for name in run_in(namespace, _tables) if name.startswith(prefix))


def _tables() -> list[str]:
    found = (entry["table"] for entry in _objects(_run("list tables")) if "table" in entry)
    return [str(table["name"]) for table in found if table["family"] == "inet"]


def canonical(objects: Ruleset) -> str:
    """One text for a ruleset, whatever the order of its chains: what comparisons are made on."""
    chains = sorted((item for item in objects if "chain" in item), key=_chain_name)
    rules = [item for item in objects if "rule" in item]
    grouped = sorted(rules, key=lambda item: str(item["rule"]["chain"]))  # stable within a chain
    return json.dumps([*chains, *grouped], sort_keys=True)


def parse(text: str) -> Ruleset:
    """The opposite of `canonical`."""
    objects: Ruleset = json.loads(text)
    return objects


def _chain_name(item: dict[str, Any]) -> str:
    return str(item["chain"]["name"])


def _objects(text: str) -> Ruleset:
    found: Ruleset = json.loads(text)["nftables"] if text else []
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"counter"}:
        return {"counter": None}
    return {key: _plain(item) for key, item in value.items() if key != "handle"}
