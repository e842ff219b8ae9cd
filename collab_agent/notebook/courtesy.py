"""Where others have typed in the last seconds, and whether steps would change that very line.

The theory.  A keystroke is kept as the stretch of text that it made (empty where it took text away), with the text
that it stands in.  Whatever happens to that text later, whoever does it, ``diff`` says how the stretch has moved; so
nobody has to report every change here, only the keystrokes.  A line is quiet when its last keystroke is older than
``quiet_s``.

Which lines a splice changes: those that it begins, ends or takes text in.  Inserting whole lines above or below a line,
or deleting the lines beside it, leaves it as it is; splitting it, or joining it with a neighbour, does not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from .model import CellView
from .splice import Splice, Splices, apply, diff
from .steps import DeleteCell, SpliceSource, Step


@dataclass(frozen=True, slots=True)
class Typing:
    """Somebody is typing on a line: ``line`` counts from 1, ``text`` is the line, ``until`` when it falls quiet."""

    who: str
    cell: str
    line: int
    text: str
    until: float


Who = tuple[int, ...]
"""The clients that may have typed something."""


@dataclass(frozen=True, slots=True)
class _Stroke:
    """What one keystroke made: the characters ``start`` to ``stop`` (exclusive) of the cell's text."""

    who: Who
    start: int
    stop: int
    when: float


@dataclass(frozen=True, slots=True)
class _Typed:
    text: str
    strokes: tuple[_Stroke, ...]

    def at(self, text: str) -> _Typed:
        """The same in the text as it has become."""
        return self if text == self.text else self.after(diff(self.text, text), text)

    def after(self, splices: Splices, text: str) -> _Typed:
        """The same behind ``splices``, which lead to ``text``."""
        return _Typed(text, tuple(_carried(stroke, splices) for stroke in self.strokes))


class Keystrokes:
    """The last keystrokes of others, by cell.  Time is passed in, in seconds of any monotonic clock.

    ``name``: what clients are called; empty for those who do not type, as may turn out later.
    """

    def __init__(self, quiet_s: float, name: Callable[[Who], str]) -> None:
        self._quiet_s = quiet_s
        self._name = name
        self._cells: dict[str, _Typed] = {}

    def note(self, cell: str, who: Who, before: str, after: str, now: float) -> None:
        """Somebody's keystroke led from one text of this cell to the other."""
        self._forget(now)
        splices = diff(before, after)
        known = self._cells.get(cell, _Typed(before, ())).at(before).after(splices, after)
        strokes = list(known.strokes)
        shift = 0
        for splice in splices:
            start = splice.start + shift
            _add(strokes, _Stroke(who, start, start + len(splice.insert), now), after)
            shift += splice.growth
        self._cells[cell] = _Typed(after, tuple(strokes))

    def busy(self, steps: Sequence[Step], live: Callable[[str], CellView | None], now: float) -> Typing | None:
        """Who is typing on a line that these steps would change, as yet unwritten; of several, who has typed last."""
        return max(self._walk(steps, live, now)[0], key=lambda typing: typing.until, default=None)

    def wrote(self, steps: Sequence[Step], live: Callable[[str], CellView | None], now: float) -> None:
        """These steps are about to be written: no diff could tell as well where they leave the keystrokes."""
        self._cells |= self._walk(steps, live, now)[1]

    def _walk(
        self, steps: Sequence[Step], live: Callable[[str], CellView | None], now: float
    ) -> tuple[list[Typing], dict[str, _Typed]]:
        """Who is typing where the steps go, and the keystrokes behind them."""
        self._forget(now)
        found: list[Typing] = []
        walked: dict[str, _Typed] = {}
        for step in steps:
            if step.cell not in self._cells:
                continue
            if isinstance(step, DeleteCell):
                walked[step.cell] = _Typed("", ())
            elif isinstance(step, SpliceSource):
                cell = live(step.cell)
                typed = walked.get(step.cell) or self._cells[step.cell].at("" if cell is None else cell.source)
                if not step.rebuild:
                    found += self._typing_on(step, typed)
                walked[step.cell] = typed.after(step.splices, apply(typed.text, step.splices))
        return found, walked

    def _typing_on(self, step: SpliceSource, typed: _Typed) -> Iterable[Typing]:
        lines = _Lines(typed.text)
        changed = [lines.changed_by(splice) for splice in step.splices]
        for stroke in typed.strokes:
            if not (name := self._name(stroke.who)):
                continue
            both = [line for line in reversed(lines.typed_by(stroke)) if any(line in each for each in changed)]
            if both:
                until = stroke.when + self._quiet_s
                yield Typing(name, step.cell, both[0] + 1, lines.text_of(both[0]), until)

    def _forget(self, now: float) -> None:
        """Let go of what is long enough ago."""
        kept: dict[str, _Typed] = {}
        for cell, typed in self._cells.items():
            strokes = tuple(stroke for stroke in typed.strokes if now - stroke.when < self._quiet_s)
            if strokes:
                kept[cell] = typed if len(strokes) == len(typed.strokes) else replace(typed, strokes=strokes)
        self._cells = kept


