"""Takes one change of a text back out of it, however others have changed the text since.

The theory.  A call led from the text ``before`` to ``after``; by now others have made ``now`` of it.  Taking the call
back is a change of ``after``, too: ``ours = diff(after, before)`` beside ``theirs = diff(after, now)``.  Other than an
edit (``splice.rebase``), an undo need not refuse where the two touch, for it knows whose each character is:

* what the call has put in goes, as far as it is still there;
* what others have put in since stays, whole and in order, also inside and right beside what goes;
* what the call had taken out comes back, unless others have rewritten, or taken out, the very text around that place:
  then there is nowhere to put it, and it is ``lost``;
* lines that others have brought back themselves, among whatever else, do not come back once more;
* a line of which something stays keeps its end: two lines never become one because of what lay between them.

``theirs`` goes down to single characters: in ``x = 12``, made of ``x = 1``, the ``2`` is what was typed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from .splice import Splice, Splices, blocks, diff, normalise, words

_MOST_PAIRS = 250_000
"""What is longer than this (characters of one, times characters of the other) is not compared by characters."""
_SAME = 0.9
"""The part of some lines that must still be there to call them the same lines, with something typed into them."""
_ALIKE = 2 / 3
"""As ``_SAME``, for words."""
_TELLING = 4
"""Lines of so many characters are the ones that were there, and not just like them."""


@dataclass(frozen=True, slots=True)
class Unravelled:
    """How to take a change out of the text that is there now."""

    splices: Splices
    """Positions are characters of the text now."""
    kept: tuple[str, ...] = ()
    """What others had put into the text that goes; it stays."""
    lost: tuple[str, ...] = ()
    """What does not come back, because the text around its place is no longer there; with the rest of its lines."""


def unravel(after: str, before: str, now: str) -> Unravelled:
    """Take back, in the text ``now``, the change that once led from ``before`` to ``after``."""
    if now == before:
        return Unravelled(())  # somebody has done it by hand
    ours = diff(after, before)
    if now == after:
        return Unravelled(ours)
    theirs = _Theirs(after, now)
    splices: list[Splice] = []
    kept: list[str] = []
    lost: dict[int, str] = {}
    shift = 0
    for hunk in ours:
        taken = _Hunk(hunk, theirs)
        splices += taken.splices
        kept += taken.kept
        if taken.lost:
            first = before.rfind("\n", 0, hunk.start + shift) + 1
            lost[first] = _lines(before, first, hunk.start + shift + len(hunk.insert))
        shift += hunk.growth
    return Unravelled(normalise(splices, now), tuple(kept), tuple(lost.values()))


def _lines(text: str, start: int, stop: int) -> str:
    """From the start of a line to the end of the line that ``stop`` lies on."""
    end = text.find("\n", max(start, stop - 1))
    return text[start : end if end >= 0 else len(text)].strip("\n")


def closely(before: str, after: str) -> Splices:
    """As ``diff``, down to the characters of what is still much the same."""
    return diff(before, after, refine=_narrowed)


def _narrowed(block: Splice, text: str) -> list[Splice]:
    """A changed run of lines, narrowed to characters where they have but been typed into, else to words and these."""
    typed_into = _letters(block, text, _SAME)
    if typed_into is not None:
        return typed_into
    return [part for word in words(block, text) for part in _letters(word, text, _ALIKE) or [word]]


def _letters(splice: Splice, text: str, part: float) -> list[Splice] | None:
    """A splice narrowed to characters; None where less than this ``part`` of the old text is there, or it is in shreds.

    Shreds: any two texts have letters in common, and a few of them within a longer new text mean nothing.
    """
    old, new = text[splice.start : splice.stop], splice.insert
    if not old or not new or len(old) * len(new) > _MOST_PAIRS:
        return None
    found = list(blocks(old, new))
    alike = len(old) - sum(block.stop - block.start for block in found)
    if alike < part * len(old) or alike < 2 * (len(found) - 1) or 4 * alike < len(new):
        return None
    return [Splice(splice.start + block.start, splice.start + block.stop, block.insert) for block in found]


class _Theirs:
    """What others made of ``after``, and where its characters stand now."""

    def __init__(self, after: str, now: str) -> None:
        self.after = after
        self.now = now
        self._splices = closely(after, now)
        self._starts = [splice.start for splice in self._splices]
        self._stops = [splice.stop for splice in self._splices]
        self._shifts = [0, *accumulate(splice.growth for splice in self._splices)]

    def near(self, start: int, stop: int) -> Sequence[Splice]:
        """Those that overlap or adjoin this stretch of ``after``."""
        return self._splices[bisect_left(self._stops, start) : bisect_right(self._starts, stop)]

    def place(self, point: int, *, behind: bool) -> int:
        """Where a point of ``after`` lies now; ``behind``: behind what was inserted at that very point."""
        index = bisect_left(self._stops, point)
        shift = self._shifts[index]
        if index < len(self._splices):
            splice = self._splices[index]
            if splice.start < point < splice.stop:
                return splice.start + shift + len(splice.insert)
            if splice.stop == point and (splice.start < point or behind):
                shift += splice.growth
        return point + shift

    def brought_back(self, ours: Splice) -> bool:
        """Whether whole lines that others have put where ours are are those that ours would bring back."""
        first, last = self.after.rfind("\n", 0, ours.start) + 1, self.after.find("\n", ours.stop) + 1
        if ours.start == ours.stop == first and ours.insert.endswith("\n"):
            last = first
        last = len(self.after) if last < ours.stop else last
        was = (self.after[first : ours.start] + ours.insert + self.after[ours.stop : last]).strip("\n")
        if len(was.strip()) < _TELLING:
            return False
        lines = blocks(self.after.splitlines(True), self.now.splitlines(True))
        put = (splice.insert for splice in lines if splice.start <= first and last <= splice.stop)
        return any(f"\n{was}\n" in f"\n{text}\n" for text in put)

    def starts_line(self, point: int) -> bool:
        """Whether a point of ``after`` is the start of a line of it."""
        return point == 0 or self.after[point - 1] == "\n"

    def ends_line(self, point: int) -> bool:
        """Whether a point of ``after`` is the end of a line of it."""
        return self.after[point : point + 1] in ("", "\n")


class _Hunk:
    """One splice of ours, done to the text now: ``splices``, what is ``kept``, whether what had been there is lost."""

    def __init__(self, ours: Splice, theirs: _Theirs) -> None:
        self._ours = ours
        self._theirs = theirs
        self._near = theirs.near(ours.start, ours.stop)
        self.splices: list[Splice] = []
        self.kept: list[str] = []
        self.lost = False
        if ours in self._near or (self._near and theirs.brought_back(ours)):
            return  # somebody has done it by hand
        if self._has_no_place():
            self.lost = bool(ours.insert.strip())
            return
        at = theirs.place(ours.start, behind=self._behind())
        if ours.insert:
            self.splices.append(Splice(at, at, ours.insert + self._line_end()))
        self._take_out(at)

    def _has_no_place(self) -> bool:
        """Whether others took out all that is to go, and more, or put something of their own in its place."""
        start, stop = self._ours.start, self._ours.stop
        if start == stop:
            return any(splice.start < start < splice.stop for splice in self._near)
        over = [splice for splice in self._near if splice.start < stop and splice.stop > start]
        gone = sum(min(splice.stop, stop) - max(splice.start, start) for splice in over)
        return gone == stop - start and any(s.insert or s.start < start or s.stop > stop for s in over)

    def _behind(self) -> bool:
        """Whether what comes back stands behind what others typed at that very point.

        They typed at the end of a line, before what had been there; or at its start, behind what had been there.
        """
        return self._ours.stop > self._ours.start or not self._theirs.starts_line(self._ours.start)

    def _line_end(self) -> str:
        """What parts text that comes back on an empty line from what others typed on it."""
        at, came = self._ours.start, self._ours.insert
        beside = next((splice.insert for splice in self._near if splice.start == splice.stop == at), "")
        alone = at == self._ours.stop and self._theirs.starts_line(at) and self._theirs.ends_line(at)
        return "\n" if beside and alone and not came.endswith("\n") and not beside.startswith("\n") else ""

    def _take_out(self, at: int) -> None:
        """Delete what is still there, but for line ends that part what others typed from what they did not."""
        theirs = self._theirs
        text = theirs.now[max(at - 1, 0) : at] + self._ours.insert
        open_line = bool(text) and not text.endswith("\n")
        end = -1  # a line end that goes, the last since what was kept
        keep: list[tuple[int, int]] = []
        going: list[tuple[int, int]] = []
        for start, stop, text in self._parts():
            if not text:
                going.append((start, stop))
                end = max(end, theirs.now.rfind("\n", start, stop))
                continue
            if end >= 0 and open_line and not text.startswith("\n"):
                keep.append((end, end + 1))
            self.kept.append(text)
            open_line, end = not text.endswith("\n"), -1
        if self.kept and end >= 0 and open_line and not theirs.ends_line(self._ours.stop):
            last = going[-1][1]
            keep.append((end, end + 1 if theirs.now[end:last].strip() else last))  # what follows keeps its indentation
        for start, stop in going:
            cuts = [start, *(cut for kept in keep if start <= kept[0] < stop for cut in kept), stop]
            self.splices += [Splice(a, b, "") for a, b in zip(cuts[::2], cuts[1::2], strict=True) if a < b]

    def _parts(self) -> list[tuple[int, int, str]]:
        """The text now where ours was, in order: (start, stop, empty) what is to go, (_, _, text) what others typed."""
        start, stop = self._ours.start, self._ours.stop
        parts: list[tuple[int, int, str]] = []
        at = start

        def goes(until: int) -> None:
            if until > at:
                first = self._theirs.place(at, behind=True)
                parts.append((first, first + until - at, ""))

        for splice in self._near:
            inside = (splice.start > start or (splice.start == start and self._theirs.starts_line(start))) and (
                splice.stop < stop or (splice.stop == stop and self._theirs.ends_line(stop))
            )
            goes(max(splice.start, start))
            if splice.insert and inside and start < stop:
                parts.append((0, 0, splice.insert))
            at = max(at, min(splice.stop, stop))
        goes(stop)
        return parts
