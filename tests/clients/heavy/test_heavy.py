"""What only Codex and Claude Code do.  This folder is only looked into with ``--every-client``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.driving import SLEEPS, opens, timing_out
from tests.clients.scripted_model import ToolCall
from tests.clients.test_others import CLIENTS, at_work

PAGE = Path(__file__).parents[3] / "docs/clients/others.md"


@pytest.mark.parametrize("client", ["codex", "claude"])
async def test_a_timeout_in_a_client_interrupts_the_cell_that_it_waits_for(
    client: str, client_env: dict[str, str], new_notebook: Callable[..., str], tmp_path: Path
) -> None:
    """Progress does not put it off; opencode, for one, starts its clock anew at every word of it."""
    path = new_notebook(SLEEPS)
    name = CLIENTS[client].name
    async with at_work(client, timing_out(path, name), client_env, tmp_path, timeout_s=10) as made:
        assert "too slow" in await made.ended()


async def test_claude_code_looks_without_asking_and_has_no_tool_for_notebook_files(
    client_env: dict[str, str], new_notebook: Callable[..., str], tmp_path: Path
) -> None:
    """With the settings of the documentation, and no permission by the command line."""
    _, _, settings = PAGE.read_text("utf-8").partition("```json\n")
    file = tmp_path / ".claude/settings.json"
    file.parent.mkdir()
    file.write_text(settings.partition("```")[0], "utf-8")

    def looks(opened: str) -> ToolCall:
        assert "you are: Claude" in opened
        return ToolCall("query_notebook", {"query": "cells"})

    def tries(shown: str) -> ToolCall:
        assert "1 + 1" in shown
        return ToolCall("execute_notebook_code", {"cells": ["#1"]})

    def tells(refused: str) -> str:
        assert "permission" in refused
        return "I may only look."

    path = new_notebook(["1 + 1"])
    async with at_work("claude", [opens(path), looks, tries, tells], client_env, tmp_path, options=()) as made:
        assert "I may only look." in await made.ended()
    assert "NotebookEdit" not in made.model.tools
    assert not re.search("^NotebookEdit$", made.model.told, re.MULTILINE)
