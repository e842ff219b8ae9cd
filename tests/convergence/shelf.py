"""A shelf for suggestions in this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from collab_agent.notebook.suggestion import Suggestion
from collab_agent.shelf import Kept, Shelf


class Table(Shelf):
    """A shelf in this process: what a server keeps as forks, until it restarts."""

    def __init__(self) -> None:
        self.kept: dict[str, Suggestion] = {}
        self._numbers = count()

    async def all(self) -> list[Kept]:
        """Those that lie there."""
        return [Kept(fork, each) for fork, each in self.kept.items()]

    async def put_back(self, suggestion: Suggestion) -> None:
        """Keep it, as ``add`` does."""
        await self.add(suggestion)

    async def add(self, suggestion: Suggestion) -> int:
        """Keep it; nobody makes its edits in a document of its own."""
        self.kept[f"fork {next(self._numbers)}"] = suggestion
        return 0

    async def take(self, kept: Kept) -> bool:
        """Give it to the first who asks."""
        return self.kept.pop(kept.fork, None) is not None


@dataclass
class Open:
    """What there is to decide about; ``marks``: by suggestion, those that it writes and those that it takes away."""

    shelf: Table = field(default_factory=Table)
    marks: dict[str, tuple[str, set[str]]] = field(default_factory=dict)
