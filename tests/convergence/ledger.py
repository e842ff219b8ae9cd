"""The count of marks: characters that stand for one keystroke each, wherever they are.

Marks are CJK characters, one range for each seat at the table, and nobody types one twice: three UTF-8 bytes each, so
that no offset is right by chance.  A mark is *due* once somebody has typed it, or an agent's call has answered that it
is in the room.  It stays due until somebody takes it away on purpose, or it was under way into a cell that somebody
else rebuilt at that moment: Yjs 13 cannot move, so that is lost (``facts/rtc.md``, section 4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

FIRST = 0x4E00
SPAN = 0x1000
SEATS = 5


def is_mark(character: str) -> bool:
    """Whether this is a mark."""
    return FIRST <= ord(character) < FIRST + SEATS * SPAN


def marks_in(text: str) -> set[str]:
    """The marks in a text."""
    return set(filter(is_mark, text))


@dataclass
class Ledger:
    """What must stand in the notebook."""

    made: list[int] = field(default_factory=lambda: [0] * SEATS)
    due: set[str] = field(default_factory=set)
    excused: Counter[str] = field(default_factory=Counter)
    """Marks that may be gone, with how many reasons there are for it."""
    murky: set[str] = field(default_factory=set)
    """Marks in cells that two have rebuilt at once: they may even stand there twice (Yjs 13 cannot move)."""

    def new(self, seat: int, count: int) -> str:
        """Marks that nobody has typed yet; fewer where the seat has used up its own."""
        start = self.made[seat]
        self.made[seat] = min(start + count, SPAN)
        return "".join(chr(FIRST + seat * SPAN + at) for at in range(start, self.made[seat]))

    def excuse(self, marks: Iterable[str]) -> None:
        """These may be gone."""
        self.excused.update(marks)

    def forgive(self, marks: Iterable[str]) -> None:
        """One reason less for these to be gone: what was to be done was not done."""
        self.excused.subtract(marks)

    def recount(self, marks: Iterable[str], text: str) -> None:
        """From now on of these the ones in ``text`` are due, and no others."""
        there = marks_in(text)
        for mark in marks:
            if mark in there:
                self.due.add(mark)
                del self.excused[mark]
            else:
                self.excused[mark] += 1

    def lost(self, text: str) -> list[str]:
        """The marks that should be in the text of the whole notebook, and are not."""
        missing = self.due.difference(text)
        return sorted(mark for mark in missing if self.excused[mark] <= 0)

    def twice(self, text: str) -> list[str]:
        """The marks that stand in it more than once."""
        return sorted(m for m, times in Counter(filter(is_mark, text)).items() if times > 1 and m not in self.murky)
