"""What humans do in a session, and what happens to connections, rooms and servers."""

from __future__ import annotations

from contextlib import suppress

import anyio

from collab_agent.errors import CellNotFound

from .ledger import marks_in
from .session import DEADLINE_S, HUMANS, SERVER, Seat, Session

MOST_CELLS = 12
MOST_CHARS = 400
WORDS = ("x = 1", "y = x + 2", "print(y)", "# é 😀", "for i in range(3):", "    total += i", "", "df.head()")


def _pick(at: Session) -> tuple[Seat, str] | None:
    """A human, and a cell that they see; None where there is none."""
    if not at.humans:
        return None
    seat = at.chance.choice(at.humans)
    ids = seat.human.ids() if seat.human is not None else []
    return (seat, at.chance.choice(ids)) if ids else None


async def type_marks(at: Session) -> None:
    """A human types one to four marks."""
    if (picked := _pick(at)) is None or (human := picked[0].human) is None:
        return
    seat, cell = picked
    length = len(human.source(cell))
    marks = at.ledger.new(seat.number, at.chance.randint(1, 4))
    if length > MOST_CHARS:
        return
    index = at.chance.randint(0, length) if at.chance.random() < 0.3 else None
    for mark in marks:
        with suppress(CellNotFound):  # a page has no caret there any more
            await human.type(cell, mark, index)
            at.ledger.due.add(mark)
            at.done["a human's keystroke"] += 1
            if cell in at.doomed:
                at.ledger.excuse(mark)
        index = None


async def type_others(at: Session) -> None:
    """A human types what anybody may type: line ends, blanks, characters of one, two and four bytes."""
    if (picked := _pick(at)) is None or (human := picked[0].human) is None:
        return
    cell = picked[1]
    if len(human.source(cell)) < MOST_CHARS:
        text = at.chance.choice(["\n", " ", "a", "é", "😀"])
        await human.type(cell, text, at.chance.randint(0, len(human.source(cell))))
        at.done["a human's keystroke"] += 1


async def erase(at: Session) -> None:
    """A human takes back what stands left of the caret."""
    if (picked := _pick(at)) is None or (human := picked[0].human) is None:
        return
    for _ in range(at.chance.randint(1, 3)):
        if human.caret is not None and human.caret[0] in human.ids():
            cell, index = human.caret
            at.ledger.excuse(marks_in(human.source(cell)[max(0, index - 1) : index]))
            await human.backspace()
            at.done["a human's backspace"] += 1


async def insert(at: Session) -> None:
    """A human inserts a cell."""
    if (picked := _pick(at)) is not None and (human := picked[0].human) and len(human.ids()) < MOST_CELLS:
        await human.insert_cell(at.chance.randint(0, len(human.ids())), at.chance.choice(WORDS))
        at.done["a human inserts a cell"] += 1


async def delete(at: Session) -> None:
    """A human deletes a cell, with all that stands in it."""
    if (picked := _pick(at)) is not None and (human := picked[0].human) and len(human.ids()) > 2:
        at.rebuild([picked[1]], picked[0], gone=True)
        await human.delete_cell(picked[1])
        at.done["a human deletes a cell"] += 1


async def move(at: Session) -> None:
    """A human moves a cell; two humans never the same one at once, for nobody could mend that."""
    if (picked := _pick(at)) is None or (human := picked[0].human) is None:
        return
    seat, cell = picked
    to = at.chance.randint(0, len(human.ids()) - 1)
    if (at.rebuilders[cell] - {seat.name}) & set(HUMANS):
        return
    at.rebuild([cell], seat)
    await human.move_cell(cell, to)
    at.done["a human moves a cell"] += 1


async def run(at: Session) -> None:
    """A human runs a cell: the page marks it, the kernel works, the page writes the count."""
    if (picked := _pick(at)) is None or (human := picked[0].human) is None:
        return
    cell = picked[1]
    handle = human.notebook.ycells[human.ids().index(cell)]
    if handle["cell_type"] != "code" or cell in at.doomed:
        return
    at.disown(cell)
    at.done["a human runs a cell"] += 1
    await human.mark_running(cell, True)
    at.kernel.run_for_human(human.source(cell))
    with suppress(CellNotFound):
        await human.mark_running(cell, False, at.chance.randint(1, 99))


