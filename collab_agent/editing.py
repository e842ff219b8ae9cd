"""An agent's edits of one notebook: planned on what it was shown, written in one transaction, shown on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

import anyio
from anyio.abc import TaskGroup

from .appearance import Appearance
from .config import Limits
from .errors import CellInUse
from .journal import Journal
from .news import News
from .notebook.courtesy import Typing
from .notebook.draft import Done, Plan
from .notebook.edit_ops import BACK, parse
from .notebook.edits import Planner
from .notebook.marks import mark_of, marked
from .notebook.plain import inline
from .notebook.seen import Seen
from .notebook.steps import Step
from .notebook.undo import UndoLog, record_of
from .notebook.undoing import Undoing
from .people import People
from .room.provider import RoomProvider
from .room.replica import Replica, Written
from .saving import Saver


@dataclass(frozen=True, slots=True)
class Edited:
    """What a call's edits came to: what was done, and each touched text before and after the merge."""

    done: tuple[Done, ...]
    texts: tuple[tuple[str, str, str], ...]
    """Cell id, the text before, the text after (empty where the cell is gone)."""
    code: tuple[str, ...]
    """The code cells that the edits touched."""
    told: tuple[str, ...] = ()
    """Which calls were undone or redone, and what there is to say about it."""
    next: str = ""
    """Behind an undo or a redo: what can be undone and redone now."""


@dataclass(frozen=True, slots=True)
class Editor:
    """Makes the edits of one agent in one notebook."""

    room: RoomProvider
    seen: Seen
    people: People
    news: News
    appearance: Appearance
    saver: Saver
    trust: bool
    limits: Limits
    log: UndoLog
    journal: Journal
    mark_as: Callable[[], str] | None = None
    """The name to mark changed cells with; None: they are not marked."""

    async def edit(self, edits: Sequence[Mapping[str, Any]], tasks: TaskGroup | None) -> Edited:
        """Apply edits (contract, section 3), all or none; returns when the room has them.

        Any ``EditError`` or ``TargetError``: nothing was written.
        """

        def plan(replica: Replica) -> Plan:
            if (only := parse(edits)[0]).op == "restore":
                return self.journal.losses.restore(only, replica)
            if only.op in BACK:
                return Undoing(replica, self.seen, self.people.in_use).plan(only, self.log)
            peers = self.people.all if "@" in repr(edits) else ()  # finding carets in long texts takes time
            return Planner(replica, self.seen, peers, self.people.in_use, trust=self.trust).plan(edits)

        made, written = await self.write(plan)
        if parse(edits)[0].op == "restore":
            self.journal.losses.restored(made)
        if tasks is not None:
            self.appearance.show_edit(written, tasks)
        self.saver.changed(own=True)
        texts = []
        for cell_id, before in made.before.items():
            cell = self.room.replica.cell(cell_id)
            texts.append((cell_id, before, "" if cell is None else cell.source))
        view = self.room.replica.view
        following = self.log.next(lambda cell: self.seen.short(cell, view)) if made.turn is not None else ""
        return Edited(made.done, tuple(texts), made.code, made.told, following)

    async def write(self, plan: Callable[[Replica], Plan]) -> tuple[Plan, Written]:
        """Write what is planned, as soon as nobody is typing on a line that it changes; ``plan`` may be called again.

        ``CellInUse``: somebody is still typing there after ``Limits.line_wait_s``; nothing was written.
        """
        deadline = anyio.current_time() + self.limits.line_wait_s
        while True:
            replica, now = self.room.replica, anyio.current_time()
            made = plan(replica)
            typing = self.people.keystrokes.busy(made.steps, replica.cell, now)
            if typing is None:
                break
            if now >= deadline:
                raise self._still(typing)
            await anyio.sleep_until(min(typing.until, deadline))
        # From plan to writing there is no ``await``: it is written on the texts that it was planned on.
        self.people.keystrokes.wrote(made.steps, replica.cell, now)
        self.news.close(made.steps)
        record = record_of(replica, made, self.log.number, self.seen.shown_text) if made.turn is None else None
        records = (record,) if record is not None else made.turn.inverses if made.turn is not None else ()
        for each in records:
            self.journal.note(each)
        try:
            written = await self.room.write(lambda _replica: self._marked(made.steps))
        except BaseException:
            for each in records:
                self.journal.withdraw(each)
            raise
        finally:
            self._remember(made)
            if record is not None:
                self.log.note(record)
        if made.turn is not None:  # one that the room has not confirmed can be called again: nothing is undone twice
            self.log.turned(made.turn)
        return made, written

    def _marked(self, steps: Sequence[Step]) -> Sequence[Step]:
        """The steps of one call, with the marks of the cells that they change, if these are wanted."""
        return (
            steps if self.mark_as is None else marked(steps, mark_of(self.mark_as(), token_hex(4), datetime.now(UTC)))
        )

    def _still(self, typing: Typing) -> CellInUse:
        """What a model gets that would write where somebody types."""
        who, cell = inline(typing.who, 40), self.seen.short(typing.cell, self.room.replica.view)
        return CellInUse(
            f"{who} is typing on line {typing.line} of {cell}, which this call would change: "
            f"{inline(typing.text, 80)!r}. It waited {self.limits.line_wait_s:g} s for the line to fall quiet. "
            "Nothing was written.",
            f'query_notebook(query="changes", wait_s=30) returns when {who} has finished; then read the cell again '
            f'with query_notebook(query="cells", cells=["{cell}"]). Its other lines can be edited now.',
        )

    def _remember(self, plan: Plan) -> None:
        """After an edit of its own the agent has seen what it wanted."""
        for cell_id, text in plan.wanted.items():
            if text is None:
                self.seen.forget(cell_id)
            else:
                self.seen.texts[cell_id] = text
