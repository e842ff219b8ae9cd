"""What a human's real page shows of a suggestion: nothing, until it is merged; and then just the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from playwright.async_api import expect

from collab_agent.config import Server
from collab_agent.jupyter.api import JupyterApi
from collab_agent.review import Reviewer

if TYPE_CHECKING:
    from .conftest import Goose, LabPage

LOOP = "total = 0\nfor item in items:\n    total += item\nprint(total)"


async def test_a_page_shows_a_suggestion_only_when_it_is_merged(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook([LOOP, "mine = 1"])
    await page.goto(jupyter, path)
    await page.place_caret(1, 4)
    await goose.setup(path)
    await goose.query(query="cells")
    rewrite = {"op": "write", "cell": "#1", "source": "total = sum(items)\nprint(total)"}
    answer = await goose.modify(rewrite, {"op": "insert", "source": "check()", "after": "#1"}, suggest="Sum up")
    assert answer.startswith("suggested, not written")
    async with JupyterApi(jupyter) as api, Reviewer.joined(api, path, "Ada") as reviewer:
        (kept,) = await reviewer.suggestions()
        assert await page.texts() == [LOOP, "mine = 1"]
        await expect(page.caret(0)).to_have_count(0)
        assert await page.selection(1) == (4, 4, True)
        await page.page.keyboard.type("_too")
        await reviewer.merge(kept)
        await page.wait_for_text(0, "sum(items)")
        await page.wait_for_text(2, "mine_too")
    assert await page.texts() == ["total = sum(items)\nprint(total)", "check()", "mine_too = 1"]
    assert await page.selection(2) == (8, 8, True)
