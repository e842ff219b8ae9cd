"""What the agent was shown: short ids that keep their meaning, numbers, texts."""

from __future__ import annotations

from collab_agent.notebook.model import CellView, NotebookView
from collab_agent.notebook.seen import Seen


def page(*ids: str) -> NotebookView:
    return NotebookView(tuple(CellView(cell_id, "code", f"source of {cell_id}") for cell_id in ids))


def test_a_short_id_is_the_shortest_unique_prefix_of_at_least_four_characters() -> None:
    view = page("a1f9c3d4", "a1f9c777", "b2c3d4e5")
    seen = Seen()
    assert [seen.short(cell.id, view) for cell in view.cells] == ["a1f9c3", "a1f9c7", "b2c3"]


def test_an_id_shorter_than_four_characters_is_said_in_full() -> None:
    view = page("ab", "abc", "abcdef")
    seen = Seen()
    assert [seen.short(cell.id, view) for cell in view.cells] == ["ab", "abc", "abcd"]


def test_a_short_id_keeps_its_meaning_when_a_rival_appears() -> None:
    seen = Seen()
    assert seen.short("a1f9c3d4", page("a1f9c3d4")) == "a1f9"
    later = page("a1f9c777", "a1f9c3d4")
    assert seen.short("a1f9c777", later) == "a1f9c7"
    assert seen.short("a1f9c3d4", later) == "a1f9"


def test_a_short_id_is_not_given_again_after_its_cell_is_gone() -> None:
    seen = Seen()
    seen.short("a1f9c3d4", page("a1f9c3d4"))
    assert seen.short("a1f9c777", page("a1f9c777")) == "a1f9c"
    assert seen.given("a1f9") == "a1f9c3d4"


def test_an_id_that_is_the_short_id_of_another_cell_gets_an_alias() -> None:
    seen = Seen()
    assert seen.short("a1f9c3d4", page("a1f9c3d4")) == "a1f9"
    assert seen.short("a1f9", page("a1f9c3d4", "a1f9")) == "a1f9~1"
    assert seen.given("a1f9~1") == "a1f9"


def test_no_short_id_reads_like_another_form_of_reference() -> None:
    view = page("last", "lastly-1", "all", "#3", "[12]", "@human", "a:b", "", "first")
    seen = Seen()
    shorts = [seen.short(cell.id, view) for cell in view.cells]
    assert shorts == ["last~1", "lastl", "all~1", "3~1", "12~1", "human~1", "ab~1", "~1", "firs"]


def test_a_page_of_short_ids_given_at_once_equals_giving_them_one_by_one() -> None:
    view = page("a1f9c3d4", "a1f9c777", "b2c3d4e5", "b2c3", "ab")
    at_once, singly = Seen(), Seen()
    at_once.give([cell.id for cell in view.cells], view)
    for cell in view.cells:
        assert at_once.short(cell.id, view) == singly.short(cell.id, view)


def test_the_index_follows_insertions_deletions_and_moves() -> None:
    seen = Seen()
    seen.short("aaaa-1", page("aaaa-1", "bbbb-1", "cccc-1"))
    moved = page("cccc-1", "aaaa-1", "bbbb-1", "bbbb-2")
    assert seen.with_prefix("bbbb", moved, 9) == ["bbbb-1", "bbbb-2"]
    assert seen.with_prefix("", page("dddd", "cccc-1"), 9) == ["cccc-1", "dddd"]
    many = page(*(f"{n:05}" for n in range(500)))
    assert seen.with_prefix("0049", many, 3) == ["00490", "00491", "00492"]
    assert seen.with_prefix("", page("one"), 9) == ["one"]


def test_numbers_are_those_of_the_last_numbered_page() -> None:
    seen = Seen()
    seen.show_order(page("a", "b", "c"))
    later = page("new", "a", "c", "b")
    assert [seen.number(cell_id, later) for cell_id in ("a", "b", "c", "new")] == [1, 2, 3, None]


def test_cells_added_below_are_numbered_on() -> None:
    seen = Seen()
    seen.show_order(page("a", "b"))
    assert seen.number("c", page("a", "b", "c")) == 3
    assert seen.order == ("a", "b", "c")


def test_asking_for_a_number_numbers_a_page_that_never_was() -> None:
    seen = Seen()
    assert seen.order is None
    assert seen.number("b", page("a", "b")) == 2
    assert seen.order == ("a", "b")


def test_the_text_that_was_shown_stays_until_it_is_shown_anew_or_forgotten() -> None:
    seen = Seen()
    assert seen.shown_text("a") is None
    seen.show(CellView("a", "code", "x = 1"))
    assert seen.shown_text("a") == "x = 1"
    seen.show(CellView("a", "code", "x = 2"))
    assert seen.shown_text("a") == "x = 2"
    seen.forget("a")
    seen.forget("a")
    assert seen.shown_text("a") is None
