"""Whose an update is: whose clock advanced, whose caret is there where none did, and what only a server does.

The theory.  An update says which clients wrote what is new in it, and their awareness states say who they are.  What
only takes away advances no clock: then whose caret is in the cell.

A change of the file on disk comes through the room as an update of the server's own (jupyter-collaboration 5.0.4, seen
and read).  The server writes into the document on three occasions, and on no other:

* it reads the changed file: one update that also takes ``hash`` out of the shared ``state``, if it was there; then one
  that puts ``dirty``;
* it has written the file: one update that puts ``dirty``, and right behind it one that puts ``hash``;
* it loads the notebook piece by piece, as client 0.

The server always puts false for ``dirty``; pages put true with what they change.  So whoever puts false, or ``hash``,
and has no awareness state is the server, and what it wrote into cells was read from disk.  Who a client is, is
therefore asked only when something is told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from .errors import LocalProtocolError
from .notebook.changes import ON_DISK, SOMEBODY, Author
from .notebook.model import CellView, PeerView
from .notebook.splice import diff
from .room.positions import text_id, writers
from .room.provider import RoomProvider
from .room.replica import RemoteChange

DISK = 0
"""Stands for the server where no clock advanced; as a client id it is the server's, too, for loading."""
MOST_KNOWN = 1_000
MOST_BETWEEN = 5
"""So many updates of others at most come between those that the server writes in one go."""


@dataclass(frozen=True, slots=True)
class _Deletion:
    """Cells that went in an update without an author, which may have been the server's."""

    by: Mapping[str, tuple[int, ...]]
    blamed: bool = False
    age: int = 0
    """How many updates have come since."""


class Authorship:
    """Who made the updates of one room."""

    def __init__(self, room: RoomProvider) -> None:
        self._room = room
        self._known: dict[int, Author] = {}
        self._servers: set[int] = set()
        self._doubtful: _Deletion | None = None

    def learn(self, peers: Collection[PeerView]) -> None:
        """These peers are here; who they are is remembered when they have gone."""
        for peer in peers:
            self._known.pop(peer.client_id, None)  # the longest unheard of come first
            self._known[peer.client_id] = Author(peer.name, peer.is_agent)
        for client in list(self._known)[:-MOST_KNOWN]:
            del self._known[client]

    def author(self, client: int) -> Author:
        """Who a client is, as far as is known by now."""
        if client in self._known:
            return self._known[client]
        return ON_DISK if client == DISK or client in self._servers else SOMEBODY

    def knows(self, client: int) -> bool:
        """Whether somebody has said who this client is."""
        return client in self._known

    def is_server(self, clients: Collection[int]) -> bool:
        """Whether the server is among these clients, as far as is known by now."""
        return not self._servers.isdisjoint(clients)

    def of(self, change: RemoteChange, present: Callable[[], Collection[PeerView]]) -> dict[str, tuple[int, ...]]:
        """The clients that had a part in an update, cell by cell; ``present``: who is here, and in which cells."""
        touched = {**change.before, **change.deleted}
        from_disk = change.state.get("hash", "") is None
        if len(change.clients) == 1 and (from_disk or not touched):
            self._servers |= {c for c in change.clients if c not in self._known} if _servers_own(change) else set()
        servers = self._servers | {DISK}
        made = {cell_id: self._wrote(cell_id, None) for cell_id in touched if _is_made(cell_id, change)}
        if len(change.clients) == 1 and (not from_disk or change.clients <= servers):
            by = dict.fromkeys(touched, tuple(change.clients))
            return by | {cell_id: tuple(makers) for cell_id, makers in made.items() if makers}
        if not touched:
            return {}
        by, peers = {}, present()  # finding carets takes time, and most updates have one author
        for cell_id, was in touched.items():
            wrote = made.get(cell_id) or self._wrote(cell_id, was) & change.clients
            if not wrote and from_disk:
                wrote = {DISK}
            elif not wrote:
                wrote = self._carets(cell_id, was, touched, peers) & (change.clients or {p.client_id for p in peers})
            by[cell_id] = tuple(sorted(wrote or change.clients))
        return by

    def of_difference(
        self, touched: Mapping[str, CellView | None], ours: Collection[int]
    ) -> dict[str, tuple[int, ...]]:
        """The clients that wrote what is new in these cells, as far as their texts show it; without ``ours``."""
        return {cell_id: tuple(sorted(self._wrote(cell_id, was).difference(ours))) for cell_id, was in touched.items()}

    def turned_out(self, change: RemoteChange, by: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """What an update says about the deletion before it: cells, and who really deleted them.

        Where ``state`` held no ``hash`` to take out, a deletion by the server shows only in what follows: ``dirty``,
        and no ``hash`` behind it.
        """
        state = {} if change.cells or change.deleted else change.state
        doubtful = self._doubtful
        if doubtful is not None and not doubtful.blamed and state == {"dirty": False}:
            self._doubtful = _Deletion(doubtful.by, blamed=True)
            return dict.fromkeys(doubtful.by, (DISK,))
        if doubtful is not None and doubtful.blamed and "hash" in state:
            self._doubtful = None
            return dict(doubtful.by)  # it was a save
        if doubtful is not None:  # others type on between what the server writes
            self._doubtful = replace(doubtful, age=doubtful.age + 1) if doubtful.age < MOST_BETWEEN else None
        gone = {cell_id: by[cell_id] for cell_id in change.deleted if self._room.replica.cell(cell_id) is None}
        unsigned = not change.clients or any(client not in self._known for client in change.clients)
        if gone and unsigned and self._room.replica.hash is None and "hash" not in change.state:
            self._doubtful = _Deletion(gone)
        return {}

    def _wrote(self, cell_id: str, was: CellView | None) -> set[int]:
        """Who wrote what is new in a cell's text; of a cell that is new, who made it."""
        try:
            text = self._room.replica.source_of(cell_id)
        except LocalProtocolError:  # it is gone, or a peer has put there what is no cell
            return set()
        if was is None:
            return {text_id(text)[0]}
        found: set[int] = set()
        shift = 0
        for splice in diff(was.source, str(text)):
            start = splice.start + shift
            found |= writers(text, start, start + len(splice.insert))
            shift += splice.growth
        return found

    def _carets(
        self, cell_id: str, was: CellView | None, touched: Collection[str], peers: Collection[PeerView]
    ) -> set[int]:
        """Whose caret is in the cell; else in another one that the same update touched; else the only one here."""
        now = self._room.replica.cell(cell_id)
        if now is None:
            peers = [peer for peer in peers if not peer.is_agent]  # agents sign their deletions (``Replica``)
        inside = {peer for peer in peers if peer.cell_id == cell_id}
        if len(inside) > 1 and was is not None and now is not None:
            shift, starts = 0, set()
            for splice in diff(was.source, now.source):
                starts.add(splice.start + shift)
                shift += splice.growth
            inside = {peer for peer in inside if peer.head in starts} or inside
        near = inside or {peer for peer in peers if peer.cell_id in touched}
        return {peer.client_id for peer in near or (peers if len(peers) == 1 else ())}


def _is_made(cell_id: str, change: RemoteChange) -> bool:
    """Whether a cell is new, or built anew.

    That is its maker's doing, also where it came in two updates, and where the server has named one of the two anew
    between them (``CellIndex``).
    """
    return cell_id in change.cells and (change.before.get(cell_id) is None or cell_id in change.deleted)


def _servers_own(change: RemoteChange) -> bool:
    """Whether an update does what a server does: a page may say that its notebook is dirty, too."""
    return "hash" in change.state or change.state.get("dirty", True) is False
