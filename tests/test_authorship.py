"""Whose a deletion was that no update signs: the server's, which has read the file, or a human's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from collab_agent.authorship import DISK, MOST_BETWEEN, Authorship
from collab_agent.notebook.model import CellView, PeerView
from collab_agent.room.provider import RoomProvider
from collab_agent.room.replica import RemoteChange

ADA = 7
NOBODY: frozenset[int] = frozenset()


def change(clients: frozenset[int] = NOBODY, **fields: Any) -> RemoteChange:
    return RemoteChange(clients, fields.pop("cells", frozenset()), frozenset(), **fields)


GONE = change(deleted={"a": CellView("a", "code", "x = 1")})
BETWEEN = change(frozenset({ADA, 9}), cells=frozenset({"b"}), deleted=GONE.deleted)
"""A key came while the server was writing."""
TYPED = change(frozenset({ADA}), cells=frozenset({"b"}))
CLEAN = change(frozenset({9}), state={"dirty": False})
HASHED = change(frozenset({9}), state={"hash": "0"})


@pytest.mark.parametrize(
    ("updates", "whose"),
    [
        ([GONE], ADA),
        ([GONE, CLEAN], DISK),
        ([GONE, TYPED, CLEAN], DISK),
        ([GONE, TYPED, CLEAN, TYPED, TYPED], DISK),
        ([BETWEEN, CLEAN], DISK),
        ([GONE, CLEAN, HASHED], ADA),
        ([GONE, TYPED, CLEAN, TYPED, HASHED], ADA),
        ([GONE, *[TYPED] * (MOST_BETWEEN + 1), CLEAN], ADA),
    ],
    ids=[
        "unsigned",
        "read",
        "read while typed",
        "and after",
        "in one",
        "saved",
        "saved while typed",
        "long before a save",
    ],
)
def test_what_the_server_writes_next_tells_whose_a_deletion_was(updates: list[RemoteChange], whose: int) -> None:
    replica = SimpleNamespace(cell=lambda _cell: None, hash=None)
    authorship = Authorship(cast(RoomProvider, SimpleNamespace(replica=replica)))
    authorship.learn([PeerView(ADA, "Ada")])
    known: dict[str, tuple[int, ...]] = {"a": (ADA,)}
    for each in updates:
        known |= authorship.turned_out(each, {"a": (ADA,)})
    assert known == {"a": (whose,)}
