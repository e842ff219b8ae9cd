"""Views as text for a model: the contract's line forms, what counts as shown, and what is left out."""

from __future__ import annotations

import base64
import re

import pytest

from collab_agent.errors import InvalidEdit
from collab_agent.notebook.model import CellView, NotebookView, OutputSource, OutputView
from collab_agent.notebook.render import cells, outline, output_summary, outputs, search
from collab_agent.notebook.seen import Seen

PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
    + (640).to_bytes(4, "big")
    + (480).to_bytes(4, "big")
    + b"\x08\x06\x00\x00\x00"
).decode()
CELLS = (
    CellView("intro-00", "markdown", "# Penguins"),
    CellView("a1f9c3d4", "code", "import pandas as pd\ndf = pd.read_csv('p.csv')\ndf.plot()", 12),
    CellView("b2c3d4e5", "code", "1 / 0", execution_count=13),
    CellView("c4d5e6f7", "code", "train()", running=True),
    CellView("d6e7f8a9", "markdown", "<a id='x'></a>\n\n## Results\ntext"),
    CellView("e8f9a0b1", "code", ""),
)
VIEW = NotebookView(CELLS, "study/demo.ipynb", "python")


def stream(text: str, name: str = "stdout") -> OutputView:
    return OutputView("stream", name=name, text=text)


def display(**data: object) -> OutputView:
    return OutputView("display_data", data={key.replace("__", "/"): value for key, value in data.items()})


ERROR = OutputView(
    "error",
    ename="ZeroDivisionError",
    evalue="division by zero",
    traceback=(
        "\x1b[31m---------\x1b[0m",
        "\x1b[0;32m----> 1\x1b[0m 1 / 0",
        "ZeroDivisionError: division by zero",
    ),
)
FIGURE = display(image__png=PNG, text__plain="<Figure size 640x480 with 1 Axes>")
OUTPUTS = {"a1f9c3d4": (stream("read 344 rows\n"), FIGURE), "b2c3d4e5": (ERROR,), "c4d5e6f7": ()}


def source_of(by_cell: dict[str, tuple[OutputView, ...]]) -> OutputSource:
    return lambda cell_id: by_cell.get(cell_id, ())


LOAD = source_of(OUTPUTS)


def one(*found: OutputView, offset: int = 0, limit: int | None = None, budget: int = 8_000) -> str:
    """The text of these outputs of one cell."""
    load = source_of({"a1f9c3d4": found})
    return outputs(VIEW, ["a1f9c3d4"], load, Seen(), offset=offset, limit=limit, budget=budget).text


# -- outline


def test_an_outline_is_a_line_per_cell_in_the_contract_s_form() -> None:
    assert outline(VIEW, LOAD, Seen()).split("\n") == [
        "study/demo.ipynb: 6 cells, python",
        "#1 intr markdown [ ] 1 line: # Penguins",
        "#2 a1f9 code [12] 3 lines: import pandas as pd → text, image/png",
        "#3 b2c3 code [13] 1 line: 1 / 0 → error ZeroDivisionError",
        "#4 c4d5 code [*] 1 line: train()",
        "#5 d6e7 markdown [ ] 4 lines: <a id='x'></a> … ## Results",
        "#6 e8f9 code [ ] 0 lines",
    ]


def test_an_outline_counts_cells_of_one_uncut_line_as_shown() -> None:
    long = CellView("f0000000", "code", "x = '" + "y" * 100 + "'")
    seen = Seen()
    text = outline(NotebookView((*CELLS, long)), LOAD, seen)
    assert set(seen.texts) == {"intro-00", "b2c3d4e5", "c4d5e6f7", "e8f9a0b1"}
    assert "y" * 60 in text
    assert "y" * 90 not in text
    assert seen.order == tuple(cell.id for cell in (*CELLS, long))


def test_an_outline_pages_through_cells_and_loads_only_the_outputs_it_shows() -> None:
    loaded: list[str] = []

    def load(cell_id: str) -> tuple[OutputView, ...]:
        loaded.append(cell_id)
        return ()

    text = outline(VIEW, load, Seen(), offset=1, limit=2)
    assert [line[:7] for line in text.split("\n")[1:3]] == ["#2 a1f9", "#3 b2c3"]
    assert text.endswith('… #4 to #6 not shown; query_notebook(query="outline", offset=3)')
    assert loaded == ["a1f9c3d4", "b2c3d4e5"]


