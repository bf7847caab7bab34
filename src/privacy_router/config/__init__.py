"""The document of a node: typed models, loading with all problems at once, cross-checks, schema."""

from privacy_router.config.checks import check, check_host
from privacy_router.config.example import default_document
from privacy_router.config.load import load_document, parse_document, read_text
from privacy_router.config.models import (
    Document,
    HopName,
    Plugins,
    PrivacyConfig,
    PrivacyRouterConfig,
    node_of,
    sections_of,
)
from privacy_router.config.notes import notes
from privacy_router.config.problems import ConfigError, Problem
from privacy_router.config.schema import json_schema
from privacy_router.config.sections import (
    ContainerConfig,
    FlowPolicy,
    FlowTemplate,
    FunctionRoute,
    MeshSocket,
    NetmakerConfig,
    OpenFlowConfig,
    PrivacyFlow,
    PrivacySocket,
    RateLimits,
    SocketNetworkingConfig,
    VpsConfig,
    WarpConfig,
    WireGuardConfig,
    XrayConfig,
    socket_name,
)

__all__ = [
    "ConfigError",
    "ContainerConfig",
    "Document",
    "FlowPolicy",
    "FlowTemplate",
    "FunctionRoute",
    "HopName",
    "MeshSocket",
    "NetmakerConfig",
    "OpenFlowConfig",
    "Plugins",
    "PrivacyConfig",
    "PrivacyFlow",
    "PrivacyRouterConfig",
    "PrivacySocket",
    "Problem",
    "RateLimits",
    "SocketNetworkingConfig",
    "VpsConfig",
    "WarpConfig",
    "WireGuardConfig",
    "XrayConfig",
    "check",
    "check_host",
    "default_document",
    "json_schema",
    "load_document",
    "node_of",
    "notes",
    "parse_document",
    "read_text",
    "sections_of",
    "socket_name",
]
