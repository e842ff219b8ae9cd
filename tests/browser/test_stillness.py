"""Whatever the agent does above and below: the human's focus, selection and screen stay where the human left them.

The notebook is long enough to scroll, and the page is stock JupyterLab 4.6, which holds the screen in place (the
browser's scroll anchoring) only while its active cell can be seen.  Where the human has scrolled away from it, whatever
becomes longer above pushes the text down, whoever wrote it: that is measured beside it, with another *human*.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from collab_agent.config import Server
from collab_agent.testing import Human

if TYPE_CHECKING:
    from .conftest import Goose, LabPage

CELLS, HERE = 40, 20
FAR = 6
"""Cells that are at least so far from the human's are off the screen."""
EDITS = 100
STILL_PX = 2.0
"""The browser scrolls by whole device pixels while it holds the screen in place."""

WHERE = """([id]) => {
  const nb = window.jupyterapp.shell.currentWidget.content;
  const cell = nb.widgets.find(each => each.model.id === id);
  const focused = document.activeElement, holder = focused.closest('.jp-Cell');
  const view = cell.editor.editor, main = view.state.selection.main;
  return {
    focus: [focused.tagName, focused.className.split(' ')[0]],
    focusedCell: nb.widgets.find(each => each.node === holder)?.model.id ?? null,
    active: nb.activeCell.model.id,
    mode: nb.mode,
    selected: nb.selectedCells.map(each => each.model.id),
    selection: [main.anchor, main.head, view.state.sliceDoc(main.from, main.to)],
    drawnSelection: window.getSelection().toString(),
    top: cell.node.getBoundingClientRect().top,
    scrolled: nb.outerNode.scrollTop,
  }
}"""
"""JavaScript: what must stay, for the human's cell."""

STRAYS = """() => {
  const nb = window.jupyterapp.shell.currentWidget.content;
  const strays = window.strays = [];
  const name = node => (node?.className ?? String(node)).toString().split(' ')[0];
  document.addEventListener('focusout', event => strays.push(['lost the focus', name(event.target)]), true);
  document.addEventListener('focusin', event => strays.push(['got the focus', name(event.target)]), true);
  let active = nb.activeCell.model.id;
  nb.activeCellChanged.connect((_, cell) => {
    if (cell.model.id !== active) strays.push(['became active', active = cell.model.id]);
  });
}"""
"""JavaScript: write down every change of focus and of the active cell from now on, however short."""

SHOWS = """([wanted]) => JSON.stringify(
  window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map(
    cell => [cell.getId(), cell.getSource(), cell.cell_type === 'code' ? cell.getOutputs().length : 0])) === wanted"""
"""JavaScript: whether the page's notebook holds these ids, sources and numbers of outputs."""

DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"

STREAM = "import time\nfor step in range(40):\n    print('step', step, flush=True)\n    time.sleep(0.005)"
PICTURE = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);"


class Desk:
    """A long notebook with its human, who has settled, and the agent that works around them."""

    def __init__(self, page: LabPage, goose: Goose, cell: str) -> None:
        self.page, self.goose, self.cell = page, goose, cell
        self.edits = 0
        self.holds = "top"
        """What stays: where the human's cell stands on the screen, or else how far the page is scrolled."""
        self.before: dict[str, Any] = {}

    async def settle(self) -> None:
        """The human has done what they wanted to do; from now on nothing of theirs may move."""
        await self.page.page.evaluate(DRAWN)
        self.before = await self.look()
        await self.page.page.evaluate(STRAYS)

    async def look(self) -> dict[str, Any]:
        """Where everything is."""
        found: dict[str, Any] = await self.page.page.evaluate(WHERE, [self.cell])
        return found

    def ids(self) -> list[str]:
        """The cells as the agent has them."""
        return [cell.id for cell in self.goose.inner.get(None).view.cells]

    async def shown(self) -> None:
        """Wait until the page has drawn all that the agent's replica holds."""
        peer = self.goose.inner.get(None)
        wanted = [[cell.id, cell.source, len(peer.outputs(cell.id))] for cell in peer.view.cells]
        text = json.dumps(wanted, ensure_ascii=False, separators=(",", ":"))
        await self.page.page.wait_for_function(SHOWS, arg=[text])
        await self.page.page.evaluate(DRAWN)

    async def hold(self, what: str) -> None:
        """Nothing of the human's has moved."""
        await self.shown()
        now = await self.look()
        drawn = {"top": 0, "scrolled": 0}
        assert now | drawn == self.before | drawn, what
        assert abs(now[self.holds] - self.before[self.holds]) <= STILL_PX, (what, self.before, now)
        assert await self.page.page.evaluate("window.strays") == [], what

    async def edit(self, *edits: dict[str, Any]) -> None:
        """The agent edits, and nothing moves."""
        await self.goose.modify(*edits)
        self.edits += len(edits)
        await self.hold(repr(edits))

    async def run(self, cell: str, source: str) -> None:
        """The agent writes and runs a cell, and nothing moves."""
        await self.goose.execute(edits=[{"op": "write", "cell": cell, "source": source}], wait_s=60)
        self.edits += 1
        await self.hold(f"run {source!r}")


