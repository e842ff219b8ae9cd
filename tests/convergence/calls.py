"""What agents do in a session: calls with edits, undo and redo, runs; most of them while others go on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from collab_agent.editing import Edited
from collab_agent.errors import CollabAgentError, RoomClosed, SyncTimeout
from collab_agent.peer import NotebookPeer

from .ledger import is_mark, marks_in
from .people import MOST_CELLS, MOST_CHARS, WORDS
from .session import Seat, Session, view_of

UNSURE = (SyncTimeout, RoomClosed)
"""After these it may or may not be in the notebook."""


def pick(at: Session) -> tuple[Seat, NotebookPeer, list[Any]] | None:
    """An agent that waits for no call of its own, and the cells that it sees."""
    free = [seat for seat in at.agents if not seat.calls]
    if not free:
        return None
    seat = at.chance.choice(free)
    cells = list(view_of(seat))
    return None if seat.peer is None or not cells else (seat, seat.peer, cells)


async def begin(at: Session, seat: Seat, call: Callable[[], Awaitable[None]], *, calm: bool) -> None:
    """Have a call made: while nobody does anything else (``calm``), or beside whatever comes next."""
    seat.calls += 1

    async def make() -> None:
        try:
            await call()
        except CollabAgentError as exc:
            at.refused[type(exc).__name__] += 1
        except Exception as exc:  # it belongs to the deed that is done at that moment
            at.failure = at.failure or exc
        finally:
            seat.calls -= 1

    if calm:
        await make()
        await at.barrier()
    else:
        at.tasks.start_soon(make)


async def edit(at: Session) -> None:
    """A call of one to three edits of texts; refusals are an agent's good right, and leave nothing behind."""
    if (picked := pick(at)) is None:
        return
    seat, peer, cells = picked
    edits, fresh, taken = drawn_edits(at, seat, peer, cells)
    if edits:
        await begin(at, seat, lambda: _edits(at, seat, edits, fresh, taken), calm=False)


def drawn_edits(
    at: Session, seat: Seat, peer: NotebookPeer, cells: Sequence[Any]
) -> tuple[list[dict[str, Any]], str, set[str]]:
    """Up to three edits of texts, the marks that they write, and those that they take away."""
    for cell in cells:
        if at.chance.random() < 0.5:
            peer.seen.show(cell)
    targets = at.chance.sample(cells, min(len(cells), at.chance.randint(1, 3)))
    made = [each for cell in targets if (each := _edit(at, seat, peer, cell)) is not None]
    taken = set[str]().union(*(gone for _, _, gone in made))
    return [each for each, _, _ in made], "".join(fresh for _, fresh, _ in made), taken


def _edit(at: Session, seat: Seat, peer: NotebookPeer, cell: Any) -> tuple[dict[str, Any], str, set[str]] | None:
    """An edit, the marks that it writes, and those that it takes away."""
    word, fresh = at.chance.choice(WORDS), at.ledger.new(seat.number, at.chance.randint(0, 1))
    word += fresh
    if at.chance.random() < 0.15:
        return ({"op": "insert", "source": word}, fresh, set()) if len(view_of(seat)) < MOST_CELLS else None
    if len(cell.source) > MOST_CHARS:
        return None
    lines = (peer.seen.shown_text(cell.id) or cell.source).split("\n")
    line = at.chance.randint(0, len(lines) - 1)
    old = lines[line]
    humans = any(is_mark(c) and ord(c) < 0x4E00 + 3 * 0x1000 for c in old)
    if at.chance.random() < 0.6:
        # As a model writes: the text that it was shown, with a line added, changed or taken out.  Lines with a human's
        # characters are left as they are: to take them out would be on purpose.
        gone: set[str] = set()
        if humans or at.chance.random() < 0.5:
            lines.insert(line + at.chance.randint(0, 1), word)
        else:
            gone = marks_in(old)
            lines[line : line + 1] = [word] if fresh or at.chance.random() < 0.7 else []
        return {"op": "write", "cell": cell.id, "source": "\n".join(lines)}, fresh, gone
    if old.strip() and not humans and (fresh == "" or cell.source.count(old) == 1):
        return {"op": "replace", "cell": cell.id, "old": old, "new": word, "all": fresh == ""}, fresh, marks_in(old)
    return None


async def _edits(at: Session, seat: Seat, edits: Sequence[Mapping[str, Any]], fresh: str, taken: set[str]) -> None:
    """Make the call, and book what it has come to."""
    assert seat.peer is not None
    at.ledger.excuse(taken)
    seat.touched |= marks_in(fresh) | taken
    try:
        edited = await seat.peer.edit(edits)
    except UNSURE:
        raise
    except CollabAgentError:
        at.ledger.forgive(taken)
        raise
    at.done["an agent's edit"] += len(edits)
    # Known: where two agents take out the same text at once, and both undo that, both bring it back.
    at.ledger.murky |= {mark for mark in taken if at.takers.setdefault(mark, seat.name) != seat.name}
    _book(at, seat, edits, fresh, edited)


def _book(at: Session, seat: Seat, edits: Sequence[Mapping[str, Any]], fresh: str, edited: Edited) -> None:
    """The room has these marks, and they are to stay; unless somebody rebuilt their cell at that moment."""
    at.ledger.due |= marks_in(fresh)
    for each in edits:
        text = "".join(str(each.get(key, "")) for key in ("source", "new"))
        if each.get("cell") in at.doomed:
            at.ledger.excuse(marks_in(text))
    seat.rebuilt |= {done.made for done in edited.done if done.made}
    if seat.peer is not None:
        at.confirmed |= dict.fromkeys(fresh, seat.peer)


