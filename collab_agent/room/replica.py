"""One Yjs replica of the notebook: views out, steps in.

The theory.  The shared document is an array of cell maps.  Walking it costs time in proportion to the notebook, so
nothing here walks it twice: the document's own events say which cells were inserted, deleted or changed, and only
those are read again (``index.py``).  ``view`` is therefore always current and costs next to nothing.

Rules:

* A replica belongs to one event-loop thread, and no transaction of it ever spans an ``await``.
* A replica is never reused: after an update failed to apply, or after the room was lost, it is thrown away
  (``facts/faults.md``: a kept Doc resurrects what the server has reverted).
* ``source`` is edited in place, never replaced: an open editor on a replaced text goes dead.
* pycrdt counts texts in UTF-8 bytes and clocks in UTF-16 units; both stay inside this module and ``positions``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_ydoc import YNotebook
from pycrdt import Array, Doc, Map, Subscription, Text

from ..errors import LocalProtocolError
from ..notebook import steps as st
from ..notebook.batches import DoubleCell, DropDoubled, Part
from ..notebook.model import CellType, CellView, NotebookView, OutputView
from ..notebook.splice import Splices, byte_offset
from .cells import clear, language, read_outputs, rebuildable, refill, retyped, write_output
from .codec import UpdateKey, remote_error, state_vector, update_key, whole
from .index import Cell, CellIndex, Settled
from .positions import ItemId, Range, at_character, end_of, holder, start_of, text_id
from .positions import inserted as inserted_between
from .rolling import Rolling

ORIGIN = "collab_agent"
"""The origin of every transaction of ours."""


@dataclass(frozen=True, slots=True)
class RemoteChange:
    """What one update of somebody else's did.

    ``clients``: whose state vector advanced (deletions advance none).  ``cells``: ids of the cells whose source,
    outputs or state changed, or that are new; ``edited``: those whose source changed in place.  ``gap``: the update
    waits for another one that has not come.
    """

    clients: frozenset[int]
    cells: frozenset[str]
    edited: frozenset[str]
    began: frozenset[str] = frozenset()
    """Cells that somebody else marked as running."""
    before: Mapping[str, CellView | None] = field(default_factory=dict)
    """What each changed cell was before (None: it is new); a cell that was moved is among ``deleted``, too."""
    deleted: Mapping[str, CellView] = field(default_factory=dict)
    moved: frozenset[str] = frozenset()
    """Rebuilt cells that stand elsewhere now, as seen from those that were not rebuilt."""
    state: Mapping[str, object] = field(default_factory=dict)
    """What was put into the shared ``state``, by key; None: it was taken out."""
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """One transaction of ours: its update (None where nothing changed) and what it inserted, cell by cell."""

    update: bytes | None
    key: UpdateKey
    inserted: tuple[Range, ...]


class Replica:
    """The notebook as this peer has it.  ``client_id`` is also its id in awareness."""

    def __init__(self) -> None:
        self._doc: Doc[Any] = Doc()
        self.client_id: int = self._doc.client_id
        self._array: Array[Any] = self._doc.get("cells", type=Array)
        self._meta: Map[Any] = self._doc.get("meta", type=Map)
        self._state: Map[Any] = self._doc.get("state", type=Map)
        self._factory = YNotebook()  # builds cells of the current schema, in a Doc of its own
        self._cells = CellIndex()
        self._view: NotebookView | None = None
        self._language: str | None = None
        self._events: list[Any] = []
        self.rolling = Rolling(self._doc)
        self._made: list[Cell] = []
        self._doubled: dict[str, Cell] = {}
        self.dropped: dict[str, list[ItemId]] = {}
        """The texts of both copies of the cells that we have rebuilt, by the cells' ids."""
        self._clocks: Mapping[int, int] = {}
        self._put: dict[str, object] = {}
        self._subscriptions: list[Subscription] = [
            self._array.observe_deep(self._events.extend),
            self._meta.observe_deep(self._forget_meta),
            self._state.observe(self._note_state),
        ]
        self.version = 0
        """Grows with every change, own or foreign."""

    def close(self) -> None:
        """Follow the document no more, once; what is there can still be read.

        Whoever listens is held by Yjs, where Python's collector does not look: without this it is never freed.
        """
        for observed, subscription in zip((self._array, self._meta, self._state), self._subscriptions, strict=True):
            observed.unobserve(subscription)
        self._subscriptions.clear()
        self.rolling.close()

    # Views.

    @property
    def view(self) -> NotebookView:
        """The notebook now."""
        if self._view is None:
            if self._language is None:
                self._language = language(self._meta)
            self._view = NotebookView(tuple(self._cells.views), self.path, self._language)
        return self._view

    def cell(self, cell_id: str) -> CellView | None:
        """The cell with this id now, or None."""
        found = self._cells.get(cell_id)
        return None if found is None else found.view

    def outputs(self, cell_id: str) -> tuple[OutputView, ...]:
        """The outputs of a cell; read on demand and kept until they change."""
        cell = self._cells.get(cell_id)
        if cell is not None and cell.outputs is None:
            cell.outputs = read_outputs(cell.map)
        return () if cell is None else cell.outputs or ()

    def output_count(self, cell_id: str) -> int:
        """How many outputs a cell has; costs nothing."""
        cell = self._cells.get(cell_id)
        outputs = None if cell is None or cell.map is None else cell.map.get("outputs")
        return len(outputs) if isinstance(outputs, Array) else 0

    def nbformat(self, cell_id: str) -> dict[str, Any] | None:
        """The whole cell in nbformat's terms, outputs and all, as it could be inserted again; a copy."""
        cell = self._cells.get(cell_id)
        return None if cell is None or cell.map is None else rebuildable(cell.map)

    @property
    def path(self) -> str:
        """Where the file is, as the room says; empty where it does not."""
        return value if isinstance(value := self._state.get("path"), str) else ""

    @property
    def hash(self) -> str | None:
        """The SHA-256 that the server has put down for the file it last wrote or read."""
        return value if isinstance(value := self._state.get("hash"), str) else None

    @property
    def dirty(self) -> bool:
        """Whether the server has the room marked as changed since it last wrote the file."""
        return bool(self._state.get("dirty"))

    @property
    def kernelspec(self) -> str | None:
        """The name of the kernelspec that the notebook's metadata ask for."""
        metadata = self._meta.get("metadata")
        value = metadata.to_py() if isinstance(metadata, Map) else metadata
        spec = value.get("kernelspec") if isinstance(value, dict) else None
        name = spec.get("name") if isinstance(spec, dict) else None
        return name if isinstance(name, str) and name else None

    @property
    def format_minor(self) -> int:
        """nbformat's minor version; below 5 the file has no cell ids."""
        number = whole(self._meta.get("nbformat_minor"))
        return 5 if number is None else number

    def cell_of_text(self, client: int, clock: int) -> str | None:
        """The id of the cell whose source text has this item id: what a caret's ``type`` names."""
        found = self._cells.of_text((client, clock))
        return None if found is None else found.view.id

    def cell_of_position(self, position: Mapping[str, Any]) -> str | None:
        """The id of the cell in whose source a published position lies; untrusted JSON.

        Pages name the text (``type``); where only a character (``item``) is named, its text is looked for.
        """
        try:
            if (of := position.get("type")) is not None:
                return self.cell_of_text(int(of["client"]), int(of["clock"]))
            if (item := position.get("item")) is None:
                return None
            wanted = (int(item["client"]), int(item["clock"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        texts = ((cell.view.id, cell.source) for cell in self._cells.cells)
        return holder(((cell_id, text) for cell_id, text in texts if text is not None), wanted)

    def source_of(self, cell_id: str) -> Text:
        """The live text of a cell's source, for positions; never keep it across an ``await``."""
        text = self._cells.require(cell_id).source
        if text is None:
            raise LocalProtocolError(f"The cell {cell_id!r} has no text.")
        return text

    def copies(self, cell_id: str, texts: Iterable[ItemId] = ()) -> list[tuple[str, int]]:
        """The text of each cell that has this id, or had it until the server saved, and the client that made it.

        ``texts``: ids of texts whose cells had that id, too, whatever they are called now.
        """
        for text in texts:
            if (cell := self._cells.of_text(text)) is not None and cell.view.id != cell_id:
                cell.formerly = cell_id
        return self._cells.texts(cell_id)

    # Synchronisation.

    def state_vector(self) -> bytes:
        """Our state vector, encoded, for a sync step 1."""
        return self._doc.get_state()

    def update_since(self, vector: bytes) -> bytes:
        """All that a peer with this encoded state vector lacks, for a sync step 2."""
        try:
            return self._doc.get_update(vector)
        except BaseException as exc:
            raise remote_error(exc, "The room sent a state vector that cannot be read.") from exc

    def apply(self, update: bytes) -> RemoteChange:
        """Merge an update of the room.  ``RemoteProtocolError``: throw this replica away, it may be half changed."""
        before = self._clocks
        self._put = {}
        key = update_key(update)
        try:
            self._doc.apply_update(update)
        except BaseException as exc:
            raise remote_error(exc, "The room sent an update that cannot be applied.") from exc
        self.rolling.take()
        settled = self._settle(own=False)
        self._clocks = state_vector(self._doc.get_state())
        advanced = frozenset(c for c, clock in self._clocks.items() if clock > before.get(c, 0))
        return RemoteChange(
            clients=advanced - {self.client_id},
            cells=frozenset(settled.changed),
            edited=frozenset(settled.edited),
            began=frozenset(settled.began),
            before=settled.before,
            deleted=settled.deleted,
            moved=frozenset(settled.moved),
            state=self._put,
            gap=isinstance(key, tuple) and key[1] >= self._clocks.get(key[0], 0),
        )

    def _settle(self, *, own: bool) -> Settled:
        """Bring the views up to what the events since the last time say."""
        events = list(self._events)
        self._events.clear()
        if events:
            self._view = None
            self.version += 1
        return self._cells.settle(events, own=own)

    # Writing.

    def write(self, steps: Iterable[Part]) -> Written:
        """Do all steps in one transaction.  Whoever calls has checked them: there is no rollback."""
        inserted: list[Range] = []
        self.rolling.take()
        self._made.clear()
        with self._doc.transaction(origin=ORIGIN):
            for step in steps:
                self._write_step(step, inserted)
        self._cells.read_again(self._made)
        self._settle(own=True)
        self._clocks = state_vector(self._doc.get_state())
        update = self.rolling.take()
        return Written(update, None if update is None else update_key(update), tuple(inserted))

    def _write_step(self, step: Part, inserted: list[Range]) -> None:
        match step:
            case st.SpliceSource(cell, splices):
                inserted += self._splice(cell, splices)
            case st.InsertCell(cell, index, type_, source, trusted):
                metadata = {"trusted": True} if trusted else {}
                made: dict[str, Any] = {"id": cell, "cell_type": type_, "source": source, "metadata": metadata}
                if type_ == "code":
                    made |= {"outputs": [], "execution_count": None}
                text = self._insert(index, made)
                inserted.append(Range(cell, start_of(text), end_of(text)))
            case st.RestoreCell(cell, index, value):
                text = self._insert(index, {**value, "id": cell})
                inserted.append(Range(cell, start_of(text), end_of(text)))
            case st.DeleteCell(cell):
                self._remove(cell)
            case st.MoveCell(cell, index):
                self._double(cell, index, None)
                self._drop_doubled(cell)
            case st.RetypeCell(cell, type_):
                self._double(cell, None, type_)
                self._drop_doubled(cell)
            case DoubleCell(cell, index, type_):
                self._double(cell, index, type_)
            case DropDoubled(cell, copies):
                self._drop_doubled(cell, copies)
            case _:
                self._write_run_step(step)

    def _write_run_step(self, step: Part) -> None:
        match step:
            case st.ClearCell(cell):
                clear(self._cells.map(cell))
            case st.RefillCell():
                refill(self._cells.map(step.cell), step)
            case st.MarkCell(cell, mark):
                metadata = self._cells.map(cell).get("metadata")
                if isinstance(metadata, Map):  # a peer may have put anything there; it is never replaced
                    metadata[st.MARK_KEY] = dict(mark)
            case st.BeginRun(cell):
                handle = self._cells.map(cell)
                clear(handle)
                handle["execution_state"] = "running"
            case st.WriteOutputs(cell, ops):
                outputs = self._cells.map(cell).get("outputs")
                if not isinstance(outputs, Array):
                    return  # a peer may have put anything there
                for op in ops:
                    write_output(outputs, op)
            case st.EndRun(cell, count):
                self._cells.map(cell)["execution_count"] = None if count is None else float(count)
                for handle in [self._cells.map(cell), *self._cells.running(cell)]:
                    handle["execution_state"] = "idle"
            case _:
                raise LocalProtocolError(f"Not a step: {step!r}")

    def _splice(self, cell_id: str, splices: Splices) -> list[Range]:
        """Edit a text from its end to its start, so that positions stay true; one range per splice."""
        text = self.source_of(cell_id)
        current = str(text)
        ranges: list[Range] = []
        for splice in reversed(splices):
            start = byte_offset(current, splice.start)
            if splice.stop > splice.start:
                del text[start : start + len(current[splice.start : splice.stop].encode())]
            if not splice.insert:
                here = at_character(text, splice.start)
                ranges.append(Range(cell_id, here, here))
                continue
            first = self._own_clock()
            text.insert(start, splice.insert)
            last = self._own_clock() - 1
            ranges.append(Range(cell_id, *inserted_between(text, self.client_id, first, last)))
        return list(reversed(ranges))

    def _own_clock(self) -> int:
        return state_vector(self._doc.get_state()).get(self.client_id, 0)

    def _insert(self, index: int, value: dict[str, Any]) -> Text:
        """Insert a cell and know it at once: later steps of the same transaction may name it."""
        self._array.insert(index, self._factory.create_ycell(value))
        cell = self._cells.insert(index, self._array[index])
        self._made.append(cell)
        return self.source_of(cell.view.id)

    def _remove(self, cell_id: str) -> None:
        """Delete a cell, and sign: what only takes away does not say whose doing it is, so something is put first."""
        index = self._cells.position(self._cells.require(cell_id))
        if (handle := self._cells.require(cell_id).map) is not None:
            handle["deleted"] = True
        del self._array[index]
        self._cells.remove(index)

    def _double(self, cell_id: str, index: int | None, type_: CellType | None) -> None:
        """Insert a cell once more, to stand at ``index`` (None: where it is) when the first is gone; the id is its."""
        cell, value = self._cells.require(cell_id), rebuildable(self._cells.map(cell_id))
        at = self._cells.position(cell)
        if index is not None:
            at = index if index <= at else index + 1
        self._doubled[cell_id] = cell
        self._insert(at, value if type_ is None else retyped(value, type_))
        if cell.view.running and type_ is None:
            self._cells.map(cell_id)["execution_state"] = "running"

    def _drop_doubled(self, cell_id: str, copies: Sequence[int] = ()) -> None:
        """Delete the first of the two; or these of all that have the id."""
        twins = self._cells.copies(cell_id)
        if not copies:
            self.dropped[cell_id] = [text_id(text) for cell in twins if (text := cell.source) is not None]
        for cell in [twins[at] for at in copies] or [self._doubled.pop(cell_id)]:
            index = self._cells.position(cell)
            del self._array[index]
            self._cells.remove(index)

    def _forget_meta(self, _events: list[Any]) -> None:
        self._language = None
        self._view = None

    def _note_state(self, event: Any) -> None:
        self._view = None  # it names the path
        self._put |= {str(key): change.get("newValue") for key, change in event.keys.items()}
