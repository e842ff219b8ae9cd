"""What was typed into a cell and not saved, when another program's write of the file has taken its place.

Three texts are known: what the file ``held``, what the ``room`` made of it, and what is there ``now`` that the room has
been given the new file.  The writer has meant what differs between the first and the last, and nobody else has: so a
text that the file held before and no longer does is not lost, it was taken out.  What the room had beyond the file is.

``with_unsaved`` is ``now`` with that put back; the same as ``now`` where nothing is lost.  Nothing that the writer put
in is taken out for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .splice import Splice, Splices, apply, diff, normalise

Spans = Sequence[tuple[int, int]]
"""Stretches of a text: first character, and the one behind the last."""


def with_unsaved(held: str, room: str, now: str) -> str:
    """See above; the texts of one cell."""
    if room in (held, now):
        return now
    typed, written = inserted(diff(held, room)), inserted(diff(held, now))
    hunks = diff(now, room)
    back = []
    for hunk, (start, stop) in zip(hunks, inserted(hunks), strict=True):
        own = "".join(room[a:b] for a, b in _within(typed, start, stop))
        replaces = own == hunk.insert and not _within(written, hunk.start, hunk.stop)
        if own.strip() or replaces:
            back.append(Splice(hunk.start if replaces else hunk.stop, hunk.stop, own))
    return apply(now, normalise(back, now))


def with_lost(room: str, now: str, since: Spans) -> str:
    """What the room held, and what people have written ``since`` (stretches of ``now``), each where it stands.

    A page that joins a restarted server before us brings along what its human typed meanwhile: that is not to go for
    what the server has lost.
    """
    base, typed, at = "", list[tuple[int, str]](), 0
    for start, stop in since:
        base += now[at:start]
        typed.append((len(base), now[start:stop]))
        at = stop
    base += now[at:]
    back = []
    for hunk in diff(base, room):
        kept = "".join(text for place, text in typed if hunk.start <= place <= hunk.stop)
        typed = [(place, text) for place, text in typed if not hunk.start <= place <= hunk.stop]
        back.append(Splice(hunk.start, hunk.stop, hunk.insert + kept))
    back += [Splice(place, place, text) for place, text in typed]
    return apply(base, normalise(sorted(back, key=lambda splice: splice.start), base))


def without_come_back(lost: Sequence[Splice], came: Splices) -> list[Splice]:
    """What is lost, without what has ``came`` by itself since; both are of the same text.

    A page brings along what the server had not stored, the end of what its human had typed, with what was typed since.
    """
    left = []
    for hunk in lost:
        text = hunk.insert
        for other in came:
            ends = (k for k in range(len(other.insert), 0, -1) if text.endswith(other.insert[:k]))
            text = text[: len(text) - next(ends, 0)]
        left.append(Splice(hunk.start, hunk.stop, text))
    return left


def inserted(splices: Splices) -> Spans:
    """Where in the text behind these splices stands what they have put in."""
    spans, shift = [], 0
    for splice in splices:
        start = splice.start + shift
        spans.append((start, start + len(splice.insert)))
        shift += splice.growth
    return spans


def _within(spans: Spans, start: int, stop: int) -> Spans:
    """The parts of spans that lie between two places."""
    cut = [(max(a, start), min(b, stop)) for a, b in spans]
    return [(a, b) for a, b in cut if a < b]
