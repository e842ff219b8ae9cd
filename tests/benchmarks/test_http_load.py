"""A few seconds of ``http_load.py``: every client is an agent of its own, and nothing is lost or doubled."""

from __future__ import annotations

from pathlib import Path

from collab_agent.config import Server

from .http_load import Load, drive, table


async def test_every_client_is_an_agent_and_all_that_was_confirmed_is_there_once(
    jupyter: Server, tmp_path: Path
) -> None:
    load = Load(clients=4, notebooks=2, seconds=3.0, pace_s=0.2)
    record = await drive(jupyter, tmp_path, load)
    assert record.errors == []
    assert record.wrong == []
    assert record.agents_seen == 4
    assert len(record.took["open"]) == 8
    assert "4 clients, 2 notebooks" in table(load, record)
