"""Cross-checks of the hops: keys, the VPS, and that no chain ends in the clear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.config.rule import problem, rule
from privacy_router.config.values import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privacy_router.config.models import PrivacyRouterConfig
    from privacy_router.config.problems import Problem


def _gateway_key(config: PrivacyRouterConfig) -> Iterator[Problem]:
    gateway = config.wireguard
    if not gateway.zero_config and gateway.private_key_file is None:
        yield problem(
            "wireguard.private_key_file",
            None,
            "the path of the file with the gateway's private key",
            because="wireguard.zero_config is false, so no key is made",
        )
    if gateway.zero_config and gateway.private_key_file is not None:
        yield problem(
            "wireguard.zero_config",
            found=True,
            expected="false when wireguard.private_key_file is given",
            because="otherwise a new key would be made and the file never read",
        )


def _way_out_of_the_gateway(config: PrivacyRouterConfig) -> Iterator[Problem]:
    if config.wireguard.enabled and not (config.warp.enabled or config.xray_enabled):
        yield problem(
            "warp.enabled",
            found=False,
            expected="true, or xray enabled with a VPS address",
            because="with neither, the clients' traffic would leave in the clear by the ISP",
        )


def _vps_known(config: PrivacyRouterConfig) -> Iterator[Problem]:
    if config.xray_enabled and config.vps_address is None:
        yield problem(
            "xray.vps_address",
            None,
            "the host name or the IP address of the VPS",
            because="xray.enabled is true",
        )


def _same_vps(config: PrivacyRouterConfig) -> Iterator[Problem]:
    address, server = config.xray.vps_address, config.vps.xray_server
    if address is not None and server is not None and _canonical(address) != _canonical(server):
        yield problem("vps.xray_server", server, f"{address}, as xray.vps_address says")
    port = config.vps.xray_port
    explicit = "vps_port" in config.xray.model_fields_set
    if explicit and port is not None and port != config.xray.vps_port:
        yield problem("vps.xray_port", port, f"{config.xray.vps_port}, as xray.vps_port says")


def _canonical(host: str) -> str:
    address = parse_address(host)
    return host.lower().removesuffix(".") if address is None else str(address)


def _xray_ports(config: PrivacyRouterConfig) -> Iterator[Problem]:
    xray = config.xray
    if xray.tproxy_port == xray.socks_port:
        yield problem(
            "xray.tproxy_port",
            xray.tproxy_port,
            "another port than xray.socks_port",
            because="both are opened in the same hop",
        )


RULES = (
    rule("wireguard", _gateway_key),
    rule("wireguard warp xray vps", _way_out_of_the_gateway),
    rule("xray vps", _vps_known),
    rule("xray vps", _same_vps),
    rule("xray", _xray_ports),
)
