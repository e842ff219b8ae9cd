"""Rendering is total and within its budget, and says of no cell that it was shown that was not."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from collab_agent.errors import InvalidEdit
from collab_agent.notebook.model import CellType, CellView, NotebookView, OutputView
from collab_agent.notebook.plain import visible
from collab_agent.notebook.render import (
    cells,
    clean,
    clip,
    diff,
    outline,
    output_summary,
    outputs,
    search,
)
from collab_agent.notebook.richtext import html_to_text
from collab_agent.notebook.seen import Seen

HIDDEN = [
    "\ud800",
    "\x00",
    "\x1b[31m",
    "\x1b]0;",
    "\x9b",
    "\r",
    "\b",
    "\u202e",
    "\u200d",
    "\ufe0f",
    "\U000e0041",
]
MARKUP = [
    "<table><tr><td colspan=9 rowspan=3>",
    "</table>",
    "<![",
    "<!--",
    "<script>",
    "<audio>",
    "<video src='",
    "<source src=data:audio/wav;base64," + "UklG" * 60,
    "<svg width='9' height='",
    "Plotly.newPlot('a', [",
    "vega.github.io/schema})({",
    "&#",
    "&#x110000;",
    "&#9" * 9,
]
PLAIN = [
    "\n",
    "\n\n",
    "\u2028",
    "😀",
    "│",
    "→",
    "…",
    "x" * 3_000,
    "y\n" * 500,
    "# ",
    "`",
    '"',
    "\\",
    " ",
    "<U+200B>",
]
NASTY = st.sampled_from([*HIDDEN, *MARKUP, *PLAIN])
TEXT = st.lists(st.one_of(NASTY, st.text(max_size=20)), max_size=8).map("".join)
TEXTUAL = [
    "text/plain",
    "text/html",
    "text/latex",
    "application/json",
    "image/svg+xml",
    "audio/wav",
    "application/geo+json",
    "application/vnd.jupyter.widget-view+json",
    "x" * 300,
    "\ud800",
    "",
]
PLOTS = ["image/png", "image/gif", "application/vnd.plotly.v1+json", "application/vnd.vegalite.v5+json"]
MIME = st.sampled_from([*TEXTUAL, *PLOTS])
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.floats(),
        TEXT,
        st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["data", "layout", "xaxis", "title", "text", "mark", "encoding", "layer"]),
                TEXT,
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
OUTPUT = st.one_of(
    st.builds(OutputView, kind=st.just("stream"), name=TEXT, text=TEXT),
    st.builds(
        OutputView,
        kind=st.just("error"),
        ename=TEXT,
        evalue=TEXT,
        traceback=st.lists(TEXT, max_size=4).map(tuple),
    ),
    st.builds(
        OutputView,
        kind=st.sampled_from(["display_data", "execute_result", "unheard-of"]),
        data=st.dictionaries(MIME, JSON, max_size=4),
    ),
)
TYPES: list[CellType] = ["code", "markdown", "raw"]
CELL = st.builds(
    CellView,
    id=st.one_of(st.uuids().map(str), TEXT),
    type=st.sampled_from(TYPES),
    source=TEXT,
    execution_count=st.one_of(st.none(), st.integers(0, 99)),
    running=st.booleans(),
)
VIEW = st.builds(NotebookView, st.lists(CELL, max_size=8).map(tuple), path=TEXT, language=TEXT)
BUDGET = st.one_of(st.integers(0, 400), st.integers(400, 9_000))
OFFSET = st.integers(-1, 12)
LIMIT = st.one_of(st.none(), st.integers(-1, 12))


def load_from(found: list[OutputView]) -> Callable[[str], list[OutputView]]:
    return lambda _: found


def check(text: str, budget: int) -> None:
    """Within the budget, sendable, and free of what a terminal or a reader could be fooled with."""
    assert len(text) <= budget
    text.encode()
    hidden = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
    assert not re.search(hidden, text)


@given(VIEW, st.lists(OUTPUT, max_size=3), OFFSET, LIMIT, BUDGET)
def test_an_outline_is_bounded_and_true_about_what_it_shows(
    view: NotebookView, found: list[OutputView], offset: int, limit: int | None, budget: int
) -> None:
    seen = Seen()
    text = outline(view, load_from(found), seen, offset=offset, limit=limit, budget=budget)
    check(text, budget)
    assert all("\n" not in source and visible(source) in text for source in seen.texts.values())
    assert seen.order == tuple(cell.id for cell in view.cells)


@given(VIEW, st.lists(OUTPUT, max_size=3), OFFSET, LIMIT, BUDGET, st.data())
def test_cells_are_bounded_and_true_about_what_they_show(
    view: NotebookView,
    found: list[OutputView],
    offset: int,
    limit: int | None,
    budget: int,
    data: st.DataObject,
) -> None:
    seen = Seen()
    ids = data.draw(st.lists(st.sampled_from([*(cell.id for cell in view.cells), "gone"]), max_size=8))
    text = cells(view, ids, load_from(found), seen, offset=offset, limit=limit, budget=budget)
    check(text, budget)
    bare = "\n".join(re.sub(r"^ *\d+│", "", line) for line in text.split("\n"))
    assert all(visible(source) in bare for source in seen.texts.values())


@given(
    VIEW,
    st.lists(OUTPUT, max_size=5),
    OFFSET,
    LIMIT,
    BUDGET,
    st.sampled_from([None, "a", "."]),
    st.integers(0, 3),
)
def test_outputs_are_bounded(
    view: NotebookView,
    found: list[OutputView],
    offset: int,
    limit: int | None,
    budget: int,
    pattern: str | None,
    images: int,
) -> None:
    ids = [cell.id for cell in view.cells]
    rendered = outputs(
        view,
        ids,
        load_from(found),
        Seen(),
        offset=offset,
        limit=limit,
        pattern=pattern,
        budget=budget,
        images=images,
    )
    check(rendered.text, budget)
    assert len(rendered.images) <= images
    for image in rendered.images:
        check(image.caption, 400)


@given(
    VIEW,
    st.lists(OUTPUT, max_size=3),
    st.one_of(st.text("ab.*+?()|[]{},^$\\1", max_size=8), TEXT),
    OFFSET,
    LIMIT,
    BUDGET,
)
def test_a_search_is_bounded_or_refuses_the_pattern(
    view: NotebookView, found: list[OutputView], pattern: str, offset: int, limit: int | None, budget: int
) -> None:
    try:
        text = search(view, load_from(found), Seen(), pattern, offset=offset, limit=limit, budget=budget)
    except InvalidEdit as error:
        check(str(error), 1_000)
    else:
        check(text, budget)


@given(OUTPUT)
def test_a_summary_is_one_short_line(output: OutputView) -> None:
    text = output_summary(output)
    check(text, 200)
    assert "\n" not in text


@given(TEXT, TEXT, st.integers(-1, 3), BUDGET)
def test_a_diff_is_bounded(before: str, after: str, context: int, limit: int) -> None:
    check(diff(before, after, context=context, limit=limit), limit)


LINES = st.lists(st.sampled_from("abc"), max_size=12).map("\n".join)


@given(LINES, LINES)
def test_a_diff_with_all_its_context_holds_both_texts(before: str, after: str) -> None:
    if before == after:
        return
    lines = diff(before, after, context=20).split("\n")
    numbered = [f"{n}│{line}" for n, line in enumerate(after.split("\n"), 1)]
    assert [line[1:] for line in lines if line[0] in " +"] == numbered
    assert [line.split("│")[1] for line in lines if line[0] in " -"] == before.split("\n")


@given(TEXT, BUDGET, TEXT)
def test_clip_is_bounded_and_keeps_head_and_tail(text: str, budget: int, how: str) -> None:
    short = clip(text, budget, how)
    assert len(short) <= budget
    if len(text) <= budget:
        assert short == text
    elif budget > len(how) + 200:
        assert how in short
        assert short[:20] == text[:20]
        assert short[-5:] == text[-5:]


@given(TEXT)
def test_clean_is_total_and_settled_after_one_time(text: str) -> None:
    once = clean(text)
    check(once, max(len(text), 0))
    assert clean(once) == once


@given(TEXT)
def test_html_becomes_text_whatever_it_holds(html: str) -> None:
    clean(html_to_text(html)).encode()


@given(st.lists(st.sampled_from(["a", "b", "cd", "\r", "\b", "\n", "\x1b[K"]), max_size=20))
def test_folding_equals_going_through_the_line_as_a_terminal_does(tokens: list[str]) -> None:
    """``\\b`` takes back what was written since the last carriage return, as JupyterLab has it."""
    lines, shown, written = [], "", ""
    for token in [*tokens, "\n"]:
        if token == "\b":
            written = written[:-1]
        elif token == "\x1b[K":
            shown, written = "", ""
        elif token in "\r\n":
            shown, written = written + shown[len(written) :], ""
            if token == "\n":
                lines.append(shown)
                shown = ""
        else:
            written += token
    text = "".join(tokens)
    if "\r\n" not in text:
        assert clean(text) == "\n".join(lines)