class _Lines:
    """The lines of a text, counted from 0."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(at + 1 for at, character in enumerate(text) if character == "\n")]

    def of(self, point: int) -> int:
        """The line that this point between two characters lies on."""
        return bisect_right(self._starts, point) - 1

    def text_of(self, line: int) -> str:
        """A line, without its end."""
        return self._text[self._starts[line] :].partition("\n")[0]

    def typed_by(self, stroke: _Stroke) -> range:
        """The lines that somebody typed on: those that would change if it were taken back."""
        if stroke.start == stroke.stop:
            return range(self.of(stroke.start), self.of(stroke.start) + 1)
        return self.changed_by(Splice(stroke.start, stroke.stop, ""))

    def changed_by(self, splice: Splice) -> range:
        """The lines that are not the same behind a splice."""
        first, last = self.of(splice.start), self.of(splice.stop)
        # What ends with a line's end, put at a line's start, leaves that line alone; and what is put behind a line.
        above = self._at_start(splice.stop) and (
            splice.insert.endswith("\n") or (not splice.insert and self._at_start(splice.start))
        )
        below = self._at_end(splice.start) and (
            splice.insert.startswith("\n") or (not splice.insert and self._at_end(splice.stop))
        )
        if above and below and not splice.insert:
            return range(first, last + 1)  # an empty line goes: which of two, nobody can tell
        if above and first == last:
            return range(first, first)
        return range(first + below, last + 1 - above)

    def _at_start(self, point: int) -> bool:
        return point == 0 or self._text[point - 1] == "\n"

    def _at_end(self, point: int) -> bool:
        return self._text[point : point + 1] in ("", "\n")


def _add(strokes: list[_Stroke], new: _Stroke, text: str) -> None:
    """Add a stroke; one that goes on where another ended, on the same line, takes its place."""
    for number, old in enumerate(strokes):
        on = old.stop == new.start or new.start <= old.start <= old.stop <= new.stop
        start = min(old.start, new.start)
        if old.who == new.who and on and "\n" not in text[start : new.stop]:
            strokes[number] = replace(new, start=start)
            return
    strokes.append(new)


def _carried(stroke: _Stroke, splices: Splices) -> _Stroke:
    """Where the text of a stroke stands behind ``splices``; text put in its place counts as its own."""
    if stroke.start == stroke.stop:  # nothing stands there: whole lines put there stand above it, all else behind it
        above = any(s.start == s.stop == stroke.start and s.insert.endswith("\n") for s in splices)
        start, stop = (_moved(stroke.start, splices, above, behind) for behind in (False, True))
        return replace(stroke, start=start, stop=stop)
    start, stop = _moved(stroke.start, splices, True, False), _moved(stroke.stop, splices, False, True)
    return replace(stroke, start=start, stop=max(start, stop))


def _moved(point: int, splices: Splices, gives_way: bool, behind: bool) -> int:
    """Where a point lies behind ``splices``.

    ``gives_way``: an insertion at the point moves it.  ``behind``: if the text around it is replaced, it lies behind
    the new text, not before it.
    """
    shift = 0
    for splice in splices:
        if point < splice.start or (point == splice.start and (splice.stop > splice.start or not gives_way)):
            break
        if point < splice.stop:
            return splice.start + shift + (len(splice.insert) if behind else 0)
        shift += splice.growth
    return point + shift
