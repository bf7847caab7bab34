"""Which ports a flow policy is for, and its template filled in for one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from privacy_router.config.policies import PORT_NAME_PLACEHOLDER, PortNames, parse_selector
from privacy_router.pipeline.notation import FlowRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from privacy_router.config.sections import FlowPolicy

# ours, and those that Proxmox VE makes for network device n of a container: veth{id}i{n}, or with
# its own firewall before it fwln{id}o{n}
_CONTAINER_PORT: Final = re.compile(
    r"internal_([1-9][0-9]{2,8})|(?:veth|fwln)([1-9][0-9]{2,8})[io](0|[1-9][0-9]?)"
)
_PLACEHOLDER: Final = re.compile(r"\{(container_id|port_name|bridge)\}")


@dataclass(frozen=True)
class Filled:
    """A flow of a policy for one port, still as people write flows; `name` is the policy's."""

    name: str
    priority: int
    match_fields: Mapping[str, str | int]
    actions: tuple[str, ...]
    description: str

    def reason(self, port_name: str) -> str:
        """Why the flow is there, in words."""
        return f"policy {self.name} for {port_name}" + (
            f": {self.description}" if self.description else ""
        )


def container_of(port_name: str) -> int | None:
    """The id of the container behind `internal_{id}` or a port of Proxmox's, `veth{id}i{n}` or
    `fwln{id}o{n}`; None for other ports."""
    found = _CONTAINER_PORT.fullmatch(port_name)
    return None if found is None else int(found[1] or found[2])


def network_index_of(port_name: str) -> int | None:
    """Which of its container's network devices a port of Proxmox's is; None for other ports."""
    found = _CONTAINER_PORT.fullmatch(port_name)
    return None if found is None or found[3] is None else int(found[3])


def selects(selector: str, port_name: str) -> bool:
    """Whether a policy with this selector is for that port.

    Raises ValueError for a selector that the configuration would not accept.
    """
    wanted = parse_selector(selector)
    if isinstance(wanted, PortNames):
        return wanted.matches(port_name)
    container_id = container_of(port_name)
    return container_id is not None and wanted.first <= container_id <= wanted.last


def fill(policy: FlowPolicy, *, port_name: str, bridge: str) -> Filled:
    """The template of a policy for one port, its placeholders replaced.

    A template that neither matches in_port nor names {port_name} in its actions is about what the
    port sends: it gets in_port={port_name}. Raises FlowRefusedError when the template speaks of
    {container_id} and the port is not a container's.
    """
    template = policy.template
    container_id = container_of(port_name)
    values = {"port_name": port_name, "bridge": bridge}
    if container_id is not None:
        values["container_id"] = str(container_id)

    def filled(text: str) -> str:
        # In one pass: the name of a port may have braces of its own.
        return _PLACEHOLDER.sub(lambda found: _value(policy, values, found[1]), text)

    fields = {
        name: filled(value) if isinstance(value, str) else value
        for name, value in template.match_fields.items()
    }
    if "in_port" not in fields and not _names_the_port(template.actions):
        fields = {"in_port": port_name, **fields}
    return Filled(
        policy.name,
        template.priority,
        fields,
        tuple(filled(action) for action in template.actions),
        filled(template.description),
    )


def _value(policy: FlowPolicy, values: Mapping[str, str], placeholder: str) -> str:
    if placeholder not in values:
        raise FlowRefusedError(
            f"flow policy {policy.name}: {{{placeholder}}} means nothing for the port "
            f"{values['port_name']}, which is not a container's",
            remedy=f"Select containers only, such as container:*, instead of {policy.selector}.",
        )
    return values[placeholder]


def _names_the_port(actions: tuple[str, ...]) -> bool:
    return any(PORT_NAME_PLACEHOLDER in action for action in actions)