def test_an_outline_that_is_cut_says_when_the_numbers_of_an_earlier_page_changed() -> None:
    seen = Seen()
    outline(VIEW, LOAD, seen, limit=3)
    moved = NotebookView((CELLS[-1], *CELLS[:-1]))
    assert "#N now counts as the page is now" in outline(moved, LOAD, seen, offset=3)
    assert "#N now" not in outline(moved, LOAD, seen)


def test_an_outline_over_budget_stops_at_a_whole_line() -> None:
    many = NotebookView(tuple(CellView(f"{n:08}", "code", f"value_{n} = {n}") for n in range(1_000)))
    seen = Seen()
    text = outline(many, LOAD, seen, budget=2_000)
    assert len(text) <= 2_000
    *rows, paging = text.split("\n")[1:]
    assert f"offset={len(rows)})" in paging
    assert list(seen.texts) == [f"{n:08}" for n in range(len(rows))]


# -- cells


def test_cells_show_the_numbered_source_and_a_line_per_output() -> None:
    seen = Seen()
    assert cells(VIEW, ["a1f9c3d4", "b2c3d4e5"], LOAD, seen).split("\n") == [
        "#2 a1f9 code [12]",
        "1│import pandas as pd",
        "2│df = pd.read_csv('p.csv')",
        "3│df.plot()",
        "→ stdout, 1 line: read 344 rows",
        "→ image/png, 640x480, 30 B",
        "",
        "#3 b2c3 code [13]",
        "1│1 / 0",
        "→ error ZeroDivisionError: division by zero",
    ]
    assert seen.shown_text("a1f9c3d4") == CELLS[1].source


def test_a_source_can_be_copied_back_exactly_from_what_cells_shows() -> None:
    source = "def f():\n\treturn '│'  \n\n    # end\n"
    text = cells(NotebookView((CellView("aaaa", "code", source),)), ["aaaa"], LOAD, Seen())
    assert "\n".join(re.sub(r"^ *\d+│", "", line) for line in text.split("\n")[1:]) == source


def test_hidden_characters_of_a_source_are_spelled_out() -> None:
    view = NotebookView((CellView("aaaa", "code", "ok = 1 \u202e# \u200bx\r\n\x1b[31m"),))
    text = cells(view, ["aaaa"], LOAD, Seen())
    assert "ok = 1 <U+202E># <U+200B>x<U+000D>\n2│<U+001B>[31m" in text


def test_cells_that_do_not_fit_are_named_and_do_not_count_as_shown() -> None:
    view = NotebookView(tuple(CellView(f"{n:04}", "code", f"x = {n}\n" * 20) for n in range(40)))
    seen = Seen()
    text = cells(view, [cell.id for cell in view.cells], LOAD, seen, budget=1_500)
    assert len(text) <= 1_500
    first_left_out = f"{len(seen.texts):04}"
    assert text.endswith(f'cells left out; query_notebook(query="cells", cells=["{first_left_out}:"])')


def test_a_cell_that_is_too_long_is_paged_by_lines_and_does_not_count_as_shown() -> None:
    view = NotebookView((CellView("aaaa", "code", "\n".join(f"line {n}" for n in range(1, 1_001))),))
    seen = Seen()
    text = cells(view, ["aaaa"], LOAD, seen, budget=1_000)
    assert len(text) <= 1_000
    assert seen.texts == {}
    assert "   1│line 1\n" in text
    assert text.endswith("1000│line 1000")
    call = re.search(r'query_notebook\(query="cells", cells=\["aaaa"\], offset=(\d+), limit=(\d+)\)', text)
    assert call
    rest = cells(view, ["aaaa"], LOAD, seen, offset=int(call[1]), limit=int(call[2]), budget=50_000)
    shown = {int(n) for n in re.findall(r"^ *(\d+)│", text + "\n" + rest, re.MULTILINE)}
    assert shown == set(range(1, 1_001))
    cells(view, ["aaaa"], LOAD, seen, budget=50_000)
    assert "aaaa" in seen.texts


def test_numbers_are_those_the_agent_knows() -> None:
    seen = Seen()
    outline(VIEW, LOAD, seen)
    now = NotebookView((CellView("new-0001", "code", "above"), *CELLS))
    text = cells(now, ["new-0001", "b2c3d4e5"], LOAD, seen)
    assert text.startswith("new- code [ ]\n")
    assert "#3 b2c3 code [13]" in text


# -- outputs