async def desk_of(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose, *, top: float = 0.4
) -> Desk:
    """Open a long notebook with the human's cell at this part of the screen's height, and have the agent read it."""
    path = new_notebook([f"value_{number} = {number}\n" * 4 + "pass" for number in range(CELLS)])
    await page.goto(jupyter, path)
    await goose.setup(path)
    await goose.query(query="cells", limit=10_000)
    cell = goose.inner.get(None).view.cells[HERE].id
    await page.cell(HERE).scroll_into_view_if_needed()
    await page.page.evaluate(
        """([id, part]) => {
          const nb = window.jupyterapp.shell.currentWidget.content;
          const node = nb.widgets.find(each => each.model.id === id).node, outer = nb.outerNode;
          outer.scrollTop += node.getBoundingClientRect().top - outer.getBoundingClientRect().top
            - part * outer.clientHeight }""",
        [cell, top],
    )
    return Desk(page, goose, cell)


def round_of(desk: Desk, number: int) -> Iterator[tuple[dict[str, Any], ...]]:
    """The edits of one round, call by call; each is made when the one before it is in the notebook."""

    def above(place: int) -> str:
        return desk.ids()[place]

    def below(place: int) -> str:
        return desk.ids()[desk.ids().index(desk.cell) + place]

    text = f"made = {number}\n" * 6 + "made"
    yield ({"op": "insert", "source": text, "before": above(1)},)
    yield ({"op": "insert", "source": text, "after": below(1)},)
    yield ({"op": "write", "cell": above(4), "source": text * 3},)
    yield ({"op": "write", "cell": below(3), "source": f"short_{number}"},)
    yield ({"op": "replace", "cell": above(5), "old": "\n", "new": f"  # {number}\n\n", "all": True},)
    yield ({"op": "split", "cell": above(4), "line": 5},)
    yield ({"op": "move", "cell": above(7), "before": above(2)},)
    yield ({"op": "move", "cell": above(1), "after": above(6)},)
    yield ({"op": "merge", "cell": above(6)},)
    yield ({"op": "insert", "type": "markdown", "source": f"## Part {number}\n\n* a\n* b", "after": above(0)},)
    yield ({"op": "retype", "cell": above(3), "type": ("raw", "markdown", "code")[number % 3]},)
    yield ({"op": "delete", "cell": above(2)},)
    yield ({"op": "move", "cell": above(1), "after": below(FAR)},)
    yield ({"op": "move", "cell": below(FAR + 1), "before": above(1)},)
    yield ({"op": "delete", "cell": below(2)}, {"op": "insert", "source": text, "after": below(4)})
    yield (
        {"op": "insert", "source": text, "before": above(1)},
        {"op": "write", "cell": below(FAR), "source": text},
        {"op": "insert", "source": text, "before": above(4)},
        {"op": "delete", "cell": above(5)},
    )


async def hundred_edits(desk: Desk) -> None:
    """At least a hundred edits of every kind, above and below, and runs with long outputs and pictures."""
    number = 0
    while desk.edits < EDITS:
        calls = round_of(desk, number)
        for edits in calls:
            await desk.edit(*edits)
        ids = desk.ids()
        code = [cell.id for cell in desk.goose.inner.get(None).view.cells if cell.type == "code"]
        upper = [cell for cell in code if ids.index(cell) < ids.index(desk.cell) - FAR]
        lower = [cell for cell in code if ids.index(cell) > ids.index(desk.cell)]
        await desk.run(upper[number], STREAM)
        await desk.run(lower[number], STREAM)
        await desk.run(upper[-1 - number], PICTURE)
        await desk.edit({"op": "clear", "cells": [upper[number]]})
        number += 1
    await desk.edit({"op": "undo", "steps": number * 4})


