"""Whether what agents were told is what happened: every claim true and told once, and nothing left out.

What came and went between two calls need not be told, nor what the agent itself has written over since.
"""

from __future__ import annotations

from collections.abc import Iterator

from collab_agent.config import Limits

from .ledger import SLACK_S, Claim, Fact, Kind, Ledger, Told

UNHEARD_S = 18.0
"""For so long an agent that has come may not have heard of a page that was idle (``facts/rtc.md``, section 4)."""

TYPED_OUT_S = Limits().typed_out_s
"""For so long after a keystroke somebody is said to be typing."""

SAYS: dict[Kind, tuple[Kind, ...]] = {
    "edited": ("edited", "inserted", "deleted"),
    "inserted": ("inserted", "moved", "edited"),
    "deleted": ("deleted", "moved"),
    "moved": ("moved", "inserted"),
    "retyped": ("retyped", "inserted", "deleted"),
    "began": ("began", "ended", "deleted"),
    "ended": ("ended", "began", "deleted"),
}
"""Which claims tell of a fact: of a cell that is new nothing else needs to be said."""


class Verdict:
    """Holds one agent's claims against the ledger.

    ``agents``: the names of all agents.  What a page takes away, a cell or letters, it does not sign: then some human,
    or somebody, must have been named; where a cell is gone, no agent, for agents sign.
    """

    def __init__(self, ledger: Ledger, told: Told, agents: frozenset[str]) -> None:
        self._ledger, self._told, self._agents = ledger, told, agents
        self._claims = list(told.claims())

    def discrepancies(self) -> list[str]:
        """A line for each; empty if all is as it was told."""
        return [*self._untrue(), *self._untold()]

    def who(self, fact: Fact) -> str | None:
        """Whose doing a fact is; None where it cannot be known."""
        return None if fact.client is None else self._ledger.names.get(fact.client)

    def _untrue(self) -> Iterator[str]:
        """Claims without a fact of their own."""
        spent: set[tuple[int, Kind]] = set()
        for claim in self._claims:
            call = self._told.calls[claim.call]
            where = f"{self._told.name}, call {claim.call} at {self._time(call.ended)}"
            if self._told.name in claim.who:
                yield f"{where}: was told its own doing: {claim}"
            since = self._told.calls[claim.call - 1].began - SLACK_S if claim.call else float("-inf")
            if claim.kind == "typing":
                since = min(since, call.ended - TYPED_OUT_S - SLACK_S)
            fitting = [
                (number, fact)
                for number, fact in enumerate(self._ledger.facts)
                if since <= fact.at <= call.ended + SLACK_S and self._fits(claim, fact)
            ]
            fresh = [each for each in fitting if (each[0], claim.kind) not in spent or claim.kind == "typing"]
            if not fresh:
                yield f"{where}: {'was told again' if fitting else 'did not happen'}: {claim}"
            told = [number for number, fact in fresh if fact.at <= call.began - SLACK_S or number == fresh[0][0]]
            spent |= {(number, claim.kind) for number in told}

    def _fits(self, claim: Claim, fact: Fact) -> bool:
        kinds = ("edited", "inserted") if claim.kind == "typing" else (claim.kind,)
        if claim.kind == "inserted":
            kinds = ("inserted", "moved")
        if claim.kind == "edited" and self._took_along(fact):
            kinds = ("edited", "moved", "retyped")
        who = self.who(fact)
        return (
            fact.kind in kinds
            and fact.cell.startswith(claim.cell)
            and (self._means(claim, who) if who is not None else fact.kind != "deleted" or not claim.who & self._agents)
            and who != self._told.name
            and (claim.kind != "ended" or claim.count is None or claim.count == fact.count)
        )

    def _took_along(self, fact: Fact) -> bool:
        """Whether the agent was editing a cell when another built it anew: what it wrote went with the old copy."""
        edits = [
            edit
            for call in self._told.calls
            if call.began - SLACK_S <= fact.at <= call.ended + SLACK_S
            for edit in call.arguments.get("edits", ())
        ]
        return any(edit.get("cell") == fact.cell or edit["op"] in ("undo", "redo") for edit in edits)

    def _means(self, claim: Claim, who: str | None) -> bool:
        """Whether a claim is about this one; a page that was idle when the agent came is ``somebody`` at first."""
        unheard = self._told.calls[claim.call].ended <= self._told.calls[0].ended + UNHEARD_S
        return who in claim.who or (unheard and claim.who == {"somebody"} and who not in self._agents)

    def _untold(self) -> Iterator[str]:
        """Facts of others that still matter at the first call after them, and that no call told."""
        for fact in self._ledger.facts:
            who = self.who(fact)
            due = self._due(fact)
            if who == self._told.name or due is None or not self._matters(fact, due):
                continue
            told = any(
                claim.call <= due
                and self._told.calls[claim.call].ended >= fact.at - SLACK_S
                and fact.cell.startswith(claim.cell)
                and claim.kind in SAYS[fact.kind]
                and (fact.client is None or self._means(claim, who) or claim.kind == "inserted" != fact.kind)
                for claim in self._claims
            )
            if not told:
                line = fact.line(self._ledger.names)
                yield f"{self._told.name}, call {due}: was not told at {self._time(fact.at)}: {line}"

    def _due(self, fact: Fact) -> int | None:
        """The first call that began so late after a fact that it must tell it; None before the agent came."""
        if fact.at < self._told.calls[0].ended + SLACK_S:
            return None
        return next((n for n, call in enumerate(self._told.calls) if call.began > fact.at + SLACK_S), None)

    def _matters(self, fact: Fact, due: int) -> bool:
        """Whether what happened is still so when it must be told, and nobody has done the like around that time."""
        since, until = self._asked(fact), self._told.calls[due].ended
        now = self._ledger.state_at(until).get(fact.cell)
        near = [
            other
            for other in self._ledger.facts
            if other.cell == fact.cell and since <= other.at <= until and other is not fact
        ]
        later = {other.kind for other in near if other.at >= fact.at}
        if fact.kind == "deleted":
            return now is None and fact.cell in self._ledger.state_at(since)
        if fact.kind == "inserted" and any(
            other.kind == "deleted" and other.cell == fact.cell and other.at <= fact.at for other in self._ledger.facts
        ):
            return False  # it went and came back, as by undo and redo
        if now is None or later & {"deleted", "inserted"}:
            return False
        match fact.kind:
            case "edited":
                return any(
                    line in now.source.split("\n") for line in fact.lines - self._lines(fact.cell, since, fact.at)
                )
            case "moved":
                rebuilt = any(other.kind in ("moved", "retyped") for other in near)
                return not rebuilt and self._displaced(fact, since, until)
            case "retyped":
                return not any(other.kind == "retyped" for other in near)
            case "ended" if fact.count not in (None, now.count):
                return False  # somebody, perhaps the agent itself, has cleared it since
            case "began" | "ended":
                was = self._ledger.state_at(since).get(fact.cell)
                same = was is not None and (was.running, was.count) == (now.running, now.count)
                ran = any(other.kind == "began" for other in [fact, *near])  # else a count was put back by an undo
                return not later & {"began", "ended", "moved", "retyped"} and (ran or not same)
        return True

    def _asked(self, fact: Fact) -> float:
        """When the agent had surely not yet been told anything of the time around a fact."""
        earlier = [call.began for call in self._told.calls if call.ended < fact.at - SLACK_S]
        return max(earlier, default=0.0) - SLACK_S

    def _lines(self, cell: str, since: float, until: float) -> set[str]:
        """All lines that the cell has had in that time."""
        states = [self._ledger.state_at(since)]
        states += [{each.id: each for each in cells} for at, cells in self._ledger.states if since < at < until]
        return {line for state in states if cell in state for line in state[cell].source.split("\n")}

    def _displaced(self, fact: Fact, since: float, until: float) -> bool:
        """Whether a moved cell has other neighbours than before, among the cells that were there all the time."""
        old, new = list(self._ledger.state_at(since)), list(self._ledger.state_at(until))
        old, new = [c for c in old if c in new], [c for c in new if c in old]
        if fact.cell not in old:
            return False
        here, there = old.index(fact.cell), new.index(fact.cell)
        return (
            here != there
            and old[here - 1 : here] != new[there - 1 : there]
            and old[here + 1 :][:1] != new[there + 1 :][:1]
        )

    def _time(self, at: float) -> str:
        return f"{at - self._ledger.states[0][0]:.3f}"