def test_outputs_come_in_full_with_pictures_apart() -> None:
    found = outputs(VIEW, ["a1f9c3d4", "b2c3d4e5", "c4d5e6f7", "e8f9a0b1"], LOAD, Seen())
    assert found.text.split("\n") == [
        "#2 a1f9 code [12]",
        "[stdout]",
        "│read 344 rows",
        "[image/png, 640x480, 30 B: image 1]",
        "│<Figure size 640x480 with 1 Axes>",
        "",
        "#3 b2c3 code [13]",
        "[error ZeroDivisionError: division by zero, 3 lines]",
        "│---------",
        "│----> 1 1 / 0",
        "│ZeroDivisionError: division by zero",
        "",
        "#4 c4d5 code [*]",
        "no output yet, the cell is running",
        "",
        "#6 e8f9 code [ ]",
        "no output",
    ]
    assert [(image.mime, image.data) for image in found.images] == [("image/png", base64.b64decode(PNG))]


def test_a_long_stream_keeps_head_and_tail_and_names_the_call_that_shows_the_rest() -> None:
    long = stream("\n".join(f"row {n}" for n in range(5_000)))
    text = one(long, budget=1_000)
    assert len(text) <= 1_000
    assert "row 0\n" in text
    assert text.endswith("row 4999")
    call = re.search(r'query_notebook\(query="outputs", cells=\["a1f9"\], offset=(\d+), limit=(\d+)\)', text)
    assert call
    rest = one(long, offset=int(call[1]), limit=int(call[2]), budget=100_000)
    assert {int(n) for n in re.findall(r"row (\d+)", text + rest)} == set(range(5_000))


def test_a_long_stream_does_not_push_out_the_error_below_it() -> None:
    text = one(stream("noise\n" * 50_000), ERROR, budget=1_500)
    assert len(text) <= 1_500
    assert "ZeroDivisionError: division by zero, 3 lines]" in text
    assert "----> 1 1 / 0" in text


def test_a_long_traceback_keeps_rather_its_end() -> None:
    deep = OutputView("error", ename="E", evalue="v", traceback=tuple(f"frame {n}" for n in range(1_000)))
    text = one(deep, budget=1_000)
    assert "frame 999" in text
    numbers = [int(n) for n in re.findall(r"frame (\d+)", text)]
    assert sum(n > 500 for n in numbers) > 2 * sum(n < 500 for n in numbers)


def test_progress_bars_are_folded_and_colours_are_gone() -> None:
    bar = "".join(f"\r\x1b[32m{n:3}%\x1b[0m" for n in range(101)) + "\ndone\n"
    assert one(stream(bar)).endswith("[stdout, 2 lines]\n│100%\n│done")


def test_offset_limit_and_pattern_page_through_lines() -> None:
    text = one(stream("\n".join("abcdef")), offset=2, limit=2)
    assert text.split("\n")[1:] == [
        "│b",
        "│c",
        '… 3 more lines; query_notebook(query="outputs", cells=["a1f9"], offset=4)',
    ]
    found = outputs(VIEW, ["a1f9c3d4", "b2c3d4e5"], LOAD, Seen(), pattern="^read")
    assert found.text.split("\n")[1:] == [
        "│read 344 rows",
        "",
        "#3 b2c3 code [13]",
        "no line of output matches",
    ]
    assert found.images == ()
    assert one(stream("a"), offset=9).endswith("no more output: it has 2 lines")


def test_at_most_four_pictures_come_at_once_and_the_others_are_named() -> None:
    six = source_of({"a1f9c3d4": (display(image__png=PNG),) * 6})
    found = outputs(VIEW, ["a1f9c3d4"], six, Seen())
    assert len(found.images) == 4
    call = re.search(
        r'not shown, 4 images at most; query_notebook\(query="outputs", cells=\["a1f9"\], offset=4\)',
        found.text,
    )
    assert call
    rest = outputs(VIEW, ["a1f9c3d4"], six, Seen(), offset=4)
    assert len(rest.images) == 2


def test_a_picture_that_is_no_base64_is_said_to_be_unreadable() -> None:
    found = outputs(VIEW, ["a1f9c3d4"], source_of({"a1f9c3d4": (display(image__png="é!"),)}), Seen())
    assert found.images == ()
    assert "unreadable" in found.text


def test_text_plain_is_taken_where_it_is_good_and_html_where_it_is_not() -> None:
    table = "<table><tr><th></th><th>x</th></tr><tr><td>a<td>1.5<tr><td>b</td><td>22.5</td></tr></table>"
    assert "from plain" in one(display(text__html=table, text__plain="from plain"))
    aligned = "│      x\n│a   1.5\n│b  22.5"
    assert aligned in one(display(text__html=table, text__plain="<Styler at 0x7f>"))
    assert aligned in one(display(text__html=table, text__plain="  x \\\n0 1\n  y\n0 2"))


