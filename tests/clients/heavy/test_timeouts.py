"""A timeout of Codex and of Claude Code, which progress does not put off, interrupts the cell that the call waits for.

This folder is only looked into with ``--every-client``.  opencode starts its clock anew at every word of progress.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.driving import SLEEPS, timing_out
from tests.clients.test_others import CLIENTS, COMMAND, at_work


@pytest.mark.parametrize("client", ["codex", "claude"])
async def test_a_timeout_in_a_client_interrupts_the_cell_that_it_waits_for(
    client: str, client_env: dict[str, str], new_notebook: Callable[..., str], tmp_path: Path
) -> None:
    path = new_notebook(SLEEPS)
    name = CLIENTS[client].name
    async with at_work(client, timing_out(path, name), client_env, tmp_path, timeout_s=10) as made:
        assert "too slow" in await made.ended()
