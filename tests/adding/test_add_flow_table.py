"""The list "Add a flow table" of CONTRIBUTING.md, followed to the letter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.adding.checkout import Checkout, files_of_list

if TYPE_CHECKING:
    from pathlib import Path

MODULE: Final = '''"""The table that a test adds: packets lose their DSCP mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy_router.openflow import set_field
from privacy_router.pipeline.allocation import Layer
from privacy_router.pipeline.flow import Flow
from privacy_router.pipeline.terms import VERSIONS, goto, ip

if TYPE_CHECKING:
    from collections.abc import Iterator


def cleared() -> Iterator[Flow]:
    """Every packet goes on without a mark."""
    for version in VERSIONS:
        onward = goto("conntrack", set_field("ip_dscp", 0))
        yield Flow("dscp", 100, ip(version), onward, Layer.OBFUSCATION, "pipeline", "no DSCP mark")
'''
DECLARATION: Final = """    Table(
        "dscp",
        "Packets lose their DSCP mark.",
        miss=None,
        onward=("conntrack",),
    ),
    Table(
        "conntrack",
"""
WALK: Final = """
from pathlib import Path
from privacy_router.hops.catalogue import CATALOGUE
from privacy_router.config import load_document
from privacy_router.pipeline.compile import Pipeline
from privacy_router.pipeline.mesh import expected_ports
config = load_document(Path("examples/seed.json")).config
pipeline = Pipeline(config, CATALOGUE.segment(config))
program = pipeline.compile(expected_ports(config))
flows = [flow for flow in program.flows if flow.table == "dscp"]
print(len(flows), sorted({flow.reason for flow in flows}))
"""


def followed(directory: Path) -> Checkout:
    """A checkout after the list."""
    checkout = Checkout(directory)
    pipeline = "src/privacy_router/pipeline"
    checkout.add(f"{pipeline}/dscp.py", MODULE)
    checkout.edit(f"{pipeline}/tables.py", '    Table(\n        "conntrack",\n', DECLARATION)
    checkout.edit(
        f"{pipeline}/tables.py",
        'miss="conntrack",\n        onward=("conntrack",),',
        'miss="dscp",\n        onward=("dscp",),',
    )
    checkout.edit(f"{pipeline}/security.py", '*goto("conntrack")', '*goto("dscp")')
    checkout.edit(
        f"{pipeline}/compile.py",
        "            *tracking.states(),\n",
        "            *tracking.states(),\n            *dscp.cleared(),\n",
    )
    checkout.edit(f"{pipeline}/compile.py", "    classify,\n", "    classify,\n    dscp,\n")
    return checkout


def test_a_table_that_follows_the_list_is_compiled(tmp_path: Path) -> None:
    done = followed(tmp_path).python(WALK)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 ['drop on a miss', 'no DSCP mark']\n"


def test_the_list_names_each_file_to_touch(tmp_path: Path) -> None:
    named = {name.replace("<table>", "dscp") for name in files_of_list("a flow table")}
    assert followed(tmp_path).touched <= named


def test_a_step_that_is_left_out_is_told(tmp_path: Path) -> None:
    """Here the declaration of the table before it, which may not lead there then."""
    checkout = followed(tmp_path)
    checkout.edit(
        "src/privacy_router/pipeline/tables.py",
        'miss="dscp",\n        onward=("dscp",),',
        'miss="conntrack",\n        onward=("conntrack",),',
    )
    done = checkout.python(WALK)
    assert done.returncode != 0
    assert "PipelineError" in done.stderr
    assert "rates" in done.stderr
