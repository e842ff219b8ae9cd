"""What a human does at a real page is told to the agent as what they did."""

from __future__ import annotations

import re
from collections.abc import Callable

from collab_agent.config import Server

from .conftest import Goose, LabPage


async def test_what_a_human_does_by_menu_and_keys_is_told_as_that(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["a = 1\nb = 2", "second", "third", "1/0", "last"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    peer = goose.inner.get(None)
    a, second, third, fails, _last = (peer.seen.short(cell.id, peer.view) for cell in peer.view.cells)
    await page.place_caret(0, 6)

    async def told() -> str:
        """The line about what the human has just done, without their name."""
        text = await goose.query(query="changes", wait_s=30)
        return re.sub(r"Anonymous \w+", "Ada", text.rpartition("since your last call: ")[2])

    await page.command("notebook:split-cell-at-cursor")
    upper = await told()
    assert re.fullmatch(rf"Ada inserted \w+, edited {a} \(\+0 -1 lines\)", upper)
    await page.command("notebook:merge-cells")
    merged = re.fullmatch(rf"Ada inserted (\w+), deleted {a}, deleted {second}", await told())
    assert merged is not None
    await page.command("notebook:move-cell-down")
    assert await told() == f"Ada moved {merged[1]}"
    await page.command("notebook:change-cell-to-markdown")
    assert await told() == f"Ada made {merged[1]} markdown"
    await page.command("notebook:insert-cell-below")
    new = re.fullmatch(r"Ada inserted (\w+)", await told())
    assert new is not None
    await page.command("notebook:delete-cell")
    assert await told() == f"Ada deleted {new[1]}"
    assert third in {peer.seen.short(cell.id, peer.view) for cell in peer.view.cells}

    await page.click_into(3)
    await page.page.keyboard.type("0  # 漢😀")
    assert await told() == f"Ada edited {fails} (+1 -1 lines)"
    place = re.sub(r"Anonymous \w+", "Ada", await goose.query(query="people"))
    assert place.startswith(f"Ada: in {fails}, line 1, column 11")
    await page.page.keyboard.press("Control+Enter")
    end = await told()
    while end == f"Ada is running {fails}":
        end = await told()
    assert end == f"Ada ran {fails} [1] error ZeroDivisionError"
