"""Undo as the human's page shows it: their caret and their own undo stay theirs, and outputs are there again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.async_api import expect

from collab_agent.config import Server

from .conftest import Goose, LabPage

KEY_MS = 15
UNDO: dict[str, Any] = {"op": "undo"}
PRINTS = "print('漢😀')\n6 * 7"


async def test_undo_leaves_the_humans_caret_and_their_own_undo_alone(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["a = 1\nb = 2\nend"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    await goose.query(query="cells")
    await page.click_into(0)
    await page.page.keyboard.type(" of mine", delay=KEY_MS)
    text = "a = 1\nx = '😀'\nb = 2\nend of mine"
    await goose.modify({"op": "replace", "cell": "#1", "old": "b = 2", "new": "x = '😀'\nb = 2"})
    await page.wait_for_text(0, "x =")
    assert await page.text(0) == text
    assert "undid call 1" in await goose.modify(UNDO)
    await page.wait_for_text(0, "a = 1\nb = 2\nend of mine")
    at = len("a = 1\nb = 2\nend of mine")
    assert await page.selection(0) == (at, at, True)
    await page.page.keyboard.type("!", delay=KEY_MS)
    assert await page.text(0) == "a = 1\nb = 2\nend of mine!"
    for _ in range(4):  # more often than there is anything of theirs
        await page.page.keyboard.press("Control+z")
    assert await page.text(0) == "a = 1\nb = 2\nend"
    await goose.modify({"op": "redo"})
    await page.wait_for_text(0, "a = 1\nx = '😀'\nb = 2\nend")


async def test_what_comes_back_shows_its_outputs_and_its_count(
    jupyter: Server, new_notebook: Callable[..., str], page: LabPage, goose: Goose
) -> None:
    path = new_notebook(["first", PRINTS, "last"])
    await page.goto(jupyter, path)
    await goose.setup(path)
    await goose.query(query="cells")
    assert "[1] ok" in await goose.execute(cells=["#2"])
    await expect(page.cell(1).locator(".jp-OutputArea-output")).to_have_text(["漢😀\n", "42"])
    for edit in (
        {"op": "clear", "cells": ["#2"]},
        {"op": "retype", "cell": "#2", "type": "markdown"},
        {"op": "delete", "cell": "#2"},
    ):
        await goose.modify(edit)
        await expect(page.page.locator(".jp-OutputArea-output")).to_have_count(0)
        await goose.modify(UNDO)
        await expect(page.cell(1).locator(".jp-OutputArea-output")).to_have_text(["漢😀\n", "42"])
        await expect(page.cell(1).locator(".jp-InputPrompt")).to_have_text("[1]:")
        assert await page.texts() == ["first", PRINTS, "last"]
    # It is a living cell.
    await page.click_into(1)
    await page.page.keyboard.type(" + 1", delay=KEY_MS)
    await page.page.keyboard.press("Shift+Enter")
    await expect(page.cell(1).locator(".jp-OutputArea-output")).to_have_text(["漢😀\n", "43"])