async def test_a_hundred_edits_leave_a_human_who_selects_text_alone(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    desk = await desk_of(jupyter, new_notebook, page, goose)
    await page.place_caret(HERE, 3)
    for _ in range(5):
        await page.page.keyboard.press("Shift+ArrowRight")
    await desk.settle()
    assert desk.before["selection"] == [3, 8, "ue_20"]
    assert (desk.before["focusedCell"], desk.before["mode"]) == (desk.cell, "edit")
    await hundred_edits(desk)
    # In edit mode the browser holds the human's lines in place even where a cell that they see grows or shrinks.
    ids = desk.ids()
    for cell in (ids[ids.index(desk.cell) - 1], ids[ids.index(desk.cell) + 1]):
        await desk.edit({"op": "write", "cell": cell, "source": "grown = 1\n" * 12})
        await desk.edit({"op": "insert", "source": "new = 1\n" * 5, "before": cell})
        await desk.edit({"op": "write", "cell": cell, "source": "shrunk"})
    await desk.edit({"op": "replace", "cell": desk.cell, "old": "pass", "new": "pass  # and so on"})
    await page.page.keyboard.type("X")
    assert (await page.text(desk.ids().index(desk.cell))).startswith("valX = 20\nvalue_20 = 20\n")


async def test_a_hundred_edits_leave_a_human_in_command_mode_alone(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    desk = await desk_of(jupyter, new_notebook, page, goose)
    await page.place_caret(HERE, 0)
    await page.page.keyboard.press("Escape")
    await page.page.keyboard.press("Shift+ArrowDown")
    await desk.settle()
    assert desk.before["mode"] == "command"
    assert len(desk.before["selected"]) == 2
    await hundred_edits(desk)
    await page.page.keyboard.press("Enter")
    await page.page.keyboard.type("X")
    assert await page.notebook("nb.activeCell.model.id") == desk.before["active"]
    assert "X" in await page.notebook("nb.activeCell.model.sharedModel.getSource()")


async def test_a_hundred_edits_leave_a_human_whose_focus_is_elsewhere_alone(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    desk = await desk_of(jupyter, new_notebook, page, goose)
    await page.place_caret(HERE, 0)
    await page.command("filebrowser:toggle-file-filter")
    search = page.page.locator(".jp-FileBrowser-filterBox input")
    await search.fill("val")
    await desk.settle()
    assert desk.before["focusedCell"] is None
    await hundred_edits(desk)
    await page.page.keyboard.type("ue")
    await expect(search).to_have_value("value")


async def test_a_hundred_edits_do_not_scroll_the_page_of_a_human_who_has_scrolled_away(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    desk = await desk_of(jupyter, new_notebook, page, goose)
    await desk.settle()
    desk.holds = "scrolled"
    assert desk.before["active"] == desk.ids()[0]
    await hundred_edits(desk)


@pytest.mark.parametrize("who", ["another human", "the agent"])
async def test_above_a_human_who_has_scrolled_away_a_longer_text_pushes_down_what_they_see_whoever_wrote_it(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose, who: str
) -> None:
    """The baseline: the page treats the agent as it treats anybody."""
    desk = await desk_of(jupyter, new_notebook, page, goose)
    await desk.settle()
    above, lines = desk.ids()[HERE - 1], "\npass" * 9
    if who == "the agent":
        await goose.modify({"op": "replace", "cell": above, "old": "pass", "new": "pass" + lines})
        await goose.modify({"op": "insert", "source": "new", "before": "#2"})
    else:
        async with Human.join_server(jupyter, goose.inner.get(None).path, "Bob") as bob:
            await bob.type(above, lines)
            await bob.insert_cell(1, "new")
            await page.page.wait_for_function(f"jupyterapp.shell.currentWidget.content.widgets.length === {CELLS + 1}")
    await expect(page.cell(HERE).locator(".cm-line")).to_have_count(14)
    await page.page.evaluate(DRAWN)
    line = (await page.cell(HERE).locator(".cm-line").first.bounding_box() or {})["height"]
    new = await page.notebook("nb.widgets[1].node.getBoundingClientRect().height")
    now = await desk.look()
    assert now["top"] - desk.before["top"] == pytest.approx(9 * line + new, abs=STILL_PX)
    assert now["scrolled"] == desk.before["scrolled"]
    assert await page.page.evaluate("window.strays") == []
