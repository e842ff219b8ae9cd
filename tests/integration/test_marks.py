"""``--mark-cells``: which cells the agent made or last changed, in their metadata, on disk too; off: nothing at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from pycrdt import Map

import collab_agent
from collab_agent.config import Server
from collab_agent.testing import Human

from .conftest import Notebook, mcp_agent_on


def mark_on(human: Human, index: int) -> dict[str, Any] | None:
    """The mark of a cell, as this human's page has it."""
    found = human.document()["cells"][index]["metadata"].get("collab_agent")
    assert found is None or isinstance(found, dict)
    return found


def metadata_of(human: Human, index: int) -> Map[Any]:
    """The live metadata of a cell."""
    found: Map[Any] = human.notebook.ycells[index]["metadata"]
    return found


def others_of(human: Human, index: int) -> dict[str, Any]:
    """The other metadata of a cell, without what the server says of it in the room."""
    found = metadata_of(human, index).to_py() or {}
    return {key: value for key, value in found.items() if key not in ("collab_agent", "trusted")}


def on_disk(server: Server, path: str) -> list[Mapping[str, Any]]:
    """The metadata of each cell in the file, which must be a valid notebook."""
    text = (Path(str(server.root_dir)) / path).read_text("utf-8")
    nbformat.validate(nbformat.reads(text, as_version=4))
    return [cell["metadata"] for cell in json.loads(text)["cells"]]


async def test_what_the_agent_made_or_changed_is_marked_and_stays_so_on_disk(
    jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a = 1", "b = 2", ("markdown", "# c"), "d = 4", "e = 5"])
    began = datetime.now(UTC).replace(microsecond=0)
    async with (
        mcp_agent_on(jupyter, mark_cells=True) as goose,
        mcp_agent_on(jupyter, name="cursor-vscode") as cursor,
        Human.join_server(jupyter, path) as ada,
    ):
        await goose.setup(path)
        await cursor.setup(path)
        await goose.query("cells")
        metadata_of(ada, 0)["tags"] = ["parameters"]
        metadata_of(ada, 0)["other"] = {"deep": [1.0, {"x": None}]}
        metadata_of(ada, 1)["tags"] = ["b"]
        await ada.insert_cell(5, "human = 1")
        await goose.sees(ada)
        await goose.edit(
            {"op": "replace", "cell": "#1", "old": "1", "new": "10"},
            {"op": "insert", "source": "new = 漢", "before": "first"},
            {"op": "retype", "cell": "#2", "type": "raw"},
            {"op": "move", "cell": "#5", "before": "#4"},
        )
        await goose.run(cells=["#5"])
        await ada.wait_for(
            lambda: ada.sources() == ["new = 漢", "a = 10", "b = 2", "# c", "e = 5", "d = 4", "human = 1"]
        )
        mark = mark_on(ada, 0)
        assert mark is not None
        assert mark.keys() == {"by", "at", "call"}
        assert mark["by"] == "Goose"
        assert began <= datetime.fromisoformat(mark["at"]) <= datetime.now(UTC)
        await ada.wait_for(lambda: [mark_on(ada, index) for index in range(7)] == [mark] * 3 + [None] * 4)

        # What a human does leaves the mark; another call of the agent's renews it, in place.
        await ada.move_cell(1, 0)
        metadata_of(ada, 0)["tags"] = ["parameters", "more"]
        await goose.sees(ada)
        await goose.edit({"op": "write", "cell": "#1", "source": "a = 11"})
        await ada.wait_for(lambda: ada.source(0) == "a = 11")
        again = mark_on(ada, 0)
        assert again is not None
        assert again["call"] != mark["call"]
        assert others_of(ada, 0) == {"tags": ["parameters", "more"], "other": {"deep": [1.0, {"x": None}]}}
        assert [mark_on(ada, index) for index in (1, 2)] == [mark, mark]

        # Other agents are told of the edits, and of no marks.
        assert "Goose" in (await cursor.query("runs")).since
        await goose.edit({"op": "replace", "cell": "#1", "old": "11", "new": "12"})
        await goose.edit({"op": "replace", "cell": "#1", "old": "12", "new": "11"})
        await goose.ok("setup_notebook", action="save")
        saved = on_disk(jupyter, path)
        assert saved[0]["tags"] == ["parameters", "more"]
        assert saved[0]["other"] == {"deep": [1, {"x": None}]}
        assert [cell.get("collab_agent") for cell in saved[1:]] == [mark, mark, None, None, None, None]
        assert saved[2]["tags"] == ["b"]
    # The room is opened anew: the marks come from the file.
    async with Human.join_server(jupyter, path, "Bob") as bob:
        assert mark_on(bob, 1) == mark


async def test_metadata_that_a_human_changes_at_the_same_moment_stay(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a = 1"])
    async with mcp_agent_on(jupyter, mark_cells=True) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.query("cells")
        for number in range(20):
            metadata_of(ada, 0)[f"key{number}"] = float(number)
            await goose.edit({"op": "write", "cell": "#1", "source": f"a = {number}"})
        await ada.wait_for(lambda: ada.source(0) == "a = 19" and mark_on(ada, 0) is not None)
        assert others_of(ada, 0) == {f"key{number}": float(number) for number in range(20)}


@pytest.mark.parametrize("split", [True, False])
async def test_split_and_merge_mark_what_is_left(jupyter: Server, notebook: Notebook, split: bool) -> None:
    path = await notebook(["a = 1\nb = 2", "c = 3"])
    async with mcp_agent_on(jupyter, mark_cells=True) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.query("cells")
        await goose.edit({"op": "split", "cell": "#1", "line": 2} if split else {"op": "merge", "cell": "#1"})
        wanted = ["a = 1", "b = 2", "c = 3"] if split else ["a = 1\nb = 2\nc = 3"]
        await ada.wait_for(lambda: ada.sources() == wanted)
        marked = [mark_on(ada, index) is not None for index in range(len(wanted))]
        assert marked == ([True, True, False] if split else [True])


async def test_without_the_flag_nothing_is_written(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a = 1"])
    async with mcp_agent_on(jupyter) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.query("cells")
        await goose.edit(
            {"op": "write", "cell": "#1", "source": "a = 2"}, {"op": "insert", "source": "b", "type": "raw"}
        )
        await goose.run(cells=["#1"])
        await goose.ok("setup_notebook", action="save")
        await ada.wait_for(lambda: ada.sources() == ["a = 2", "b"])
        assert [mark_on(ada, index) for index in (0, 1)] == [None, None]
        assert on_disk(jupyter, path) == [{}, {}]


async def test_the_library_marks_too(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a = 1"])
    async with (
        Human.join_server(jupyter, path) as ada,
        collab_agent.join(jupyter.url, jupyter.token, path, name="Helper", mark_cells=True) as peer,
    ):
        await peer.edit([{"op": "insert", "source": "b = 2"}])
        await ada.wait_for(lambda: ada.sources() == ["a = 1", "b = 2"])
        assert mark_on(ada, 0) is None
        mark = mark_on(ada, 1)
        assert mark is not None
        assert mark["by"] == "Helper"