async def kill_kernel(at: Session) -> None:
    """The kernel dies, with all that runs or waits in it, and the server starts it again."""
    at.kernel.die()
    at.done["the kernel dies"] += 1


async def caret(at: Session) -> None:
    """A human clicks into a cell, or out of all."""
    if (picked := _pick(at)) is None or (human := picked[0].human) is None:
        return
    if at.chance.random() < 0.5:
        await human.leave_cell()
    else:
        await human.place_caret(picked[1], at.chance.randint(0, len(human.source(picked[1]))))


# Coming and going.


async def come_or_go(at: Session) -> None:
    """Somebody who is away comes, or somebody who is here goes; one of each kind stays."""
    await at.barrier()  # a page that is closed while its room is away takes its keystrokes along
    seat = at.chance.choice(at.seats)
    if seat.human is None and seat.peer is None:
        await at.join(seat)
        at.done["somebody comes"] += 1
    elif len(at.humans if seat.human else at.agents) > 1:
        seat.leaving.set()
        with anyio.fail_after(DEADLINE_S):
            await seat.left.wait()
        at.done["somebody goes"] += 1


async def hold(at: Session) -> None:
    """A connection falls silent, both ways, until ``release``."""
    at.chance.choice(at.room.channels[-8:]).hold()


async def release(at: Session) -> None:
    """What was held comes."""
    at.room.release()


async def cut(at: Session) -> None:
    """A connection breaks; what was under way on it is gone, for an agent too: it is told, and starts afresh."""
    at.chance.choice(at.room.channels[-5:]).cut()
    at.done["a connection breaks"] += 1


async def rest(at: Session) -> None:
    """Time passes: a turn of the loop, a moment, or long enough for people to have stopped typing."""
    await anyio.sleep(at.chance.choice((0.0, 0.0, 0.001, 0.05, 0.3, 1.0, 12.0)))


async def restart(at: Session) -> None:
    """The server dies and is started again: the room is what the file was, whatever had been written since.

    Humans' keystrokes since then are lost, for nobody can keep them but their pages.  What an agent's call has been
    told is in the room is there again, or that agent is told of it.
    """
    if at.chance.random() < 0.5:
        await at.barrier()
    file, ledger = at.room.file, at.ledger
    sources = "".join(str(cell["source"]) for cell in file["cells"])
    at_risk = {m: peer for m, peer in at.confirmed.items() if m not in sources and ledger.excused[m] <= 0}
    # Known: another agent's move, put back at the same moment, may take what is put back into the old copy along.
    for cell in at.room.document()["cells"]:
        movers = {seat.peer for seat in at.agents if cell["id"] in seat.rebuilt}
        for mark in marks_in(str(cell["source"])) & at_risk.keys():
            if movers - {at_risk[mark]}:
                del at_risk[mark]
    ledger.excuse(ledger.due.difference(sources))
    excused = {mark: ledger.excused[mark] for mark in at_risk}
    every = {str(cell["id"]) for cell in (*at.room.document()["cells"], *file["cells"])}
    at.doomed.update(every)
    at.disown(*sorted(every))
    for cell_id in every:
        if at.rebuilders[cell_id]:  # whoever moves it, and the server, which puts it back, have both rebuilt it
            ledger.murky |= marks_in("".join(at.texts(cell_id)))
        at.rebuilders[cell_id].add(SERVER)
    at.suggested.shelf.kept.clear()
    at.process += "'"
    for seat in at.agents:
        if seat.host is not None:
            seat.host.process = at.process
    at.room.cut()
    at.room.notebook.set(file)
    at.done["the server restarts"] += 1
    await at.barrier()
    now = "".join(at.room.sources())
    for mark, before in excused.items():  # another call may have taken it away just then
        if ledger.excused[mark] > before:
            del at_risk[mark]
    for peer in [seat.peer for seat in at.agents if seat.peer is not None]:
        told = peer.journal.losses.tell() + peer.journal.losses.show(1_000_000)
        lost = [m for m, owner in at_risk.items() if owner is peer and m not in now and m not in told]
        assert not lost, f"an agent's confirmed marks {lost} are neither there again nor told as lost: {told!r}"
    ledger.recount(at_risk, now)