async def structure(at: Session) -> None:
    """Delete, move, retype, split, merge, clear: half of the time with nothing under way, and then nothing is lost."""
    calm = at.chance.random() < 0.5
    if calm:
        await at.barrier()
    if (picked := pick(at)) is None or len(picked[2]) < 3:
        return
    seat, peer, cells = picked
    cell, other = at.chance.sample(cells, 2)
    peer.seen.show(cell)
    below = cells[min(cells.index(cell) + 1, len(cells) - 1)]
    op = at.chance.choice(["delete", "move", "move", "retype", "split", "merge", "clear"])
    fields: dict[str, Any] = {"op": op, "cell": cell.id}
    concerned = [cell.id, below.id] if op == "merge" else [cell.id]
    if op == "move":
        fields[at.chance.choice(["after", "before"])] = other.id
        concerned = [each.id for each in cells]  # the cells that are crossed may be rebuilt instead
    if op == "retype":
        fields["type"] = at.chance.choice(["code", "markdown", "raw"])
    if op == "split":
        fields["line"] = at.chance.randint(1, cell.source.count("\n") + 1)
    if op == "clear":
        fields = {"op": op, "cells": [cell.id]}
    if op == "merge":
        peer.seen.show(below)

    async def call() -> None:
        taken = marks_in(cell.source) if op == "delete" else set()
        seat.touched |= taken
        seat.rebuilt |= set(concerned)
        if op != "clear":
            at.rebuild(concerned, seat)
        if op == "merge" and len(at.rebuilders[cell.id]) > 1:  # into a cell that somebody is just deleting
            at.ledger.excuse(marks_in("".join(at.texts(below.id))))
        at.disown(*concerned)
        at.ledger.excuse(taken)
        try:
            edited = await peer.edit([fields])
        except UNSURE:
            raise
        except CollabAgentError:
            at.ledger.forgive(taken)
            raise
        at.done[f"an agent's {op}"] += 1
        _book(at, seat, [], "", edited)

    await begin(at, seat, call, calm=calm)


async def back(at: Session) -> None:
    """Undo or redo; half of the time with nothing under way, and then what is gone for it is this agent's own doing."""
    calm = at.chance.random() < 0.5
    if calm:
        await at.barrier()
    if (picked := pick(at)) is None:
        return
    seat, peer, _cells = picked
    op, steps = at.chance.choice(["undo", "undo", "redo"]), at.chance.choice([1, 1, 2, 5])
    again = calm and at.chance.random() < 0.3

    async def call() -> None:
        touched = set(seat.touched)
        at.rebuild(sorted(seat.rebuilt | {cell.id for cell in view_of(seat)}), seat)  # as in ``structure``, any
        if any(len(at.rebuilders[cell]) > 1 for cell in seat.rebuilt):  # what was split may be joined into one of them
            at.ledger.excuse(marks_in("".join(text for cell in sorted(seat.rebuilt) for text in at.texts(cell))))
        at.disown(*at.owners)
        at.ledger.excuse(touched)
        before = _shape(at)
        try:
            edited = await peer.edit([{"op": op, "steps": steps}])
        except UNSURE:
            raise
        except CollabAgentError:
            at.ledger.forgive(touched)
            raise
        at.done[f"an agent's {op}"] += steps
        seat.rebuilt |= {done.cell for done in edited.done}
        if again:
            await _and_back(at, peer, op, steps, before, edited)
        if calm:
            at.ledger.forgive(touched)
            at.ledger.recount(touched, at.text_of(seat))

    await begin(at, seat, call, calm=calm)


async def _and_back(at: Session, peer: NotebookPeer, op: str, steps: int, before: object, edited: Edited) -> None:
    """What was just undone can be redone, and the other way round; then all is as it was."""
    whole = not any("left" in told or "kept" in told or "not put back" in told for told in edited.told)
    await peer.edit([{"op": "redo" if op == "undo" else "undo", "steps": steps}])
    at.done[f"an agent's {'redo' if op == 'undo' else 'undo'}"] += steps
    if whole:
        assert _shape(at) == before, f"{op} of {steps} and back: {before} became {_shape(at)}; {edited.told}"


def _shape(at: Session) -> object:
    return [(str(cell["id"]), str(cell["cell_type"]), str(cell["source"])) for cell in at.room.notebook.ycells]


async def run(at: Session) -> None:
    """An agent runs one or two cells; the runs go on while others do."""
    if (picked := pick(at)) is None:
        return
    seat, peer, cells = picked
    code = [cell.id for cell in cells if cell.type == "code"]
    if not code:
        return
    chosen = at.chance.sample(code, min(len(code), at.chance.randint(1, 2)))

    async def call() -> None:
        runs = await peer.run_cells(chosen)
        at.done["an agent runs a cell"] += len(runs)
        for each in runs:
            assert each.cell is not None
            at.runners[each.cell].add(seat.name)
            if at.runners[each.cell] == {seat.name} and each.cell not in at.doomed:
                at.owners[each.cell] = each
            else:
                at.disown(each.cell)

    await begin(at, seat, call, calm=False)


async def interrupt(at: Session) -> None:
    """An agent interrupts its own run, and drops what is queued."""
    if (picked := pick(at)) is None:
        return
    _seat, peer, _cells = picked
    if peer.runs.current is not None:
        _begun, dropped = await peer.runs.interrupt()
        at.done["an agent interrupts"] += 1
        at.disown(*(run.cell for run in dropped if run.cell is not None))
