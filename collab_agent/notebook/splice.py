"""Text edits as splices: made against one text, carried over to another.

The theory.  An agent edits the text that it was *shown*; meanwhile a human has changed it.  Both changes are
written as splices of the shown text: ``ours = diff(seen, wanted)`` and ``theirs = diff(seen, now)``.  As long as
no splice of ours touches one of theirs, every splice of ours has exactly one place in the text that is there now,
and ``rebase`` gives it; the result is what a CRDT merge of both changes would give.  Where two touch (overlap,
adjoin, or insert at the same point) there is no single right answer, and ``rebase`` raises ``Touching``.

Rules that hold for every tuple of splices made here:

* positions are characters of the *original* text, never of a half-edited one;
* splices are in order and apart: ``a.stop < b.start`` for neighbours;
* no splice is empty, and none begins or ends with a character that it leaves as it was, unless it must.

Yjs texts in pycrdt count UTF-8 bytes: ``byte_offset`` converts at the border, and nowhere else.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate

_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
"""Scripts that put no space between words (Thai to CJK): a whole sentence would be one word."""
_TOKEN = re.compile(rf"[^\W{_UNSPACED}]+|[^\S\n]+|\n|.", re.DOTALL)
_MAX_WORK = 1_000_000
"""Above this ``_work`` (about 0.1 s) SequenceMatcher, cubic at worst, would keep the event loop waiting."""


@dataclass(frozen=True, slots=True)
class Splice:
    """Replace the characters ``start`` to ``stop`` (exclusive) of a text by ``insert``."""

    start: int
    stop: int
    insert: str

    @property
    def growth(self) -> int:
        """By how many characters the text gets longer; negative where it gets shorter."""
        return len(self.insert) - (self.stop - self.start)


Splices = tuple[Splice, ...]


class Touching(ValueError):
    """A splice of ours and one of theirs have no single merged result."""

    def __init__(self, ours: Splice, theirs: Splice) -> None:
        super().__init__(f"{ours} touches {theirs}")
        self.ours = ours
        self.theirs = theirs


def apply(text: str, splices: Iterable[Splice]) -> str:
    """The text after ``splices``, whose positions are characters of ``text``."""
    parts: list[str] = []
    at = 0
    for splice in splices:
        parts += (text[at : splice.start], splice.insert)
        at = splice.stop
    parts.append(text[at:])
    return "".join(parts)


def words(block: Splice, text: str) -> list[Splice]:
    """A changed run of lines, narrowed to the words that changed in it."""
    old, new = _TOKEN.findall(text[block.start : block.stop]), _TOKEN.findall(block.insert)
    return [Splice(block.start + s.start, block.start + s.stop, s.insert) for s in blocks(old, new)]


def diff(before: str, after: str, *, refine: Callable[[Splice, str], Iterable[Splice]] = words) -> Splices:
    """Splices that turn ``before`` into ``after``: changed lines first, then the changed words in them.

    ``refine`` narrows a changed run of lines, as a splice of the text it is given.
    """
    if before == after:
        return ()
    trimmed = _trim(Splice(0, len(before), after), before)
    old, new = before[trimmed.start : trimmed.stop], trimmed.insert
    if not old or not new:
        return _whole_lines((trimmed,), before)
    # Whole lines are compared, so take back what the trimming cut off the first and the last line.
    head = before.rfind("\n", 0, trimmed.start) + 1
    tail = before.find("\n", trimmed.stop)
    tail = len(before) if tail < 0 else tail + 1
    after_tail = len(after) - (len(before) - tail)
    found: list[Splice] = []
    for block in blocks(before[head:tail].splitlines(True), after[head:after_tail].splitlines(True)):
        shifted = Splice(head + block.start, head + block.stop, block.insert)
        found += refine(shifted, before)
    return _whole_lines(normalise(found, before), before)


def normalise(splices: Iterable[Splice], text: str) -> Splices:
    """The same change in the form that this module promises: trimmed, none empty, neighbours joined."""
    joined: list[Splice] = []
    for splice in splices:
        if splice.start == splice.stop and not splice.insert:
            continue
        if joined and joined[-1].stop >= splice.start:
            last = joined.pop()
            splice = Splice(last.start, splice.stop, last.insert + splice.insert)
        joined.append(splice)
    trimmed = (_trim(splice, text) for splice in joined)
    return tuple(splice for splice in trimmed if splice.stop > splice.start or splice.insert)


def rebase(ours: Splices, theirs: Splices) -> Splices:
    """``ours``, made on the same text as ``theirs``, moved to the text that ``theirs`` leads to.

    Raises ``Touching`` where one of ours overlaps, adjoins or shares its point with one of theirs.
    """
    moved: list[Splice] = []
    shift = 0
    pending = list(reversed(theirs))
    for splice in ours:
        while pending and pending[-1].stop < splice.start:
            shift += pending.pop().growth
        if pending and pending[-1].start <= splice.stop:
            raise Touching(splice, pending[-1])
        moved.append(Splice(splice.start + shift, splice.stop + shift, splice.insert))
    return tuple(moved)


def compose(text: str, first: Splices, second: Splices) -> Splices:
    """One change of ``text`` that equals ``first``, then ``second`` (positions in the text after ``first``)."""
    try:
        back = rebase(second, inverse(text, first))
    except Touching:
        return diff(text, apply(apply(text, first), second))
    return normalise(sorted((*first, *back), key=lambda splice: splice.start), text)


def inverse(text: str, splices: Splices) -> Splices:
    """The splices of ``apply(text, splices)`` that lead back to ``text``."""
    back: list[Splice] = []
    shift = 0
    for splice in splices:
        start = splice.start + shift
        back.append(Splice(start, start + len(splice.insert), text[splice.start : splice.stop]))
        shift += splice.growth
    return tuple(back)


def map_point(point: int, theirs: Splices) -> int | None:
    """Where the point between two characters lies after ``theirs``; None where they touch it."""
    shift = 0
    for splice in theirs:
        if splice.stop < point:
            shift += splice.growth
        elif splice.start <= point:
            return None
    return point + shift


def byte_offset(text: str, index: int) -> int:
    """The UTF-8 byte offset of character ``index``: pycrdt's ``Text`` counts bytes, and does not say so."""
    return len(text[:index].encode("utf-8"))


