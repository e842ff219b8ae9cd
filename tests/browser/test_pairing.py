"""A human at a real page and an agent work in the same notebook: nothing is lost, moved or overwritten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from playwright.async_api import expect

from collab_agent.config import Server
from tests.files import notebook_in

if TYPE_CHECKING:
    from .conftest import Goose, LabPage

TYPED = "the mean is off by one é 😀 see the last row and the 3rd column before you trust it "
KEY_MS = 15
EDITS, AHEAD = 24, 4

START = """\
total = 0
# note:
for item in range(3):
    total += item
print(total)"""


def file_sources(server: Server, path: str) -> list[str]:
    """The sources of a notebook's cells as the file holds them."""
    assert server.root_dir is not None
    cells = notebook_in(Path(server.root_dir) / path)["cells"]
    return ["".join(cell["source"]) for cell in cells]


async def test_both_type_in_one_cell_and_no_keystroke_is_lost(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook([START])
    await page.goto(jupyter, path)
    await goose.setup(path)
    await goose.query(query="cells")
    at = START.index("# note:") + len("# note:")
    await page.place_caret(0, at)
    strokes = 0
    spans: list[tuple[int, int]] = []
    edited = anyio.Event()

    async def type_on() -> None:
        nonlocal strokes
        for character in TYPED:
            await page.page.keyboard.type(character, delay=KEY_MS)
            strokes += 1
            while strokes >= AHEAD * (len(spans) + 2) and len(spans) < EDITS:  # never ahead of all edits
                await edited.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(type_on)
        for number in range(EDITS):
            began = strokes
            old, new = (("total = ", f"total = {number}"), ("print(total", f"print(total, {number}"))[number % 2]
            await goose.modify({"op": "replace", "cell": "#1", "old": old, "new": new})
            spans.append((began, strokes))
            edited.set()
            edited = anyio.Event()
            if number == EDITS // 2:  # while both type, the agent is to be seen in the cell
                await page.caret(0).wait_for()
                await page.visible_flag("Goose").wait_for()
    assert any(after > before for before, after in spans), "no key was pressed while an edit was under way"
    wanted = START.replace("# note:", f"# note:{TYPED}")
    for number in range(0, EDITS, 2):
        wanted = wanted.replace("total = ", f"total = {number}", 1)
        wanted = wanted.replace("print(total", f"print(total, {number + 1}", 1)
    await page.wait_for_text(0, f"print(total, {EDITS - 1}")
    assert await page.text(0) == wanted
    await goose.setup(action="save")
    assert goose.sources() == [wanted]
    assert file_sources(jupyter, path) == [wanted]
    end = len(wanted[: wanted.index(TYPED) + len(TYPED)].encode("utf-16-le")) // 2
    assert await page.selection(0) == (end, end, True)
    await expect(page.caret(0)).to_have_count(1)


async def test_outputs_of_a_run_reach_the_page_as_they_come(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["1"])
    assert jupyter.root_dir is not None
    gate = Path(jupyter.root_dir) / f"{path}.gate"
    await page.goto(jupyter, path)
    await goose.setup(path)
    source = "\n".join(
        [
            "import pathlib, time",
            'print("begun")',
            f"while not pathlib.Path({str(gate)!r}).exists():",
            "    time.sleep(0.02)",
            'print("over")',
        ]
    )
    await goose.execute(edits=[{"op": "insert", "source": source}], wait_s=0)
    cell = page.cell(1)
    await expect(cell.locator(".jp-OutputArea-output")).to_have_text("begun\n")
    await expect(cell.locator(".jp-InputPrompt")).to_have_text("[*]:")
    gate.touch()
    await expect(cell.locator(".jp-OutputArea-output")).to_have_text("begun\nover\n")
    await expect(cell.locator(".jp-InputPrompt")).to_have_text("[1]:")


async def test_pictures_tables_and_errors_reach_the_page(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["import pandas as pd"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()"
    table = 'pd.DataFrame({"city": ["Łódź", "Pará"], "x": [1.5, 2]})'
    edits = [{"op": "insert", "source": source} for source in (plot, table, "1 / 0")]
    await goose.execute(edits=edits, cells=["all"], wait_s=60)
    picture = page.cell(1).locator('.jp-RenderedImage img[src^="data:image/png"]')
    await expect(picture).to_be_visible()
    assert await picture.evaluate("image => image.naturalWidth") > 100
    await expect(page.cell(2).locator("table.dataframe td").first).to_have_text("Łódź")
    await expect(page.cell(3).locator(".jp-OutputArea-output")).to_contain_text("ZeroDivisionError: division by zero")
    prompts = [await page.cell(index).locator(".jp-InputPrompt").inner_text() for index in range(4)]
    assert prompts == ["[1]:", "[2]:", "[3]:", "[4]:"]


async def test_human_and_agent_share_the_kernel(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["", "answer + 1"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    await page.click_into(0)
    await page.page.keyboard.type("answer = 41", delay=KEY_MS)
    await page.page.keyboard.press("Shift+Enter")
    await expect(page.cell(0).locator(".jp-InputPrompt")).to_have_text("[1]:")
    assert "[2] ok" in await goose.execute(cells=["#2"])
    await expect(page.cell(1).locator(".jp-OutputArea-executeResult .jp-OutputArea-output")).to_have_text("42")


async def test_undo_of_the_human_leaves_the_agents_text_alone(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["a = 1\nb = 2"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    await goose.query(query="cells")
    await page.click_into(0)
    await page.page.keyboard.type("0 + mine", delay=KEY_MS)
    await goose.modify({"op": "replace", "cell": "#1", "old": "a = 1", "new": "a = 12345"})
    await page.wait_for_text(0, "a = 12345")
    await page.page.keyboard.type(" + mine too", delay=KEY_MS)
    assert await page.text(0) == "a = 12345\nb = 20 + mine + mine too"
    for _ in range(8):  # more often than there is anything of theirs
        await page.page.keyboard.press("Control+z")
    assert await page.text(0) == "a = 12345\nb = 2"
    for _ in range(8):
        await page.page.keyboard.press("Control+Shift+z")
    assert await page.text(0) == "a = 12345\nb = 20 + mine + mine too"
    await goose.setup(action="save")
    assert file_sources(jupyter, path) == goose.sources() == ["a = 12345\nb = 20 + mine + mine too"]


async def test_a_rewrite_of_the_whole_cell_leaves_the_humans_caret_at_its_character(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    before = 'import math\n\nradius = 2\narea = math.pi * radius ** 2\nprint("é😀", area)'
    after = (
        'from math import pi\n\n\ndef area_of(radius):\n    """Of a circle."""\n    return pi * radius**2\n\n\n'
        'area = area_of(2)\nprint("é😀", area)\nprint("done")'
    )
    path = new_notebook([before])
    await page.goto(jupyter, path)
    await goose.setup(path)
    await goose.query(query="cells")
    mark = '", area)'
    await page.place_caret(0, before.index(mark))
    await goose.modify({"op": "write", "cell": "#1", "source": after})
    await page.wait_for_text(0, "done")
    assert await page.text(0) == after
    at = len(after[: after.index(mark)].encode("utf-16-le")) // 2
    assert await page.selection(0) == (at, at, True)
    await page.page.keyboard.type("!", delay=KEY_MS)
    assert await page.text(0) == after.replace(mark, "!" + mark)
