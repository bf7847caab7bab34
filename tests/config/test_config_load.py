"""Reading documents: bad files, bad text, secrets, and anything at all."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy_router.config import (
    ConfigError,
    Document,
    load,
    load_document,
    parse_document,
    validation,
)
from privacy_router.errors import ExitCode, StorageError

AFTER_A_COMMA = (
    "line 1, column 14; expected no comma before the closing bracket"
    if sys.version_info >= (3, 13)  # which has an error of its own for it
    else "line 1, column 15; expected a key in double quotes"
)
SEED: dict[str, Any] = json.loads((Path(__file__).parent / "seed.json").read_text("utf-8"))
PRIVATE_KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
HEX_KEY = "c8f3b1" * 10 + "77aa"
UUID = "b831381d-6324-4d53-ad4f-8cda48b30811"


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_text(json.dumps(SEED), encoding="utf-8")
    assert load_document(path) == Document.model_validate(SEED)


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_text(json.dumps(SEED), encoding="utf-8-sig")
    assert load_document(path).version == 1


def test_relative_paths_start_at_the_document(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    warp = {"wgcf_config": "wgcf-profile.conf"}
    gateway = {"private_key_file": "/etc/gateway.key", "zero_config": False}
    part = {"warp": warp, "wireguard": gateway}
    path.write_text(json.dumps({"version": 1, "plugins": {"privacy_router": part}}), "utf-8")
    config = load_document(path).config
    assert config.warp.wgcf_config == tmp_path / "wgcf-profile.conf"
    assert config.wireguard.private_key_file == Path("/etc/gateway.key")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file") as caught:
        load_document(tmp_path / "none.json")
    assert "privacy-router init" in caught.value.remedy
    assert caught.value.exit_code == ExitCode.STORAGE


def test_a_directory_is_not_a_document(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="this is a directory"):
        load_document(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "file.json/inside"])
def test_names_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").touch()
    with pytest.raises(StorageError) as caught:
        load_document(tmp_path / name)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found an empty document; expected a JSON object"),
        (b" \n", "found an empty document"),
        (b'{"version": "\xff"}', "byte 0xff at offset 13; expected text in UTF-8"),
        (b"{" + b" " * (8 * 1024 * 1024), "found more than 8 MiB"),
        (b"[" * 200_000, "levels of nesting"),
        (b"[]", "found a list with 0 entries; expected an object"),
        (b"null", "found null; expected an object"),
        (b'{"version": 1,}', AFTER_A_COMMA),
        (b"{'version': 1}", "expected a key in double quotes"),
        (b'{"version": 1} x', "line 1, column 16; expected nothing after the end"),
        (b'{"version": NaN}', "version: found NaN; expected 1"),
        (b'{"version": 1e999}', "version: found Infinity; expected 1"),
        (b'{"version": ' + b"1" * 5000 + b"}", "version: found Infinity; expected 1"),
        (b'{"version": 1, "version": 1}', "version: found this key more than once"),
    ],
)
def test_bad_content(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_document(path)
    assert words in str(caught.value)
    assert caught.value.exit_code == ExitCode.INVALID_CONFIG


def test_a_syntax_error_points_at_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document('{\n  "version": 1\n  "plugins": {}\n}', "node.json")
    line, caret = caught.value.problems[0].excerpt.splitlines()
    assert line == '  "plugins": {}'
    assert line[caret.index("^")] == '"'


def test_a_syntax_error_in_a_very_long_line_shows_the_part_that_matters() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document('{"a": "' + "x y" * 5000 + '" oops, "b": 1}', "node.json")
    line, caret = caught.value.problems[0].excerpt.splitlines()
    assert line[caret.index("^") :].startswith("oops")
    assert len(line) <= 72


def test_a_repeated_key_is_named_by_its_path_and_hides_nothing_else() -> None:
    text = """{"version": 1, "plugins": {"privacy_router": {
        "containers": [{"id": 200, "id": 201, "name": "a", "container_type": "a"}],
        "warp": {"mtu": 1}}}}"""
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "node.json")
    assert [problem.path for problem in caught.value.problems] == [
        "plugins.privacy_router.containers[0].id",
        "plugins.privacy_router.warp.mtu",
    ]


def test_odd_keys_are_quoted_in_paths() -> None:
    text = '{"version": 1, "plugins": {"privacy_router": {"a.b\\u202e": 1}}}'
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "node.json")
    assert caught.value.problems[0].path == 'plugins.privacy_router["a.b\\u202e"]'


def test_long_values_are_cut_off() -> None:
    text = json.dumps({"version": "no " * 100_000, "plugins": {"privacy_router": {}}})
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "node.json")
    assert len(caught.value.problems[0].found) <= 80


def test_thousands_of_problems_stay_readable() -> None:
    part = {f"unknown {number}": 1 for number in range(5000)}
    with pytest.raises(ConfigError) as caught:
        parse_document(json.dumps({"version": 1, "plugins": {"privacy_router": part}}), "node.json")
    assert len(caught.value.problems) == 100
    assert str(caught.value).endswith("… and 4950 more")


def refusal(privacy_router: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_document(
            json.dumps({"version": 1, "plugins": {"privacy_router": privacy_router}}), "node.json"
        )
    return caught.value


def container(number: int, name: str) -> dict[str, object]:
    return {"id": number + 100, "name": name, "container_type": "lxc"}


@pytest.mark.parametrize(
    ("part", "path", "found"),
    [
        (
            {"containers": [container(n, "a name") for n in range(100_000)]},
            "plugins.privacy_router.containers",
            "a list with 100000 entries",
        ),
        ({f"key{n}": 1 for n in range(150_000)}, "plugins.privacy_router", "150000 keys"),
        (
            {f"key{n}": [1] * 5000 for n in range(100)},
            "(document)",
            "more than 200000 values",
        ),
    ],
)
def test_a_document_of_too_much_is_refused_before_it_is_judged(
    monkeypatch: pytest.MonkeyPatch, part: object, path: str, found: str
) -> None:
    """3.8 MB with 150,000 bad names blocked the event loop for seconds."""
    monkeypatch.setattr(load, "validate", None)
    (problem,) = refusal(part).problems
    assert problem.path == path
    assert found in problem.found


def test_of_many_wrong_entries_the_first_are_described_and_the_others_counted() -> None:
    names = ["good" if number < 2000 else "a name" for number in range(4000)]
    error = refusal({"containers": [container(n, name) for n, name in enumerate(names)]})
    assert len(error.problems) == 100
    assert error.more == 2000 - 100
    assert error.problems[0].path == "plugins.privacy_router.containers[2000].name"


def test_of_early_wrong_entries_only_the_first_of_the_document_are_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[int] = []
    described = validation._telling

    def counting(details: list[object]) -> object:
        built.append(len(details))
        return described(details)  # type: ignore[arg-type]

    monkeypatch.setattr(validation, "_telling", counting)
    error = refusal({"containers": [container(n, "a name") for n in range(4000)]})
    assert (len(error.problems), error.more) == (100, 3900)
    assert built[0] <= 1000


def test_deep_nesting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 1_000_000)
    with pytest.raises(ConfigError, match="32 levels of nesting"):
        load_document(path)


@pytest.mark.parametrize("secret", [PRIVATE_KEY, PRIVATE_KEY[:-1], HEX_KEY, UUID])
@pytest.mark.parametrize(
    "part",
    [
        '{"wireguard": {"private_key_file": %s, "zero_config": false, "mtu": 1}}',
        '{"wireguard": {"private_key": %s}}',
        '{"wireguard": %s}',
        '{"bridge_name": %s}',
        '{"warp": {"api_url": %s}}',
        '{"containers": [%s]}',
        '{"openflow": {"privacy_flows": [{"match_fields": {"in_port": %s}, "actions": ["drop"]}]}}',
        '{"xray": {"fingerprint": %s}}',
        "{%s: 1}",
        '{"bridge_name": %s "x"}',
    ],
)
def test_secrets_are_never_repeated(part: str, secret: str) -> None:
    text = '{"version": 1, "plugins": {"privacy_router": ' + part % json.dumps(secret) + "}}"
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "node.json")
    assert secret not in str(caught.value)
    assert secret not in repr(caught.value.problems)
    # A traceback would show the exceptions behind this one.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20)
    | st.sampled_from(["internal_100", "warp0", "10.0.0.0/8", "::/0", "output:warp0", "[key]"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["enabled", "id", "name", "in_port"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place of a JSON value."""
    children: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [path, *(p for key, child in children for p in places(child, (*path, key)))]


def read_or_refuse(text: str) -> None:
    try:
        document = parse_document(text, "node.json")
    except ConfigError as error:
        assert error.problems
        str(error).encode()
    else:
        again = parse_document(document.model_dump_json(), "again.json")
        assert again == document


@given(st.text(max_size=60) | json_values.map(json.dumps))
def test_any_text_is_read_or_refused(text: str) -> None:
    read_or_refuse(text)


@given(st.lists(st.tuples(st.sampled_from(places(SEED)), json_values), min_size=1, max_size=3))
@settings(max_examples=200)
def test_the_seed_with_anything_anywhere_is_read_or_refused(
    changes: list[tuple[tuple[str | int, ...], Any]],
) -> None:
    document: Any = copy.deepcopy(SEED)
    for path, value in changes:
        place = document
        for key in path[:-1]:
            inside = isinstance(place, dict) and key in place
            inside = inside or (isinstance(place, list) and isinstance(key, int))
            if not inside or (isinstance(place, list) and int(key) >= len(place)):
                break
            place = place[key]
        if path and isinstance(place, dict):
            place[str(path[-1])] = value
        elif not path:
            document = value
    read_or_refuse(json.dumps(document))