def utf16_length(text: str) -> int:
    """How many UTF-16 units ``text`` takes: the units in which Yjs clocks count."""
    return len(text.encode("utf-16-le")) // 2


def _trim(splice: Splice, text: str) -> Splice:
    old = text[splice.start : splice.stop]
    bound = min(len(old), len(splice.insert))
    head = common_start(old, splice.insert)
    tail = common_start(old[head:][::-1], splice.insert[head:][::-1])
    tail = min(tail, bound - head)
    return Splice(splice.start + head, splice.stop - tail, splice.insert[head : len(splice.insert) - tail])


def common_start(one: str | tuple[str, ...], other: str | tuple[str, ...]) -> int:
    """The length of the longest common beginning; by halves, so that comparing is left to slices, in C."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _whole_lines(splices: Splices, text: str) -> Splices:
    """The same change, with insertions and deletions of whole lines moved to the start of a line.

    ``print(a)`` above ``print(b)`` is an insertion of ``a)⏎print(`` too, but that would part a line, and a caret in it.
    """
    found: list[Splice] = []
    for splice in splices:
        moved = _from_line_start(splice, text) if splice.start == splice.stop or not splice.insert else splice
        found.append(splice if found and moved.start <= found[-1].stop else moved)
    return tuple(found)


def _from_line_start(splice: Splice, text: str) -> Splice:
    start = text.rfind("\n", 0, splice.start) + 1
    head = text[start : splice.start]
    moved = splice.insert or text[splice.start : splice.stop]
    rest = moved[: len(moved) - len(head)]
    if not head or not moved.endswith(head) or not rest.endswith("\n"):
        return splice
    return Splice(start, splice.stop - len(head), head + rest if splice.insert else "")


def blocks(old: Sequence[str], new: Sequence[str]) -> Iterator[Splice]:
    """The runs of tokens (of a text: its characters) that differ, as splices of the joined ``old``; in bounded time."""
    offsets = [0, *accumulate(map(len, old))]
    for i1, i2, j1, j2 in _runs(old, new):
        yield Splice(offsets[i1], offsets[i2], "".join(new[j1:j2]))


def _runs(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Where the token lists differ: start and stop in ``old``, start and stop in ``new``.

    ``SequenceMatcher`` compares what it can compare quickly.  A longer list is cut first at the tokens that occur
    once on either side, in the same order (patience diff); one without any counts as changed throughout.
    """
    if _work(old, new) <= _MAX_WORK:
        matcher = SequenceMatcher(None, old, new, autojunk=False)
        yield from ((i1, i2, j1, j2) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal")
        return
    anchors = _anchors(old, new)
    if not anchors:
        yield (0, len(old), 0, len(new))
        return
    i = j = 0
    for stop_old, stop_new in [*anchors, (len(old), len(new))]:
        if i < stop_old or j < stop_new:
            for i1, i2, j1, j2 in _runs(old[i:stop_old], new[j:stop_new]):
                yield (i + i1, i + i2, j + j1, j + j2)
        i, j = stop_old + 1, stop_new + 1


def _work(old: Sequence[str], new: Sequence[str]) -> int:
    """A bound on the steps of ``SequenceMatcher``: all pairs of equal tokens, once for each run that it finds."""
    counts = Counter(new)
    pairs = sum(counts[token] for token in old)
    return (len(old) + pairs) * min(pairs, len(old), len(new))


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Positions of tokens that occur once on either side: as many as stand in the same order on both."""
    once = {token for token, count in Counter(old).items() if count == 1 and not token.isspace()}
    once &= {token for token, count in Counter(new).items() if count == 1}
    places = {token: j for j, token in enumerate(new) if token in once}
    pairs = [(i, places[token]) for i, token in enumerate(old) if token in once]
    # The longest increasing subsequence: ends[n] is the smallest place at which one of n + 1 can end.
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for index, (_, j) in enumerate(pairs):
        length = bisect_left(ends, j)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [j]
        last[length : length + 1] = [index]
    chain: list[tuple[int, int]] = []
    index = last[-1] if last else -1
    while index >= 0:
        chain.append(pairs[index])
        index = before[index]
    return chain[::-1]
