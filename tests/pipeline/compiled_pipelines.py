"""Compiled pipelines to look at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from privacy_router.config import parse_document
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.pipeline.compile import Pipeline
from privacy_router.pipeline.mesh import MeshPort, expected_ports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.chain.order import Segment
    from privacy_router.config import PrivacyRouterConfig
    from privacy_router.pipeline.flow import Program

VPS = {"vps_address": "192.0.2.9"}
HOP_SETS: dict[str, dict[str, Any]] = {
    "gateway-warp-xray": {"xray": VPS},
    "gateway-warp": {},
    "gateway-xray": {"xray": VPS, "warp": {"enabled": False}},
    "warp-xray": {"xray": VPS, "wireguard": {"enabled": False}},
}
SEED_SECTIONS = HOP_SETS["gateway-warp-xray"]
MESH: dict[str, Any] = {
    "netmaker": {"enabled": True},
    "containers": [
        {"id": 200, "name": "vector-db", "container_type": "vector_db"},
        {"id": 201, "name": "bucket-storage", "container_type": "bucket_storage"},
    ],
}
FUNCTIONS = [
    {
        "function": "vector_db",
        "target_socket": "internal_200",
        "match_fields": {"tcp_dst": "8080"},
    }
]


@dataclass(frozen=True)
class Compiled:
    """A pipeline, the ports it was compiled for, and what came out."""

    config: PrivacyRouterConfig
    segment: Segment
    pipeline: Pipeline
    ports: Mapping[str, MeshPort]
    program: Program

    def number(self, port: str) -> int:
        """The OpenFlow number of a port."""
        hops = {station.port: station.ofport for station in self.segment.stations}
        return hops[port] if port in hops else self.ports[port].ofport

    def mac(self, port: str) -> str:
        """The MAC behind a port."""
        hops = {station.port: station.mac for station in self.segment.stations}
        return hops[port] if port in hops else self.ports[port].mac


def compiled(**sections: Any) -> Compiled:
    """The pipeline of a configuration with these sections, and its expected ports."""
    return _compiled(json.dumps(sections, sort_keys=True))


@cache
def _compiled(sections: str) -> Compiled:
    document = {"version": 1, "plugins": {"privacy_router": json.loads(sections)}}
    config = parse_document(json.dumps(document), "test").config
    segment = CATALOGUE.segment(config)
    pipeline = Pipeline(config, segment)
    ports = expected_ports(config)
    return Compiled(config, segment, pipeline, ports, pipeline.compile(ports))