def test_json_latex_and_markdown_come_as_text_and_the_unknown_by_name_and_size() -> None:
    assert '"a": [' in one(OutputView("execute_result", data={"application/json": {"a": [1]}}))
    assert r"\frac{1}{2}" in one(display(text__latex=r"$\frac{1}{2}$", text__plain="1/2"))
    assert "**bold**" in one(display(text__markdown="**bold**"))
    assert "application/x-thing (3 B)" in one(OutputView("display_data", data={"application/x-thing": "abc"}))
    assert "image/svg+xml" in one(OutputView("display_data", data={"image/svg+xml": "<svg/>"}))


def test_plot_specifications_come_as_a_few_lines() -> None:
    plotly = {
        "data": [{"type": "bar", "name": "mass", "x": [1, 2, 3]}, {"type": "scatter", "x": [1]}],
        "layout": {
            "title": {"text": "Penguins"},
            "xaxis": {"title": {"text": "species"}},
            "yaxis": {"title": "kg"},
        },
    }
    text = one(OutputView("display_data", data={"application/vnd.plotly.v1+json": plotly}))
    for part in (
        "2 traces, title 'Penguins'",
        "bar 'mass', 3 points",
        "xaxis, title 'species'",
        "yaxis, title 'kg'",
    ):
        assert part in text
    vega = {"mark": {"type": "point"}, "encoding": {"x": {"field": "mass"}, "y": {"field": "bill"}}}
    text = one(OutputView("display_data", data={"application/vnd.vegalite.v5+json": vega}))
    assert "point x=mass y=bill" in text


def test_a_summary_is_one_short_line() -> None:
    assert output_summary(stream("\x1b[1m\n\nEpoch 1\nEpoch 2\n", "stderr")) == "stderr, 4 lines: Epoch 1"
    assert output_summary(OutputView("execute_result", data={"text/plain": "42"})) == "result: 42"
    assert output_summary(FIGURE) == "image/png, 640x480, 30 B"
    assert len(output_summary(stream("x" * 1_000_000))) < 200


# -- search


def test_a_search_names_cell_and_line_for_sources_and_outputs() -> None:
    assert search(VIEW, LOAD, Seen(), r"read|division").split("\n") == [
        "a1f9:2: df = pd.read_csv('p.csv')",
        "a1f9:out:2: read 344 rows",
        "b2c3:out:1: [error ZeroDivisionError: division by zero, 3 lines]",
        "b2c3:out:4: ZeroDivisionError: division by zero",
    ]


def test_a_search_pages_and_says_what_there_is_more() -> None:
    text = search(VIEW, LOAD, Seen(), "[a-z]", limit=1)
    assert text.startswith("intr:1: # Penguins\n… ")
    assert text.endswith(' more matching lines; query_notebook(query="search", pattern="[a-z]", offset=1)')
    assert search(VIEW, LOAD, Seen(), "xyzzy").startswith("no line matches xyzzy")
    assert search(VIEW, LOAD, Seen(), "Penguins", offset=5) == "no more matches: there are 1"


@pytest.mark.parametrize("pattern", ["(", "a{99999999999999999999}", "", "*", "(?P<n>a)(?P<n>b)", "[[a]]("])
def test_a_bad_pattern_is_the_caller_s_error(pattern: str) -> None:
    with pytest.raises(InvalidEdit):
        search(VIEW, LOAD, Seen(), pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(a|a)*b",
        r"(\w+\s?)*x",
        r"((a{1,50}){1,50})x",
        "a?" * 30 + "a" * 30,
        r"(?:(?:a*)b?)+c",
        "(x*" * 20 + ")" * 20,
    ],
)
def test_a_pattern_that_could_run_forever_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidEdit, match="could take forever"):
        search(NotebookView((CellView("aaaa", "code", "a" * 60 + "!"),)), LOAD, Seen(), pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"\bimport\s+(\w+)",
        r"(\d{1,3}\.){3}\d{1,3}",
        "foo|bar|baz",
        r"^\s*def .*\(.*\):",
        "(?i)error",
        "[(*+?]+",
        r"\(a+\)+",
        "(https?://)?x",
    ],
)
def test_ordinary_patterns_are_taken(pattern: str) -> None:
    search(VIEW, LOAD, Seen(), pattern)
