"""A human's side of suggestions: one notebook, its open suggestions, and the decisions about them.

The theory.  Whoever decides joins the notebook's room, visibly, under the human's name.  Merging plans the suggestion
on the notebook as it is at that moment and on the texts that it was made on, so that it is rebased or refused as any
edit is.  Only then is its fork deleted, which the server grants to exactly one of all who try; and then, without
planning on anything older, it is written.  So nothing is merged twice, and a refusal leaves the suggestion as it was.

Rules:

* A cell that the merge rebuilds may hold somebody's caret that we have not heard of yet: an idle page announces
  itself only every 15 s.  So such a merge waits until we have been here that long.
* What is refused after the fork was taken, in the milliseconds between, is put back.
* From taking the fork to the room's echo nothing is cancelled half-way.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import anyio
from anyio.abc import TaskStatus

from .config import Identity, Limits
from .errors import CellInUse, CollabAgentError, EditConflict, SyncTimeout, sole_cause
from .host import Host, JupyterHost
from .jupyter.api import JupyterApi
from .notebook.draft import Notebook, Plan
from .notebook.steps import DeleteCell, MoveCell, RetypeCell, SpliceSource, Step
from .notebook.suggestion import Standing, standing
from .people import People
from .room.presence import Review, review_state
from .room.protocol import Changed, Event, PeersChanged, Synced
from .room.provider import RoomProvider
from .room.replica import Replica
from .saving import Saver
from .shelf import Kept, Shelf

ANNOUNCED_S = 15.0
"""After so long in a room we have heard of everybody, the idle too (``facts/rtc.md``, section 4)."""


class Reviewer:
    """A human who decides about the suggestions for one notebook.  Made by ``joined``.

    ``trust``: whether pages trust the outputs of code cells that a merge makes.
    """

    def __init__(
        self,
        host: Host,
        shelf: Shelf,
        identity: Identity,
        limits: Limits | None = None,
        *,
        trust: bool = True,
        announced_s: float = ANNOUNCED_S,
    ) -> None:
        self._identity = replace(identity, name=f"{identity.name} (suggestions)")
        self._review = Review(identity.name)
        self._limits = limits = limits or Limits()
        self._trust = trust
        self._announced_s = announced_s
        self._joined_at = float("inf")
        self._heard = anyio.Event()
        self._room = RoomProvider(host.connect, self._on_event, limits)
        self._people = People(self._room, limits)
        self._saver = Saver(self._room, host, limits)
        self._shelf = shelf

    @classmethod
    def joined(
        cls,
        api: JupyterApi,
        path: str,
        name: str,
        limits: Limits | None = None,
        *,
        trust: bool = True,
        announced_s: float = ANNOUNCED_S,
    ) -> AbstractAsyncContextManager[Reviewer]:
        """A reviewer in the room of the notebook at ``path``; the end of the block leaves it."""
        identity = Identity.named(name, f"collab-agent-review-{secrets.token_hex(4)}")
        host, shelf = JupyterHost(api, path, identity), Shelf(api, lambda: path, limits or Limits())
        return cls(host, shelf, identity, limits, trust=trust, announced_s=announced_s).here()

    @asynccontextmanager
    async def here(self) -> AsyncIterator[Reviewer]:
        """In the room until the end of the block."""
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(self._stay)
                yield self
                with anyio.move_on_after(self._limits.save_s, shield=True):
                    await self._saver.save_quietly()
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None

    async def _stay(self, *, task_status: TaskStatus[None]) -> None:
        self._publish()
        await self._room.run(task_status=task_status)

    @property
    def document(self) -> Notebook:
        """The live notebook."""
        return self._room.replica

    def names(self) -> dict[str, str]:
        """What a human calls each cell, by its id: ``cell #3``."""
        return {cell.id: f"cell #{at}" for at, cell in enumerate(self.document.view.cells, 1)}

    async def suggestions(self) -> list[Kept]:
        """The open suggestions, oldest first; from now on the room knows that these are being looked at."""
        found = await self._shelf.all()
        self._review = replace(self._review, open=frozenset(kept.suggestion.id for kept in found))
        self._publish()
        return found

    def patience(self, kept: Kept) -> float:
        """For how many seconds more a merge would wait, lest an idle page has its caret in a cell that it rebuilds.

        Errors as of ``merge``.
        """
        if not rebuilds(self._plan(kept, False)):
            return 0.0
        return max(0.0, self._joined_at + self._announced_s - anyio.current_time())

    def can_force(self, kept: Kept) -> bool:
        """Whether ``force`` would help: somebody works in a cell that the merge rebuilds, and nothing else is wrong."""
        now, forced = self._standing(kept, False), self._standing(kept, True)
        return isinstance(now.error, CellInUse) and forced.plan is not None

    async def merge(self, kept: Kept, *, force: bool = False) -> Plan:
        """Write a suggestion into the notebook; returns what was written when the room has it.

        ``EditConflict``, ``CellInUse`` (not with ``force``), ``CellNotFound``: nothing was written, it stays open;
        ``EditConflict`` also where somebody else has decided meanwhile.
        """
        await self._ready(kept, force)
        with anyio.CancelScope(shield=True):
            await self._take(kept)
            try:
                plan = await self._write(kept, force)
            except SyncTimeout as exc:
                raise SyncTimeout(
                    f"{kept.suggestion.name} was sent, but the room has not confirmed it: it may or may not be in the "
                    "notebook. It is no longer listed.",
                    "Look at the notebook; if it is not there, ask the agent for it again.",
                ) from exc
            except CollabAgentError as exc:
                await self._put_back(kept, exc)
                raise
        self._decided(merged=kept.suggestion.id)
        self._saver.changed(own=True)
        await self._saver.save_quietly()
        return plan

    async def drop(self, kept: Kept) -> None:
        """Throw a suggestion away; ``EditConflict`` where somebody else has decided meanwhile."""
        with anyio.CancelScope(shield=True):
            await self._take(kept)
            self._decided(dropped=kept.suggestion.id)

    async def _put_back(self, kept: Kept, why: CollabAgentError) -> None:
        try:
            await self._shelf.put_back(kept.suggestion)
        except CollabAgentError as exc:
            raise type(why)(
                f"{why.message} {kept.suggestion.name} could not be kept either ({exc.message}): it is lost.",
                "Ask the agent for it again.",
            ) from exc

    async def _take(self, kept: Kept) -> None:
        if not await self._shelf.take(kept):
            raise EditConflict(
                f"{kept.suggestion.name} is no longer open: somebody else has merged or dropped it. "
                "Nothing was written."
            )

    async def _ready(self, kept: Kept, force: bool) -> None:
        """Return when the suggestion can be merged and nobody types where it would write."""
        while not force and self.patience(kept) > 0:
            self._heard = anyio.Event()
            with anyio.move_on_after(self.patience(kept)):
                await self._heard.wait()
        deadline = anyio.current_time() + self._limits.line_wait_s
        while True:
            now, plan = anyio.current_time(), self._plan(kept, force)
            typing = self._people.keystrokes.busy(plan.steps, self.document.cell, now)
            if typing is None:
                return
            if now >= deadline:
                raise CellInUse(
                    f"{typing.who} is typing on line {typing.line} of {self.names().get(typing.cell)}, which "
                    f"{kept.suggestion.name} would change. Nothing was written.",
                    "Merge it when they have finished.",
                )
            await anyio.sleep_until(min(typing.until, deadline))

    async def _write(self, kept: Kept, force: bool) -> Plan:
        plans: list[Plan] = []

        def plan(_replica: Replica) -> Sequence[Step]:
            plans.append(self._plan(kept, force))
            return plans[0].steps

        await self._room.write(plan)
        return plans[0]

    def _plan(self, kept: Kept, force: bool) -> Plan:
        now = self._standing(kept, force)
        if now.plan is None:
            assert now.error is not None
            raise now.error
        return now.plan

    def _standing(self, kept: Kept, force: bool) -> Standing:
        names, in_use = self.names(), _nobody if force else self._people.in_use
        return standing(
            kept.suggestion, self.document, in_use=in_use, trust=self._trust, short=lambda cell: names.get(cell, "")
        )

    def _decided(self, *, merged: str = "", dropped: str = "") -> None:
        """Let the room know what became of a suggestion."""
        was = self._review
        self._review = replace(
            was,
            open=was.open - {merged, dropped},
            merged=was.merged | ({merged} - {""}),
            dropped=was.dropped | ({dropped} - {""}),
        )
        self._publish()

    def _publish(self) -> None:
        self._room.set_state(review_state(self._identity, self._review))

    def _on_event(self, event: Event) -> None:
        match event:
            case Synced():
                self._people.joined()
                self._joined_at = anyio.current_time()
            case PeersChanged(presence):
                self._people.heard(presence)
                self._heard.set()
            case Changed(change):
                self._people.note(change)
                self._saver.changed(own=False)


def rebuilds(plan: Plan) -> bool:
    """Whether a plan rebuilds or removes cells, which would lose what is typed into them at that moment."""
    return any(
        isinstance(step, DeleteCell | MoveCell | RetypeCell) or (isinstance(step, SpliceSource) and step.rebuild)
        for step in plan.steps
    )


def _nobody(_cell: str) -> str:
    return ""
