"""What really happened in a notebook, written down by a peer that does nothing, and what agents were told of it.

``Ledger`` watches one replica: after every update it compares the cells with what they were, and notes whose clock
advanced.  ``Told`` is an agent's side: every call with its time, and the claims of its closing line.  ``discrepancies``
holds the one against the other.  The agent and the ledger get the same updates, but not at the same moment, so what
happens within ``SLACK_S`` of a call may be told by it or by the next one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Literal

import anyio
from pycrdt import Decoder, Doc

from collab_agent.testing import Human

SLACK_S = 1.0
SINCE = "since your last call: "

Kind = Literal["inserted", "deleted", "moved", "retyped", "edited", "began", "ended", "typing"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as the ledger sees it."""

    id: str
    type: str
    source: str
    running: bool
    count: int | None


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened to a cell; ``client`` None: nobody's clock advanced.

    ``added``: the text that came; ``lines``: the lines that are as they were not before.
    """

    at: float
    client: int | None
    kind: Kind
    cell: str
    added: str = ""
    count: int | None = None
    lines: frozenset[str] = frozenset()

    def line(self, names: Mapping[int, str]) -> str:
        """For the transcript."""
        who = "somebody" if self.client is None else names.get(self.client, f"client {self.client}")
        rest = f" {self.added!r}" if self.added else "" if self.count is None else f" [{self.count}]"
        return f"{who} {self.kind} {self.cell}{rest}"


@dataclass(frozen=True, slots=True)
class Call:
    """A call of an agent, with all that it was answered."""

    began: float
    ended: float
    tool: str
    arguments: Mapping[str, Any]
    text: str
    is_error: bool

    @property
    def since(self) -> str:
        """What the closing line says; empty where there is none."""
        found = [line for line in self.text.splitlines() if line.startswith(SINCE)]
        assert len(found) <= 1, self.text
        assert not found or self.text.splitlines()[-1] == found[0], self.text
        return found[0].removeprefix(SINCE) if found else ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a closing line says that somebody did; ``cell`` is a short id."""

    call: int
    who: frozenset[str]
    kind: Kind
    cell: str
    count: int | None = None


@dataclass(slots=True)
class Told:
    """All that one agent was told."""

    name: str
    calls: list[Call] = field(default_factory=list)

    def claims(self) -> Iterator[Claim]:
        """The claims of all closing lines; an unknown phrase fails the test."""
        for number, call in enumerate(self.calls):
            for who, phrases in groups(call.since):
                yield from (claim_of(number, who, phrase) for phrase in phrases)


PHRASES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("edited", re.compile(r"edited (\w+) \(\+\d+ -\d+ lines?\)")),
    ("inserted", re.compile(r"inserted (\w+)")),
    ("deleted", re.compile(r"deleted (\w+)")),
    ("moved", re.compile(r"moved (\w+)")),
    ("retyped", re.compile(r"made (\w+) (?:code|markdown|raw)")),
    ("began", re.compile(r"is running (\w+)")),
    ("ended", re.compile(r"ran (\w+) \[(\d+)\] (?:ok|error \w+)")),
    ("ended", re.compile(r"stopped (?:running )?(\w+)")),
    ("typing", re.compile(r"is typing in (\w+)(?:, line \d+)?")),
)
_START = "|".join(("edited", "inserted", "deleted", "moved", "made", "is running", "ran", "stopped", "is typing in"))
_GROUP = re.compile(rf"(.+?) ((?:{_START}) .+)")
_NEXT = re.compile(rf", (?=(?:{_START}) )")
_MORE = re.compile(r"(?:… )?\d+ more: query_notebook\(.*\)")


def groups(since: str) -> Iterator[tuple[frozenset[str], list[str]]]:
    """Who, and what they did."""
    for group in since.split("; ") if since else ():
        if _MORE.fullmatch(group):
            continue
        found = _GROUP.fullmatch(group)
        assert found is not None, f"a closing line says {group!r}"
        yield frozenset(found[1].replace(" (agent)", "").split(" and ")), _NEXT.split(found[2])


def claim_of(call: int, who: frozenset[str], phrase: str) -> Claim:
    """A phrase of a closing line as a claim."""
    for kind, pattern in PHRASES:
        if found := pattern.fullmatch(phrase):
            return Claim(call, who, kind, found[1], int(found[2]) if pattern.groups == 2 else None)
    raise AssertionError(f"a closing line says {phrase!r}")


class Observer(Human):
    """Somebody who only looks, and says when a frame of the room has been merged."""

    on_merged: Callable[[], None] | None = None

    def _merge(self, frame: bytes) -> None:
        super()._merge(frame)
        if self.on_merged is not None:
            self.on_merged()


