"""The scripted human, in an in-process room and on a real server."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import pytest

from collab_agent.config import Server
from collab_agent.errors import CellNotFound, NotebookNotFound, RoomClosed
from collab_agent.testing import Human, InProcessRoom, converged


async def test_two_humans_in_a_room_see_each_others_typing() -> None:
    async with (
        InProcessRoom(["x = 1"]) as room,
        Human.join(room.connect, "Ada") as ada,
        Human.join(room.connect, "Bob") as bob,
    ):
        await ada.type(0, "00", at=5)
        await bob.type(0, "😀é", at=0)
        await ada.type(0, "!")
        await room.wait_for(lambda: room.sources() == ["😀éx = 100!"])
        await bob.wait_for(lambda: bob.sources() == room.sources())
        await ada.wait_for(lambda: ada.sources() == room.sources())
        assert (ada.caret_text(), bob.caret_text()) == ("😀éx = 100!|", "😀é|x = 100!")
        assert converged(ada, bob, room)
        assert ada.lost() == bob.lost() == []


async def test_a_human_is_seen_with_a_caret_and_is_gone_on_leaving() -> None:
    async with InProcessRoom(["aé😀b"]) as room, Human.join(room.connect, "Ada") as ada:
        async with Human.join(room.connect, "Bob") as bob:
            await bob.place_caret(0, 3)
            await ada.wait_for(lambda: any(state.get("cursors") for state in ada.peers().values()))
            (state,) = ada.peers().values()
            assert state["user"]["name"] == "Bob"
            assert state["autosave"] is True
            (cursor,) = state["cursors"]
            assert set(cursor["head"]) == {"type", "tname", "item", "assoc"}
            assert cursor["head"]["item"]["clock"] - cursor["head"]["type"]["clock"] == 1 + 1 + 1 + 2  # UTF-16 units
            await bob.wait_for(lambda: any("user" in state for state in bob.peers().values()))
        await ada.wait_for(lambda: not ada.peers())


async def test_backspace_takes_back_a_keystroke_and_lost_names_what_others_deleted() -> None:
    async with (
        InProcessRoom([""]) as room,
        Human.join(room.connect, "Ada") as ada,
        Human.join(room.connect, "Bob") as bob,
    ):
        marks = await ada.type_marks(0, 4)
        await ada.backspace()
        await bob.wait_for(lambda: bob.sources() == [marks[:3]])
        await bob.place_caret(0, 2)
        await bob.backspace(5)
        await ada.wait_for(lambda: ada.sources() == [marks[2]])
        assert ada.lost() == list(marks[:2])


async def test_what_was_typed_while_the_room_was_away_is_merged_on_return() -> None:
    async with InProcessRoom([""]) as room, Human.join(room.connect, "Ada") as ada:
        room.refuse = RoomClosed("The room is away.")
        room.cut()
        await ada.wait_for(lambda: True)
        marks = await ada.type_marks(0, 3)
        assert room.sources() == [""]
        room.refuse = None
        await room.wait_for(lambda: room.sources() == [marks])


async def test_cells_are_inserted_moved_deleted_and_run() -> None:
    async with InProcessRoom(["a", "b", "c"]) as room, Human.join(room.connect) as ada:
        new = await ada.insert_cell(1, "n", "markdown")
        await ada.move_cell(new, 3)
        await ada.delete_cell(0)
        await ada.mark_running(0, True)
        await ada.mark_running(0, False, 7)
        await room.wait_for(lambda: room.document()["cells"][0]["execution_count"] == 7)
        assert room.sources() == ["b", "c", "n"]
        assert ada.ids()[2] == new
        with pytest.raises(CellNotFound):
            await ada.type("gone", "x")


async def test_a_caret_that_a_rebuilding_has_left_inside_a_character_types_before_it() -> None:
    async with InProcessRoom(["ab漢😀"]) as room, Human.join(room.connect) as ada, Human.join(room.connect) as ben:
        cell = ada.ids()[0]
        room.channels[0].hold()
        await ada.type(cell, "xyz", 3)  # stands at byte 8, which in the cell as Ben rebuilds it is inside 😀
        await ben.move_cell(0, 0)
        room.channels[0].release()
        await ada.wait_for(lambda: ada.sources() == ["ab漢😀"])
        await ada.type(cell, "!")
        await ben.wait_for(lambda: ben.sources() == ["ab漢!😀"])
        assert room.sources() == ada.sources() == ["ab漢!😀"]


async def test_a_refused_connection_is_raised_as_it_is() -> None:
    async with InProcessRoom() as room:
        room.refuse = NotebookNotFound("There is none.")
        with pytest.raises(NotebookNotFound):
            async with Human.join(room.connect):
                pass


async def test_on_a_real_server_the_typing_reaches_the_file(jupyter: Server, new_notebook) -> None:  # type: ignore[no-untyped-def]
    path = new_notebook(["x = 1"])
    async with Human.join_server(jupyter, path, "Ada") as ada, Human.join_server(jupyter, path, "Bob") as bob:
        marks = await ada.type_marks(0, 5, at=1)
        await bob.type(0, "é😀", at=0)
        await bob.wait_for(lambda: set(marks) <= set(bob.source(0)) and "Ada" in str(bob.peers()))
        await ada.wait_for(lambda: ada.sources() == bob.sources())
        file = Path(str(jupyter.root_dir)) / path
        await ada.wait_for(lambda: converged(ada, json.loads(file.read_text("utf-8"))), timeout_s=10)
        assert ada.lost() == bob.lost() == []


async def test_who_has_left_is_kept_by_nobody() -> None:
    async with InProcessRoom(["x = 1"]) as room:
        async with Human.join(room.connect) as ada:
            await ada.type(0, "2")
        left = weakref.ref(ada.notebook.ydoc)
        del ada
        gc.collect()
        assert left() is None
