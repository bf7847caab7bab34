"""docs/pipeline.md and its picture: what the declarations say now, whole, and fit to be read."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from privacy_router.config import parse_document
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.pipeline.compile import Pipeline
from privacy_router.pipeline.document import pipeline_document
from privacy_router.pipeline.flow_rows import naming_of, rows_of
from privacy_router.pipeline.mesh import expected_ports
from privacy_router.pipeline.picture import pipeline_picture
from privacy_router.pipeline.tables import TABLES

ROOT = Path(__file__).parents[2]
SEED = json.loads((ROOT / "examples/seed.json").read_text())["plugins"]["privacy_router"]
POLICY = {
    "name": "no-mail",
    "selector": "container:*",
    "template": {
        "match_fields": {"in_port": "{port_name}", "tcp_dst": "25"},
        "actions": ["drop"],
    },
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "seed": SEED,
    "nothing said": {},
    "no security flows": {**SEED, "openflow": {"enable_security_flows": False}},
    "no flows": {**SEED, "openflow": {"enabled": False}},
    "no rates": {**SEED, "openflow": {"rates": dict.fromkeys(("arp", "icmp", "syn", "dns"))}},
    "a policy": {**SEED, "openflow": {"flow_policies": [POLICY]}},
}


def pipeline_of(sections: dict[str, Any]) -> Pipeline:
    document = {"version": 1, "plugins": {"privacy_router": sections}}
    config = parse_document(json.dumps(document), "test").config
    return Pipeline(config, CATALOGUE.segment(config))


@pytest.mark.parametrize("name", ["pipeline.md", "pipeline.svg"])
def test_the_files_are_what_the_declarations_say_now(name: str) -> None:
    texts = runpy.run_path(str(ROOT / "docs/write_pipeline.py"))["texts"]()
    there = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert there == texts[name], "run `make docs`"


@pytest.mark.parametrize("sections", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_every_flow_is_in_one_row(sections: dict[str, Any]) -> None:
    pipeline = pipeline_of(sections)
    ports = expected_ports(pipeline.config)
    flows = pipeline.compile(ports).flows
    rows = rows_of(flows, naming_of(pipeline.segment, ports, {}))
    assert sum(row.flows for row in rows) == len(flows)
    for table in TABLES:
        of_table = [row for row in rows if row.table == table.name]
        priorities = [row.priority for row in of_table]
        assert priorities == sorted(priorities, reverse=True)
        assert sum(row.flows for row in of_table) == sum(f.table == table.name for f in flows)


@pytest.mark.parametrize("sections", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_the_page_is_whole(sections: dict[str, Any]) -> None:
    page = pipeline_document(pipeline_of(sections))
    for number, table in enumerate(TABLES):
        assert f"\n### {number} {table.name}\n" in page
        assert f"](#{number}-{table.name})" in page
    grids = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    for grid in grids:
        assert len({line.count("|") for line in grid.splitlines()}) == 1, grid
    assert page.endswith(".\n")


def test_ports_are_said_once_and_not_by_their_made_up_numbers() -> None:
    page = pipeline_document(pipeline_of(SEED))
    assert page.count("tcp_flags=+syn-ack") == 1
    assert "each port" in page
    assert "02:00:00:00:00" not in page
    assert "10.103.0.200" not in page
    assert "bad source" in page
    assert "169.254.0.0/16" in page


def test_policies_and_functions_name_their_keys() -> None:
    page = pipeline_document(pipeline_of(CONFIGURATIONS["a policy"]))
    assert "`openflow.flow_policies[0]`" in page
    assert "each container's port" in page


# --- the picture ---------------------------------------------------------------------------------


def drawn() -> ET.Element:
    return ET.fromstring(pipeline_picture())  # noqa: S314 - it was written a moment ago


def texts_of(picture: ET.Element) -> list[ET.Element]:
    return list(picture.iter("{http://www.w3.org/2000/svg}text"))


def test_the_picture_names_every_table_with_its_number_and_what_a_miss_does() -> None:
    picture = drawn()
    words = [element.text or "" for element in texts_of(picture)]
    for number, table in enumerate(TABLES):
        assert f"{number}  {table.name}" in words
    assert words.count("miss: drop") == sum(table.miss is None for table in TABLES)
    assert {f"miss: on to {table.miss}" for table in TABLES if table.miss} <= set(words)
    assert words.count("out by a port") == sum(table.sends for table in TABLES)
    arrows = picture.findall("{http://www.w3.org/2000/svg}path")
    ways = sum(len(table.onward) + table.sends for table in TABLES)
    assert len(arrows) == ways + 2  # the way in, and the one in the key


def test_nothing_is_outside_of_the_picture_or_in_anothers_box() -> None:
    picture = drawn()
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    for element in texts_of(picture):
        assert 0 < float(element.attrib["x"]) < width
        assert 0 < float(element.attrib["y"]) < height - 10
    boxes = [
        tuple(float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        for rect in picture.findall("{http://www.w3.org/2000/svg}rect")
        if rect.attrib.get("rx") == "9"
    ]
    assert len(boxes) == len(TABLES)
    for number, (x, y, wide, high) in enumerate(boxes):
        for other_x, other_y, other_wide, other_high in boxes[number + 1 :]:
            apart = x + wide < other_x or other_x + other_wide < x
            assert apart or y + high < other_y or other_y + other_high < y