class Ledger:
    """Watches a replica; ``facts`` and ``states`` grow with every update."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._doc: Doc[Any] = observer.notebook.ydoc
        self._clocks = clocks(self._doc)
        self._deltas: list[Any] = []
        self._doubled: dict[str, tuple[int | None, Cell]] = {}  # by whom, and what it was
        self._passing: set[str] = set()
        self.facts: list[Fact] = []
        self.states: list[tuple[float, tuple[Cell, ...]]] = [(anyio.current_time(), self._read())]
        self.names: dict[int, str] = {}
        self._subscription = observer.notebook.ycells.observe_deep(self._on_events)
        observer.on_merged = self._on_update

    def learn_names(self) -> None:
        """Remember who is here."""
        self.names |= {client: str(state["user"]["name"]) for client, state in self._observer.peers().items()}

    def state_at(self, time: float) -> dict[str, Cell]:
        """The cells as they were, by id, in the order in which they stood."""
        cells = next((cells for at, cells in reversed(self.states) if at <= time), self.states[0][1])
        return {cell.id: cell for cell in cells}

    def _read(self) -> tuple[Cell, ...]:
        found = []
        for handle in self._observer.notebook.ycells:
            count = handle.get("execution_count")
            running = handle.get("execution_state") == "running"
            number = None if count is None else int(count)
            found.append(Cell(str(handle["id"]), str(handle["cell_type"]), str(handle["source"]), running, number))
        return tuple(found)

    def _on_events(self, events: Iterable[Any]) -> None:
        self._deltas += [list(event.delta) for event in events if not event.path]

    def _on_update(self) -> None:
        self.learn_names()
        now, before = clocks(self._doc), self._clocks
        advanced = [client for client, clock in now.items() if clock > before.get(client, 0)]
        self._clocks = now
        client = advanced[0] if len(advanced) == 1 else None
        at, cells = anyio.current_time(), self._read()
        old, new = {cell.id: cell for cell in self.states[-1][1]}, {cell.id: cell for cell in cells}
        gone, come = self._structure([cell.id for cell in self.states[-1][1]], [cell.id for cell in cells])
        self.states.append((at, cells))
        for cell_id in come:
            if cell_id in gone:
                self._note(at, client, "moved", cell_id)
            elif cell_id in old:  # an agent moves a cell in two steps: it stands there twice, for a moment
                self._doubled[cell_id] = (client, old[cell_id])
            else:
                self._note(at, client, "inserted", cell_id, added=new[cell_id].source)
        renamed = new.keys() - old.keys() - set(come)  # by the server, which has saved while it stood there twice
        self._passing |= renamed
        for cell_id in gone:
            if cell_id not in new and cell_id not in self._passing:
                self._note(at, client, "deleted", cell_id)
        times = Counter(cell.id for cell in cells)
        for cell_id in [each for each in self._doubled if times[each] < 2]:
            mover, was = self._doubled.pop(cell_id)
            old.pop(cell_id, None)
            if cell_id in new:
                self._note(at, mover, "moved", cell_id)
                self._compare(at, mover, was, new[cell_id])
        for cell_id in old.keys() & new.keys() - self._doubled.keys():
            self._compare(at, client, old[cell_id], new[cell_id])

    def _structure(self, before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
        """The ids that one update took out of the list of cells, and those that it put in."""
        gone: list[str] = []
        come: list[str] = []
        for delta in self._deltas:
            old = new = 0
            for part in delta:
                if "retain" in part:
                    old, new = old + int(part["retain"]), new + int(part["retain"])
                elif "delete" in part:
                    gone += before[old : old + int(part["delete"])]
                    old += int(part["delete"])
                else:
                    come += after[new : new + len(part["insert"])]
                    new += len(part["insert"])
        self._deltas.clear()
        return gone, come

    def _compare(self, at: float, client: int | None, old: Cell, new: Cell) -> None:
        if old.source != new.source:
            matcher = SequenceMatcher(None, old.source, new.source, autojunk=False)
            added = "".join(new.source[c:d] for tag, _, _, c, d in matcher.get_opcodes() if tag != "equal")
            lines = frozenset(new.source.split("\n")) - frozenset(old.source.split("\n"))
            self.facts.append(Fact(at, client, "edited", new.id, added, lines=lines))
        if old.type != new.type:
            self._note(at, client, "retyped", new.id)
        if new.running and not old.running:
            self._note(at, client, "began", new.id)
        if (old.running and not new.running) or (new.count is not None and new.count != old.count):
            self._note(at, client, "ended", new.id, count=new.count)

    def _note(
        self, at: float, client: int | None, kind: Kind, cell: str, *, added: str = "", count: int | None = None
    ) -> None:
        self.facts.append(Fact(at, client, kind, cell, added, count))


def clocks(doc: Doc[Any]) -> dict[int, int]:
    """A document's state vector."""
    decoder = Decoder(doc.get_state())
    return {decoder.read_var_uint(): decoder.read_var_uint() for _ in range(decoder.read_var_uint())}


def transcript(ledger: Ledger, agents: Sequence[Told], doings: Sequence[tuple[float, str]]) -> str:
    """All in one, in the order of time: what each did, what happened, and what each agent was told."""
    lines = [(at, f"    {text}") for at, text in doings]
    lines += [(fact.at, f"        {fact.line(ledger.names)}") for fact in ledger.facts]
    for agent in agents:
        for call in agent.calls:
            lines.append((call.began, f"{agent.name} >>> {call.tool} {dict(call.arguments)}"))
            shown = "\n".join(f"      | {line}" for line in call.text.splitlines())
            lines.append((call.ended, f"{agent.name} <<< {'error' if call.is_error else 'ok'}\n{shown}"))
    start = ledger.states[0][0]
    return "\n".join(f"{at - start:8.3f} {text}" for at, text in sorted(lines, key=lambda line: line[0])) + "\n"
