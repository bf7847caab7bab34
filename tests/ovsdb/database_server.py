"""A stand-in for ovsdb-server on a unix socket: honest as far as a test wants it to be."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Answer = Callable[[Mapping[str, Any]], Iterator[bytes]]

_WORDS = {"key": "string", "min": 0, "max": 1}
_SET = {"key": "string", "min": 0, "max": "unlimited"}
_MAP = {"key": "string", "value": "string", "min": 0, "max": "unlimited"}
_NUMBER = {"key": "integer", "min": 0, "max": 1}
_NUMBERS = {"key": "integer", "min": 0, "max": 4096}


def rows_of(table: str, most: int | str = 1) -> dict[str, Any]:
    """The type of a column that refers to rows of a table."""
    return {"key": {"type": "uuid", "refTable": table}, "min": 0, "max": most}


def _columns(**types: Any) -> dict[str, Any]:
    return {"columns": {name: {"type": kind} for name, kind in types.items()}}


SCHEMA: dict[str, Any] = {
    "name": "Open_vSwitch",
    "version": "8.3.1",
    "tables": {
        "Open_vSwitch": _columns(
            bridges=rows_of("Bridge", "unlimited"),
            manager_options=rows_of("Manager", "unlimited"),
            ssl=rows_of("SSL"),
            other_config=_MAP,
            external_ids=_MAP,
            next_cfg="integer",
            cur_cfg="integer",
            ovs_version=_WORDS,
        ),
        "Bridge": _columns(
            name="string",
            datapath_type="string",
            datapath_version="string",
            stp_enable="boolean",
            rstp_enable="boolean",
            mcast_snooping_enable="boolean",
            ports=rows_of("Port", "unlimited"),
            mirrors=rows_of("Mirror", "unlimited"),
            netflow=rows_of("NetFlow"),
            sflow=rows_of("sFlow"),
            ipfix=rows_of("IPFIX"),
            controller=rows_of("Controller", "unlimited"),
            protocols=_SET,
            fail_mode=_WORDS,
            status=_MAP,
            other_config=_MAP,
            external_ids=_MAP,
            flood_vlans=_NUMBERS,
            flow_tables={**rows_of("Flow_Table", "unlimited"), "key": "integer"}
            | {"value": {"type": "uuid", "refTable": "Flow_Table"}},
            auto_attach=rows_of("AutoAttach"),
            of_a_later_version="string",
        ),
        "Port": _columns(
            name="string",
            interfaces=rows_of("Interface", "unlimited"),
            trunks=_NUMBERS,
            cvlans=_NUMBERS,
            tag=_NUMBER,
            vlan_mode=_WORDS,
            qos=rows_of("QoS"),
            mac=_WORDS,
            bond_mode=_WORDS,
            lacp=_WORDS,
            bond_updelay="integer",
            bond_downdelay="integer",
            bond_active_slave=_WORDS,
            bond_fake_iface="boolean",
            fake_bridge="boolean",
            protected="boolean",
            statistics=_MAP,
            other_config=_MAP,
            external_ids=_MAP,
        ),
        "Interface": _columns(
            name="string",
            type="string",
            options=_MAP,
            ingress_policing_rate="integer",
            ingress_policing_burst="integer",
            ingress_policing_kpkts_rate="integer",
            ingress_policing_kpkts_burst="integer",
            mac_in_use=_WORDS,
            mac=_WORDS,
            external_ids=_MAP,
            ofport=_NUMBER,
            ofport_request=_NUMBER,
            bfd=_MAP,
            cfm_mpid=_NUMBER,
            lldp=_MAP,
            other_config=_MAP,
            statistics=_MAP,
            mtu=_NUMBER,
            mtu_request=_NUMBER,
            error=_WORDS,
        ),
        "Flow_Sample_Collector_Set": _columns(
            id="integer", bridge={"key": {"type": "uuid", "refTable": "Bridge"}}
        ),
        **{
            table: _columns(name="string")
            for table in (
                *("Manager", "SSL", "Mirror", "NetFlow", "sFlow", "IPFIX", "Controller"),
                *("Flow_Table", "AutoAttach", "QoS"),
            )
        },
    },
}


class Server:
    """Answers every request with what `answer` gives for it, in pieces; a context manager."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._lines: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._lines):
            _end(one)

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return  # the test is over
            self._lines.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        decoder, text = json.JSONDecoder(), ""
        try:
            while data := line.recv(1 << 16):
                text += data.decode()
                while text:
                    request, end = decoder.raw_decode(text)
                    text = text[end:]
                    for piece in self._answer(request):
                        line.sendall(piece)
        except OSError:
            return  # the client has had enough


def _end(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()


def reply(request: Mapping[str, Any], result: Any, error: Any = None) -> bytes:
    """The answer to a request."""
    return json.dumps({"id": request["id"], "result": result, "error": error}).encode()


def honest(rows: Mapping[str, Any]) -> Answer:
    """Gives `SCHEMA` and these rows (table → uuid → columns), as a server of RFC 7047 does."""

    def answer(request: Mapping[str, Any]) -> Iterator[bytes]:
        method, params = request["method"], request["params"]
        if method == "get_schema" and params == ["Open_vSwitch"]:
            yield reply(request, SCHEMA)
        elif method == "monitor":
            wanted = params[2]
            yield reply(request, {table: _seen(rows[table]) for table in wanted if table in rows})
        elif "id" in request:
            yield reply(request, None, {"error": "unknown method"})

    return answer


def _seen(rows: Mapping[str, Any]) -> dict[str, Any]:
    return {uuid: {"new": columns} for uuid, columns in rows.items()}
