"""The comparison's own sums: marks counted exactly, tables and charts, and what the programs are asked."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.server.schema import TOOLS, properties

from .comparison import MARKERS, Row, Tally, chart, longest_rise, put, table, tally
from .rivals import ALL, Cell, CollabAgent, JupyterMcpServer, McpJupyter, Nb, Request

MARKS = "一丁丂七丄"


@pytest.mark.parametrize(
    ("sources", "lost", "displaced", "doubled"),
    [
        (["x = 1", f"# notes: {MARKS}\nstep = 1"], 0, 0, 0),
        ([f"# notes: {MARKS[:2]} and {MARKS[2:]}"], 0, 0, 0),
        ([f"# notes: {MARKS[:3]}"], 2, 0, 0),
        ([f"{MARKS[3:]}# notes: {MARKS[:3]}\nstep = 1"], 0, 2, 0),
        ([f"# notes: {MARKS[:3]}\nstep = 1{MARKS[3]}", f"{MARKS[4]}"], 0, 2, 0),
        ([f"# notes: {MARKS[1]}{MARKS[0]}{MARKS[2:]}"], 0, 1, 0),
        ([f"# notes: {MARKS}", f"# notes: {MARKS[:2]}"], 0, 0, 2),
        ([""], 5, 0, 0),
    ],
)
def test_every_mark_is_in_its_place_or_lost_or_displaced_or_doubled(
    sources: list[str], lost: int, displaced: int, doubled: int
) -> None:
    assert tally(list(MARKS), sources, "# notes: ") == Tally(5, lost, displaced, doubled)


@given(st.lists(st.integers(0, 20)))
def test_the_longest_rise_is_one_and_is_the_longest(numbers: list[int]) -> None:
    best = [0] * len(numbers)
    for end, last in enumerate(numbers):
        best[end] = 1 + max((best[begin] for begin in range(end) if numbers[begin] < last), default=0)
    assert longest_rise(numbers) == max(best, default=0)


ROWS = [
    Row("edit", "ms", {"ours": 4.0, "a <b>": 40.0, "c": None}),
    Row("lost", "", {"ours": 0, "a <b>": 7, "c": 0}, exact=True),
]


def test_the_table_has_every_value_and_how_many_times_ours_it_is() -> None:
    assert table(ROWS, ["ours", "a <b>", "c"]).splitlines()[2:] == [
        "| edit, ms | 4.0 | 40 (10x) | none |",
        "| lost | 0 | 7 | 0 |",
    ]


def test_the_chart_is_sound_xml_with_a_bar_for_each_program() -> None:
    drawn = ElementTree.fromstring(chart(ROWS, ["ours", "a <b>", "c"], "A & B"))
    bars = list(drawn.iter("{http://www.w3.org/2000/svg}rect"))[1:]
    assert len(bars) == 6
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert widths[1] == pytest.approx(10 * widths[0], abs=1)
    assert (widths[2], widths[3]) == (0, 0)


def test_a_page_keeps_what_stands_around_the_table() -> None:
    begin, end = MARKERS
    page = f"# Title\n\n{begin}\nold\n{end}\n\nNotes.\n"
    once = put(page, "| new |")
    assert once == f"# Title\n\n{begin}\n\n| new |\n\n{end}\n\nNotes.\n"
    assert put(once, "| new |") == once
    with pytest.raises(ValueError, match="measured"):
        put("# Title\n", "| new |")


def test_our_own_requests_are_ones_that_our_tools_take() -> None:
    ours, cell = CollabAgent(), Cell("a1f9", 2, "x = 1")
    schemas = {tool.name: properties(tool) for tool in TOOLS}
    asked = [
        ours.open("a.ipynb", "http://x/"),
        ours.leave("a.ipynb"),
        ours.overview("a.ipynb"),
        ours.read_all("a.ipynb"),
        ours.read("a.ipynb", cell),
        ours.insert("a.ipynb", cell, "y = 2"),
        ours.edit("a.ipynb", cell, "1", "2"),
        ours.run("a.ipynb", cell),
    ]
    for request in asked:
        assert request.arguments.keys() <= schemas[request.tool].keys()


def test_a_request_counts_as_the_text_that_a_model_writes() -> None:
    assert Request("read_cell", {"cell_id": "é"}).text() == 'read_cell{"cell_id":"é"}'
    assert Request(argv=("read", "a.ipynb")).text() == "nb read a.ipynb"


def test_a_source_is_found_in_each_programs_answer() -> None:
    source = "# notes: 一\nstep = 1\nprint(step)"
    answers = {
        CollabAgent: "#2 a1f9 code [ ]\n 1│# notes: 一\n 2│step = 1\n 3│print(step)",
        JupyterMcpServer: f"=====Cell 1 | type: code | execution count: N/A=====\n{source}",
        McpJupyter: '{"cell_type": "code", "source": "# notes: 一\\nstep = 1\\nprint(step)"}',
        Nb: f'@@notebook {{}}\n\n@@cell {{"index":1}}\n```python\n{source}\n```\n\n@@output {{}}\n```text\n2\n```\n',
    }
    assert {type(each).__name__: each.source(answers[type(each)]) for each in ALL} == {
        kind.__name__: source for kind in answers
    }


def test_the_page_of_the_comparison_has_a_place_for_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text("utf-8")
    assert [page.count(marker) for marker in MARKERS] == [1, 1]
