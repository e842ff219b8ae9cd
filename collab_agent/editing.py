"""An agent's edits of one notebook: planned on what it was shown, written in one transaction, shown on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyio.abc import TaskGroup

from .appearance import Appearance
from .news import News
from .notebook.draft import Done, Plan
from .notebook.edits import Planner
from .notebook.seen import Seen
from .notebook.steps import Step
from .people import People
from .room.provider import RoomProvider
from .room.replica import Replica
from .saving import Saver


@dataclass(frozen=True, slots=True)
class Edited:
    """What a call's edits came to: what was done, and each touched text before and after the merge."""

    done: tuple[Done, ...]
    texts: tuple[tuple[str, str, str], ...]
    """Cell id, the text before, the text after (empty where the cell is gone)."""
    code: tuple[str, ...]
    """The code cells that the edits touched."""


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

    async def edit(self, edits: Sequence[Mapping[str, Any]], tasks: TaskGroup | None) -> Edited:
        """Apply edits (contract, section 3), all or none; returns when the room has them.

        Any ``EditError`` or ``TargetError``: nothing was written.
        """
        plans: list[Plan] = []

        def plan(replica: Replica) -> Sequence[Step]:
            peers = self.people.all if "@" in repr(edits) else ()  # finding carets in long texts takes time
            planner = Planner(replica, self.seen, peers, self.people.in_use, trust=self.trust)
            plans.append(planner.plan(edits))
            self.news.close(plans[0].steps)
            return plans[0].steps

        try:
            written = await self.room.write(plan)
        finally:
            if plans:
                self._remember(plans[0])
        if tasks is not None:
            self.appearance.show_edit(written, tasks)
        self.saver.changed(own=True)
        made = plans[0]
        texts = []
        for cell_id, before in made.before.items():
            cell = self.room.replica.cell(cell_id)
            texts.append((cell_id, before, "" if cell is None else cell.source))
        return Edited(made.done, tuple(texts), made.code)

    def _remember(self, plan: Plan) -> None:
        """After an edit of its own the agent has seen what it wanted."""
        for cell_id, text in plan.wanted.items():
            if text is None:
                self.seen.forget(cell_id)
            else:
                self.seen.texts[cell_id] = text
