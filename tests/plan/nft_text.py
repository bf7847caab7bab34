"""An nftables ruleset in the notation of nft(8), from libnftables' JSON: for people to read.

Every expression that the plan uses has its text here; one that has none raises, so that nothing is
left out of what a reviewer reads. tests/e2e/test_goldens.py has nftables itself read the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from privacy_router.values.rulesets import Ruleset

_INDENT: Final = "    "


def ruleset_text(table: str, objects: Ruleset) -> str:
    """The table as `nft -f` takes it."""
    lines = [f"table inet {table} {{"]
    for one in objects:
        if "set" in one:
            lines += _indented(_set(one["set"]))
    for one in objects:
        if "chain" in one:
            rules = [o["rule"] for o in objects if "rule" in o]
            mine = [rule for rule in rules if rule["chain"] == one["chain"]["name"]]
            lines += _indented(_chain(one["chain"], mine))
    return "\n".join([*lines, "}", ""])


def _indented(lines: list[str]) -> list[str]:
    return [f"{_INDENT}{line}" for line in lines]


def _set(content: dict[str, Any]) -> list[str]:
    return [
        f"set {content['name']} {{",
        f"{_INDENT}type {' . '.join(content['type'])}",
        f"{_INDENT}size {content['size']}",
        f"{_INDENT}flags dynamic,{','.join(content['flags'])}",
        f"{_INDENT}timeout {content['timeout']}s",
        "}",
    ]


def _chain(content: dict[str, Any], rules: list[dict[str, Any]]) -> list[str]:
    hook = f"type {content['type']} hook {content['hook']} priority {content['prio']}"
    return [
        f"chain {content['name']} {{",
        f"{_INDENT}{hook}; policy {content['policy']};",
        *(f"{_INDENT}{' '.join(map(expression_text, rule['expr']))}" for rule in rules),
        "}",
    ]


def expression_text(expression: Any) -> str:
    """One expression or statement. Raises KeyError for one that has no text here."""
    if isinstance(expression, list):
        return ",".join(map(expression_text, expression))
    if not isinstance(expression, dict):
        return str(expression)
    ((kind, content),) = expression.items()
    return _TEXTS[kind](content)


def _match(content: dict[str, Any]) -> str:
    left, right = content["left"], content["right"]
    operator = {"==": "", "in": "", "!=": "!= "}[content["op"]]
    quoted = "meta" in left and "ifname" in left["meta"]["key"]
    value = f'"{right}"' if quoted else expression_text(right)
    return f"{expression_text(left)} {operator}{value}"


def _payload(content: dict[str, Any]) -> str:
    return f"{content['protocol']} {content['field']}"


def _meta(content: dict[str, Any]) -> str:
    unqualified = content["key"] in ("iifname", "oifname")
    return str(content["key"]) if unqualified else f"meta {content['key']}"


def _fib(content: dict[str, Any]) -> str:
    return f"fib {' . '.join(content['flags'])} {content['result']}"


def _mangle(content: dict[str, Any]) -> str:
    return f"{expression_text(content['key'])} set {content['value']}"


def _tproxy(content: dict[str, Any]) -> str:
    address = f"[{content['addr']}]" if content["family"] == "ip6" else content["addr"]
    return f"tproxy {content['family']} to {address}:{content['port']}"


def _limit(content: dict[str, Any]) -> str:
    over = "over " * content["inv"]
    rate = f"{content['rate']}/{content['per']}"
    return f"limit rate {over}{rate} burst {content['burst']} packets"


def _meter(content: dict[str, Any]) -> str:
    head = f"meter {content['name']} size {content['size']}"
    return f"{head} {{ {expression_text(content['key'])} {expression_text(content['stmt'])} }}"


def _change_of_set(content: dict[str, Any]) -> str:
    return f"{content['op']} {content['set']} {{ {expression_text(content['elem'])} }}"


_TEXTS: Final[dict[str, Callable[[Any], str]]] = {
    "accept": lambda _: "accept",
    "drop": lambda _: "drop",
    "masquerade": lambda _: "masquerade",
    "concat": lambda parts: " . ".join(map(expression_text, parts)),
    "prefix": lambda prefix: f"{prefix['addr']}/{prefix['len']}",
    "ct": lambda content: f"ct {content['key']}",
    "ct count": lambda content: f"ct count {'over ' * content['inv']}{content['val']}",
    "match": _match,
    "payload": _payload,
    "meta": _meta,
    "fib": _fib,
    "mangle": _mangle,
    "tproxy": _tproxy,
    "limit": _limit,
    "meter": _meter,
    "set": _change_of_set,
}
