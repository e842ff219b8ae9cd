"""What others did: once, without our own doings, whatever they are mixed with."""

from __future__ import annotations

from dataclasses import replace

from collab_agent.notebook.changes import ChangeLog, summary
from collab_agent.notebook.model import CellView, OutputView


class Page:
    """A notebook that others and the agent change by turns, with the log listening as the peer lets it."""

    def __init__(self, *cells: CellView) -> None:
        self.cells = {cell.id: cell for cell in cells}
        self.log = ChangeLog()

    def theirs(self, cell: CellView, who: str = "Ada") -> None:
        self.log.note({cell.id: self.cells.get(cell.id)}, {}, [who] if who else [])
        self.cells[cell.id] = cell

    def delete(self, cell_id: str, who: str = "Ada") -> None:
        self.log.note({}, {cell_id: self.cells.pop(cell_id)}, [who])

    def move(self, cell_id: str) -> None:
        self.log.note({cell_id: None}, {cell_id: self.cells[cell_id]}, ["Ada"])

    def ours(self, cell: CellView) -> None:
        self.log.close([cell.id], self.cells.get)
        self.cells[cell.id] = cell

    def told(self, outputs: tuple[OutputView, ...] = ()) -> str:
        return summary(self.log.take(self.cells.get), lambda cell: cell, lambda _cell: outputs)


A = CellView("a", "code", "1\n2\n3")


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
    page = Page(A, CellView("b", "code", "b"), CellView("c", "code", "c"))
    page.theirs(CellView("new", "code", "x"))
    page.delete("b")
    page.move("a")
    page.theirs(CellView("c", "markdown", "c"))
    assert page.told() == "Ada inserted new, deleted b, moved a, made c markdown"


def test_what_came_and_went_is_not_told() -> None:
    page = Page()
    page.theirs(CellView("new", "code", "x"))
    page.delete("new")
    assert page.told() == ""


def test_runs_are_told_with_their_end() -> None:
    page = Page(A)
    page.theirs(replace(A, running=True))
    assert page.told() == "Ada is running a"
    page.theirs(replace(A, execution_count=7))
    assert page.told() == "Ada ran a [7] ok"
    page.theirs(replace(A, execution_count=8))
    assert page.told((OutputView("error", ename="ValueError"),)) == "Ada ran a [8] error ValueError"


def test_several_people_and_nobody_known() -> None:
    page = Page(A, CellView("b", "code", "b"))
    page.theirs(replace(A, source="x"), "Ada")
    page.theirs(replace(A, source="xy"), "Bob")
    page.theirs(CellView("b", "code", "bb"), "")
    assert page.told() == "Ada and Bob edited a (+1 -3 lines); somebody edited b (+1 -1 lines)"
