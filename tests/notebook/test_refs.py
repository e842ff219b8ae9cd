"""References to cells: every form of the contract, and the errors that name the candidates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collab_agent.errors import AmbiguousCell, CellNotFound
from collab_agent.notebook.model import CellView, NotebookView, PeerView
from collab_agent.notebook.refs import label, resolve, resolve_many
from collab_agent.notebook.seen import Seen

CELLS = (
    CellView("intro-00", "markdown", "# Penguins\n\nA study."),
    CellView("a1f9c3d4", "code", "import pandas as pd", execution_count=11),
    CellView("a1f9c777", "code", "df = load()", execution_count=12),
    CellView("b2c3d4e5", "code", "df.plot()", execution_count=12),
    CellView("end-0000", "raw", ""),
)
VIEW = NotebookView(CELLS, "demo.ipynb", "python")
ANN = PeerView(1, "Ann Lee", cell_id="b2c3d4e5")
BOB = PeerView(2, "Bob", cell_id="intro-00")
BOT = PeerView(3, "Helper", is_agent=True, cell_id="end-0000")
ME = PeerView(4, "Goose", is_agent=True, is_self=True, cell_id="a1f9c3d4")


def without(view: NotebookView, cell_id: str) -> NotebookView:
    return replace(view, cells=tuple(cell for cell in view.cells if cell.id != cell_id))


@pytest.mark.parametrize(
    ("ref", "cell_id"),
    [
        ("b2c3", "b2c3d4e5"),
        ("b2c3d4e5", "b2c3d4e5"),
        (" a1f9c7 ", "a1f9c777"),
        ("#1", "intro-00"),
        ("#5", "end-0000"),
        ("[11]", "a1f9c3d4"),
        ("first", "intro-00"),
        ("last", "end-0000"),
    ],
)
def test_each_form_leads_to_its_cell(ref: str, cell_id: str) -> None:
    assert resolve(ref, VIEW, Seen()) == cell_id


def test_an_ambiguous_prefix_lists_the_candidates_and_the_next_call() -> None:
    with pytest.raises(AmbiguousCell) as caught:
        resolve("a1f9", VIEW, Seen())
    assert caught.value.message == (
        'More than one cell\'s id begins with "a1f9":\n'
        "  #2 a1f9c3 code: import pandas as pd\n"
        "  #3 a1f9c7 code: df = load()"
    )
    assert 'query_notebook(query="outline")' in caught.value.hint


def test_a_prefix_of_three_characters_is_never_enough() -> None:
    with pytest.raises(CellNotFound, match="too short"):
        resolve("b2c", VIEW, Seen())


def test_an_unknown_reference_lists_at_most_eight_cells() -> None:
    many = NotebookView(tuple(CellView(f"cell-{n:03}", "code", f"x = {n}") for n in range(50)))
    with pytest.raises(CellNotFound) as caught:
        resolve("nothing", many, Seen())
    assert caught.value.message.count("\n") == 8
    assert "#1 cell-000 code: x = 0" in caught.value.message


def test_a_bare_number_is_not_guessed_to_be_a_place_or_a_count() -> None:
    with pytest.raises(CellNotFound, match=r"#3, its execution count \[3\]"):
        resolve("3", VIEW, Seen())


@pytest.mark.parametrize(
    "ref", ["", "#0", "#6", "#-1", "#", "#" + "9" * 5000, "[99]", "[]", "@", "~1", "\ud800", "\x00"]
)
def test_what_leads_nowhere_is_an_error_with_a_hint(ref: str) -> None:
    with pytest.raises(CellNotFound) as caught:
        resolve(ref, VIEW, Seen())
    assert "query_notebook" in caught.value.hint
    str(caught.value).encode()


def test_an_empty_notebook_has_no_first_cell() -> None:
    with pytest.raises(CellNotFound, match="no cells"):
        resolve("first", NotebookView(()), Seen())
    assert resolve_many("all", NotebookView(()), Seen()) == []


def test_several_cells_of_one_count_are_ambiguous() -> None:
    with pytest.raises(AmbiguousCell, match=r"2 cells have the execution count \[12\]"):
        resolve("[12]", VIEW, Seen())


def test_a_number_means_the_page_as_it_was_shown() -> None:
    seen = Seen()
    seen.show_order(VIEW)
    now = replace(VIEW, cells=(CellView("new-0001", "code", "above"), *CELLS))
    assert resolve("#2", now, seen) == "a1f9c3d4"
    assert resolve("#2", now, Seen()) == "intro-00"
    with pytest.raises(CellNotFound, match="when it was last shown"):
        resolve("#6", now, seen)


def test_a_number_whose_cell_is_gone_says_so() -> None:
    seen = Seen()
    seen.show_order(VIEW)
    with pytest.raises(CellNotFound, match="shown as #2 was deleted since"):
        resolve("#2", without(VIEW, "a1f9c3d4"), seen)


def test_a_short_id_whose_cell_is_gone_is_not_passed_on() -> None:
    seen = Seen()
    before = without(VIEW, "a1f9c777")
    assert seen.short("a1f9c3d4", before) == "a1f9"
    assert resolve("a1f9", VIEW, seen) == "a1f9c3d4"
    with pytest.raises(CellNotFound, match='shown as "a1f9" was deleted since'):
        resolve("a1f9", without(VIEW, "a1f9c3d4"), seen)


def test_a_doubled_id_is_ambiguous_in_every_form() -> None:
    twice = replace(VIEW, cells=(*CELLS, CELLS[3]))
    for ref in ("b2c3", "b2c3d4e5", "#4", "last", "@human"):
        with pytest.raises(AmbiguousCell, match="same id"):
            resolve(ref, twice, Seen(), [ANN])
    with pytest.raises(AmbiguousCell, match="same id"):
        resolve_many("all", twice, Seen())
    assert resolve_many("first:a1f9c7", twice, Seen()) == ["intro-00", "a1f9c3d4", "a1f9c777"]


def test_a_keyword_that_is_also_an_id_is_ambiguous() -> None:
    view = NotebookView(tuple(CellView(cell_id, "code", "x") for cell_id in ("last", "all", "zzzz")))
    for ref in ("last", "all"):
        with pytest.raises(AmbiguousCell):
            resolve_many(ref, view, Seen())
    seen = Seen()
    assert [resolve(seen.short(cell.id, view), view, seen) for cell in view.cells] == ["last", "all", "zzzz"]


# -- people


def test_the_one_human_is_meant_whatever_agents_there_are() -> None:
    assert resolve("@human", VIEW, Seen(), [ANN, BOT, ME]) == "b2c3d4e5"


def test_several_humans_are_listed_by_name_and_cell() -> None:
    with pytest.raises(AmbiguousCell) as caught:
        resolve("@human", VIEW, Seen(), [ANN, BOB, BOT])
    assert "@Ann Lee in #4 b2c3 code: df.plot()" in caught.value.message
    assert "@Bob in #1 intr markdown: # Penguins" in caught.value.message


def test_several_humans_in_one_cell_leave_nothing_to_guess() -> None:
    assert resolve("@human", VIEW, Seen(), [ANN, replace(BOB, cell_id="b2c3d4e5")]) == "b2c3d4e5"


def test_a_human_without_a_cell_is_not_placed_anywhere() -> None:
    with pytest.raises(CellNotFound, match="@Bob is here, but in no cell"):
        resolve("@human", VIEW, Seen(), [replace(BOB, cell_id=None), BOT])
    with pytest.raises(CellNotFound, match="@Bob is here, but in no cell"):
        resolve("@Bob", VIEW, Seen(), [replace(BOB, cell_id="gone")])
    with pytest.raises(CellNotFound, match="nobody"):
        resolve("@human", VIEW, Seen(), [BOT, ME])


def test_a_name_is_exact_but_for_its_case() -> None:
    peers = [ANN, BOB, BOT, ME]
    assert resolve("@ann lee", VIEW, Seen(), peers) == "b2c3d4e5"
    assert resolve("@HELPER", VIEW, Seen(), peers) == "end-0000"
    with pytest.raises(CellNotFound, match="Nobody here is called"):
        resolve("@Ann", VIEW, Seen(), peers)
    with pytest.raises(CellNotFound, match="this agent itself"):
        resolve("@Goose", VIEW, Seen(), peers)


def test_one_name_in_two_cells_is_ambiguous() -> None:
    with pytest.raises(AmbiguousCell, match="in 2 cells"):
        resolve("@Ann Lee", VIEW, Seen(), [ANN, replace(ANN, client_id=9, cell_id="intro-00")])


# -- lists


@pytest.mark.parametrize(
    ("refs", "numbers"),
    [
        ("all", [1, 2, 3, 4, 5]),
        ("#2:#4", [2, 3, 4]),
        ("b2c3:", [4, 5]),
        ("first:last", [1, 2, 3, 4, 5]),
        ("#2 : #2", [2]),
        (["#4", "first:#2"], [4, 1, 2]),
        (["last", "all"], [5, 1, 2, 3, 4]),
        (["#2", "#2"], [2]),
        ("@Ann Lee:last", [4, 5]),
        ([], []),
    ],
)
def test_lists_keep_their_order_and_ranges_the_page_s(refs: str | list[str], numbers: list[int]) -> None:
    assert resolve_many(refs, VIEW, Seen(), [ANN]) == [CELLS[n - 1].id for n in numbers]


def test_a_range_follows_the_page_as_it_is_now() -> None:
    seen = Seen()
    seen.show_order(VIEW)
    now = replace(VIEW, cells=(*CELLS[:2], CellView("new-0001", "code", "between"), *CELLS[2:]))
    assert resolve_many("#2:#3", now, seen) == ["a1f9c3d4", "new-0001", "a1f9c777"]


def test_a_name_with_a_colon_is_a_name() -> None:
    teacher = PeerView(7, "Ann: physics", cell_id="b2c3d4e5")
    assert resolve_many("@Ann: physics", VIEW, Seen(), [teacher]) == ["b2c3d4e5"]
    assert resolve_many("@ann: physics:last", VIEW, Seen(), [teacher]) == ["b2c3d4e5", "end-0000"]


@pytest.mark.parametrize("ref", ["#4:#2", ":#2", ":", "#2:nothing", "nothing:"])
def test_a_broken_range_is_an_error(ref: str) -> None:
    with pytest.raises(CellNotFound):
        resolve_many(ref, VIEW, Seen())


@pytest.mark.parametrize("ref", ["all", "#2:#4", "first:"])
def test_where_one_cell_is_needed_a_list_is_refused(ref: str) -> None:
    with pytest.raises(AmbiguousCell, match="one reference must name one cell"):
        resolve(ref, VIEW, Seen())


def test_a_label_leaves_out_a_number_that_would_lead_elsewhere() -> None:
    seen = Seen()
    seen.show_order(VIEW)
    now = replace(VIEW, cells=(CellView("new-0001", "code", "above"), *CELLS))
    assert label(now.cells[0], now, seen) == "new- code"
    assert label(now.cells[1], now, seen) == "#1 intr markdown"
