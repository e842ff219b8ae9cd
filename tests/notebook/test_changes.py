"""What others did: once, without our own doings, whatever they are mixed with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collab_agent.notebook.changes import ON_DISK, SOMEBODY, Author, Change, ChangeLog, Update
from collab_agent.notebook.model import CellView, OutputView
from collab_agent.notebook.since import TypingNow, summary

ADA, BOB, CLAUDE, SERVER, STRANGER = 11, 12, 13, 14, 15
PEOPLE = {ADA: Author("Ada"), BOB: Author("Bob"), CLAUDE: Author("Claude", is_agent=True), SERVER: ON_DISK}
FAILED = (OutputView("error", ename="ValueError"),)


class Page:
    """A notebook that others and the agent change by turns, with the log listening as the peer lets it."""

    def __init__(self, *cells: CellView) -> None:
        self.cells = {cell.id: cell for cell in cells}
        self.outputs: dict[str, tuple[OutputView, ...]] = {}
        self.log = ChangeLog(
            self.cells.get, lambda cell: self.outputs.get(cell, ()), lambda client: PEOPLE.get(client, SOMEBODY)
        )

    def theirs(self, cell: CellView, who: int = ADA, *, also: Sequence[int] = (), moved: bool = False) -> None:
        """An update that leads to this cell; a rebuilt one is deleted and inserted in one update."""
        before = self.cells.get(cell.id)
        began = frozenset({cell.id} if cell.running and not (before and before.running) else ())
        self.cells[cell.id] = cell
        if moved and before is not None:
            update = Update({cell.id: None}, {cell.id: before}, frozenset({cell.id}), by={cell.id: [who, *also]})
        else:
            update = Update({cell.id: before}, began=began, by={cell.id: [who, *also]})
        self.log.note(update)

    def delete(self, cell_id: str, who: int = ADA) -> None:
        gone = {cell_id: self.cells.pop(cell_id)}
        self.log.note(Update({}, gone, by={cell_id: [who]}))

    def ours(self, cell: CellView, outputs: tuple[OutputView, ...] = ()) -> None:
        self.log.close([cell.id])
        self.cells[cell.id], self.outputs[cell.id] = cell, outputs

    def told(self, typing: Sequence[TypingNow] = ()) -> str:
        return line(self.log.take(), typing)

    def diffs(self) -> list[tuple[str, str | None, str | None]]:
        """What ``query="changes"`` would show: cell, source before and after."""
        return [(c.cell, c.before and c.before.source, c.after and c.after.source) for c in self.log.give()]


def line(changes: Sequence[Change], typing: Sequence[TypingNow] = (), **options: Any) -> str:
    return summary(changes, lambda cell: cell, typing, **options)


A = CellView("a", "code", "1\n2\n3")
B = CellView("b", "code", "b")


def test_an_edit_is_told_with_its_lines_and_only_once() -> None:
    page = Page(A)
    page.theirs(replace(A, source="1\n2\nx\ny"))
    assert page.told() == "Ada edited a (+2 -1 lines)"
    assert page.told() == ""


def test_many_keystrokes_are_one_edit() -> None:
    page = Page(A)
    for text in ("1\n2\n3x", "1\n2\n3xy", "1\n2\n3xyz"):
        page.theirs(replace(A, source=text))
    assert page.told() == "Ada edited a (+1 -1 lines)"


def test_a_running_cell_that_is_moved_has_not_stopped() -> None:
    page = Page(A)
    page.ours(replace(A, running=True))
    page.theirs(A, moved=True)
    assert page.told() == "Ada moved a"
    page.ours(replace(A, running=True))
    page.ours(replace(A, execution_count=3))
    assert page.told() == ""


def test_what_is_typed_and_taken_back_is_nothing() -> None:
    page = Page(A)
    page.theirs(replace(A, source="12"))
    page.theirs(A)
    assert page.told() == ""


def test_our_own_edits_between_theirs_do_not_count() -> None:
    page = Page(A)
    page.theirs(replace(A, source="1\n2\n3\nada"))
    page.ours(replace(A, source="ours\n1\n2\n3\nada"))
    page.theirs(replace(A, source="ours\n1\n2\n3\nada\nada"))
    assert page.told() == "Ada edited a (+1 -0 lines), edited a (+1 -0 lines)"


def test_our_own_edit_that_is_undone_by_us_does_not_count() -> None:
    page = Page(A)
    page.ours(replace(A, source="ours\n1\n2\n3"))
    page.theirs(replace(A, source="ours\n1\n2\n3\nada"))
    page.ours(replace(A, source="1\n2\n3\nada"))
    assert page.told() == "Ada edited a (+1 -0 lines)"


def test_our_own_run_does_not_count_as_theirs() -> None:
    page = Page(A)
    page.ours(replace(A, running=True))
    page.theirs(replace(A, running=True, source="1\n2\n3\n4"))
    page.ours(replace(A, source="1\n2\n3\n4", execution_count=1))
    assert page.told() == "Ada edited a (+1 -0 lines)"


def test_typing_into_a_cell_that_we_run_is_one_edit_and_no_run() -> None:
    page = Page(A)
    page.ours(replace(A, running=True))
    for number, text in enumerate(("1\n2\n3x", "1\n2\n3xy", "1\n2\n3xyz")):
        page.theirs(replace(page.cells["a"], source=text))
        page.ours(replace(page.cells["a"], outputs_version=number))
    page.ours(replace(page.cells["a"], running=False, execution_count=3))
    assert page.told() == "Ada edited a (+1 -1 lines)"


def test_insert_delete_move_and_retype() -> None:
    page = Page(A, B, CellView("c", "code", "c"))
    page.theirs(CellView("new", "code", "x"))
    page.delete("b")
    page.theirs(A, moved=True)
    page.theirs(CellView("c", "markdown", "c"))
    assert page.told() == "Ada inserted new, deleted b, moved a, made c markdown"


def test_what_came_and_went_is_not_told_and_not_kept() -> None:
    page = Page()
    for number in range(3):
        page.theirs(CellView(f"new{number}", "code", "x"))
        page.log.peek()
        page.delete(f"new{number}")
    assert page.told() == ""
    assert page.diffs() == []


def test_what_was_deleted_and_brought_back_is_nothing() -> None:
    page = Page(A)
    page.delete("a")
    page.theirs(A)
    assert page.told() == ""


def test_runs_are_told_with_their_end_also_those_whose_begin_was_told() -> None:
    page = Page(A)
    page.theirs(replace(A, running=True))
    assert page.told() == "Ada is running a"
    page.theirs(replace(A, running=True, outputs_version=1))
    assert page.told() == ""  # what it prints is nothing to be told
    page.theirs(replace(A, execution_count=7, outputs_version=2))
    assert page.told() == "Ada ran a [7] ok"
    page.outputs["a"] = FAILED
    page.theirs(replace(A, execution_count=8))
    assert page.told() == "Ada ran a [8] error ValueError"


def test_a_run_with_the_same_count_as_before_is_a_run() -> None:
    page = Page(replace(A, execution_count=1))
    page.theirs(replace(A, running=True))
    page.theirs(replace(A, execution_count=1))
    assert page.told() == "Ada ran a [1] ok"


def test_the_error_of_their_run_is_told_though_we_have_run_the_cell_since() -> None:
    page = Page(A)
    page.theirs(replace(A, running=True))
    page.outputs["a"] = FAILED
    page.theirs(replace(A, execution_count=8))
    page.ours(replace(A, running=True), ())
    page.ours(replace(A, execution_count=9), ())
    assert page.told() == "Ada ran a [8] error ValueError"


def test_a_run_in_a_cell_that_we_edit_meanwhile_is_told_with_its_end() -> None:
    page = Page(A)
    page.theirs(replace(A, running=True))
    assert page.told() == "Ada is running a"
    page.ours(replace(A, source="ours", running=True))
    page.theirs(replace(A, source="ours", execution_count=2))
    assert page.told() == "Ada ran a [2] ok"


def test_several_people_and_nobody_known() -> None:
    page = Page(A, B)
    page.theirs(replace(A, source="x"))
    page.theirs(replace(A, source="xy"), BOB)
    page.theirs(replace(B, source="bb"), STRANGER)
    assert page.told() == "Ada and Bob edited a (+1 -3 lines); somebody edited b (+1 -1 lines)"


def test_each_is_told_with_what_they_did() -> None:
    page = Page(A, B)
    page.theirs(replace(A, source="x"))
    page.theirs(replace(A, source="x", running=True), BOB)
    page.theirs(replace(B, source="bb"), CLAUDE)
    page.delete("b", BOB)
    assert page.told() == "Ada edited a (+1 -3 lines); Bob is running a, deleted b"


def test_agents_are_said_to_be_agents() -> None:
    page = Page(A)
    page.theirs(replace(A, source="x"), CLAUDE)
    (change,) = page.log.peek()
    assert (change.who, line([change])) == (("Claude",), "Claude (agent) edited a (+1 -3 lines)")


def test_a_change_of_the_file_is_told_as_such() -> None:
    page = Page(A, B)
    page.theirs(replace(A, source="x"), SERVER)
    page.theirs(replace(B, source="bb"), ADA, also=[SERVER])
    told = "changed on disk: edited a (+1 -3 lines); Ada edited b (+1 -1 lines) (also changed on disk)"
    assert page.told() == told


def test_who_deleted_a_cell_may_turn_out_later() -> None:
    page = Page(A, B)
    page.delete("a")
    page.log.blame({"a": (SERVER,)})
    page.delete("b")
    page.log.peek()
    page.log.blame({"b": (SERVER,)})
    assert page.told() == "changed on disk: deleted a, deleted b"


def test_the_diffs_behind_the_last_line_are_given_once() -> None:
    page = Page(A, B)
    page.theirs(replace(A, source="x"))
    assert page.told() != ""
    page.theirs(replace(B, source="bb"))
    assert page.diffs() == [("a", "1\n2\n3", "x"), ("b", "b", "bb")]
    assert page.diffs() == []
    assert page.told() == "Ada edited b (+1 -1 lines)"  # the line of the call that gave the diffs
    assert page.diffs() == []


def test_a_line_that_tells_nothing_leaves_the_diffs_behind_the_last_one() -> None:
    page = Page(A)
    page.theirs(replace(A, source="x"))
    assert page.told() != ""
    assert page.told() == ""
    assert page.diffs() == [("a", "1\n2\n3", "x")]


def test_typing_that_goes_on_behind_a_line_is_one_diff() -> None:
    page = Page(A)
    page.theirs(replace(A, source="x"))
    assert page.told() == "Ada edited a (+1 -3 lines)"
    page.theirs(replace(A, source="xy"))
    assert page.diffs() == [("a", "1\n2\n3", "xy")]
    assert page.told() == "Ada edited a (+1 -1 lines)"


def test_only_the_last_line_has_diffs_behind_it() -> None:
    page = Page(A, B)
    page.theirs(replace(A, source="x"))
    assert page.told() != ""
    page.theirs(replace(B, source="bb"))
    assert page.told() != ""
    assert page.diffs() == [("b", "b", "bb")]


def test_who_is_typing_stands_beside_what_they_did() -> None:
    page = Page(A)
    page.theirs(replace(A, source="1\n2\n3x"))
    typing = [TypingNow(PEOPLE[ADA], "a", 3), TypingNow(PEOPLE[BOB], "b")]
    assert page.told(typing) == "Ada edited a (+1 -1 lines), is typing in a, line 3; Bob is typing in b"


def test_what_does_not_fit_is_counted_with_the_call_that_shows_it() -> None:
    page = Page(*(CellView(f"cell{n}", "code", "x") for n in range(200)))
    for n in range(200):
        page.theirs(CellView(f"cell{n}", "code", "y"), ADA if n % 2 else BOB)
    told = line(page.log.take(), budget=300)
    assert len(told) <= 300
    assert told.startswith("Bob edited cell0 (+1 -1 lines), edited cell2")
    rest = 200 - told.count("edited")
    assert told.endswith(f'; … {rest} more: query_notebook(query="changes")')


ACTS = st.lists(
    st.tuples(st.sampled_from(["theirs", "ours", "delete", "told", "diffs"]), st.sampled_from("ab"), st.integers(0, 9)),
    max_size=30,
)


@given(ACTS)
def test_lines_and_diffs_account_for_exactly_what_others_did(acts: list[tuple[str, str, int]]) -> None:
    """Whatever is mixed: each way, and the texts that others changed are accounted for from first to last."""
    page = Page(A, B)
    given_diffs: list[tuple[str, str | None, str | None]] = []
    for act, cell_id, number in acts:
        known = page.cells.get(cell_id)
        cell = replace(known or CellView(cell_id, "code", ""), source=f"{number}")
        if act == "theirs":
            page.theirs(cell)
        elif act == "ours" and known is not None:
            page.ours(cell)
        elif act == "delete" and known is not None:
            page.delete(cell_id)
        elif act == "told":
            page.told()
        elif act == "diffs":
            given_diffs += page.diffs()
    given_diffs += page.diffs()
    assert page.diffs() == []
    page.told()
    assert page.told() == ""
    assert all(before != after for _, before, after in given_diffs)
