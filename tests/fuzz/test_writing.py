"""A write that fails in the middle, as by a bug of ours or of pycrdt, reaches the room as a whole or not at all."""

from __future__ import annotations

import anyio
import pytest

from collab_agent.config import Identity
from collab_agent.errors import LocalProtocolError
from collab_agent.notebook.splice import Splice
from collab_agent.notebook.steps import InsertCell, RefillCell, SpliceSource, Step
from collab_agent.peer import NotebookPeer
from collab_agent.room.protocol import Synced
from collab_agent.testing import Human, InProcessRoom, RoomHost

BROKEN: list[Step] = [
    SpliceSource("gone", (Splice(0, 0, "x"),)),
    InsertCell("new", 9_999, "code", "out of range"),
    InsertCell("new", 0, "code", "\ud800"),
    RefillCell("2", ({"output_type": "display_data", "data": {"a": 10**400}, "metadata": {}},), None),
]


@pytest.mark.parametrize("broken", BROKEN, ids=["no such cell", "no such place", "no UTF-8", "no float"])
async def test_all_of_a_write_or_nothing(broken: Step) -> None:
    cells = [{"id": str(n), "cell_type": "code", "source": f"{n}"} for n in range(4)]
    async with (
        InProcessRoom(cells) as room,
        Human.join(room.connect, "Ada") as ada,
        NotebookPeer.joined(RoomHost(room), "notebook.ipynb", Identity.named("Goose")) as peer,
    ):
        again = anyio.Event()
        peer.observe(lambda event: again.set() if isinstance(event, Synced) else None)
        first: Step = SpliceSource("0", (Splice(0, 1, "half"),))
        inserted: Step = InsertCell("half", 2, "raw", "half")  # in a transaction of its own
        with pytest.raises(LocalProtocolError, match="Nothing was written"):
            peer._room.write_soon([first, inserted, broken])
        with anyio.fail_after(10):
            await again.wait()
        await peer.edit([{"op": "insert", "source": "whole", "type": "raw"}])
        await ada.wait_for(lambda: "whole" in ada.sources())
        assert ada.sources() == room.sources() == ["0", "1", "2", "3", "whole"]
        assert [cell.source for cell in peer.view.cells] == room.sources()
