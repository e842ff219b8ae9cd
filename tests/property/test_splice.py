"""Splices of any texts: the diff leads there, a rebase is a CRDT merge, and what a human typed survives it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise, product

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from pycrdt import Doc, Text

from collab_agent.notebook.splice import (
    Splice,
    Splices,
    Touching,
    apply,
    byte_offset,
    compose,
    diff,
    inverse,
    map_point,
    normalise,
    rebase,
    utf16_length,
)

PIECES = [
    "a",
    "b",
    " ",
    "  ",
    "\n",
    "(",
    "x = 1\n",
    "é",
    "e\u0301",
    "字",
    "한",
    "🐢",
    "👩‍👩‍👧",
    "\u200d",
    "🇵🇱",
    "\u2028",
    "\t",
]
OURS, THEIRS = ["A", "Bc", "\n# ", "語", "🦊", "e\u0300"], ["Ż", "Żż", "\r", "Ж", "🐻", "👨🏽‍🚀"]
"""What a side of ours or of theirs types: none of it occurs in the text or on the other side."""


def texts_of(pieces: list[str], max_size: int = 30) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), max_size=max_size).map("".join)


texts = texts_of(PIECES)


@st.composite
def splices_of(draw: st.DrawFn, text: str, pieces: list[str]) -> Splices:
    """Splices of ``text`` as this module promises them."""
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = zip(cuts[::2], cuts[1::2] + cuts[-1:], strict=False)
    return normalise([Splice(start, stop, draw(texts_of(pieces, 3))) for start, stop in spans], text)


@st.composite
def forks(draw: st.DrawFn) -> tuple[str, Splices, Splices]:
    """A text and two changes of it, which touch or not."""
    text = draw(texts)
    if draw(st.booleans()):
        return text, draw(splices_of(text, OURS)), draw(splices_of(text, THEIRS))
    both = draw(splices_of(text, OURS))
    ours = tuple(splice for splice in both if draw(st.booleans()))
    theirs = [replace(splice, insert=draw(texts_of(THEIRS, 3))) for splice in both if splice not in ours]
    return text, ours, normalise(theirs, text)


@st.composite
def changes(draw: st.DrawFn, pieces: list[str] = PIECES) -> tuple[str, Splices]:
    text = draw(texts)
    return text, draw(splices_of(text, pieces))


def assert_promised_form(splices: Splices, text: str) -> None:
    for splice in splices:
        old = text[splice.start : splice.stop]
        assert 0 <= splice.start <= splice.stop <= len(text)
        assert old or splice.insert
        if old and splice.insert:
            assert old[0] != splice.insert[0]
            assert old[-1] != splice.insert[-1]
    assert all(left.stop < right.start for left, right in pairwise(splices))


def touching(ours: Splices, theirs: Splices) -> bool:
    return any(a.start <= b.stop and b.start <= a.stop for a, b in product(ours, theirs))


def edited(doc: Doc[Text], splices: Splices) -> None:
    """Do the splices in a shared text, in the units that pycrdt counts in."""
    text = doc.get("t", type=Text)
    before = str(text)
    with doc.transaction():
        for splice in reversed(splices):
            start, stop = byte_offset(before, splice.start), byte_offset(before, splice.stop)
            if stop > start:
                del text[start:stop]
            text.insert(start, splice.insert)


def fork_and_merge(base: str, ours: Splices, theirs: Splices) -> str:
    """What two peers have who make one change each at the same time, and then hear of the other's."""
    origin: Doc[Text] = Doc()
    origin["t"] = Text(base)
    peers: list[Doc[Text]] = [Doc(), Doc()]
    for peer, splices in zip(peers, (ours, theirs), strict=True):
        peer.apply_update(origin.get_update())
        edited(peer, splices)
    updates = [peer.get_update() for peer in peers]
    for peer, update in zip(peers, reversed(updates), strict=True):
        peer.apply_update(update)
    merged = {str(peer.get("t", type=Text)) for peer in peers}
    assert len(merged) == 1
    return merged.pop()


@given(texts, texts)
def test_a_diff_leads_from_one_text_to_the_other(before: str, after: str) -> None:
    splices = diff(before, after)
    assert apply(before, splices) == after
    assert_promised_form(splices, before)


@given(st.text(), st.text())
def test_a_diff_of_any_unicode_leads_there(before: str, after: str) -> None:
    assert apply(before, diff(before, after)) == after


@given(st.integers(0, 40), st.data())
def test_a_diff_changes_nothing_outside_of_what_was_changed(length: int, data: st.DataObject) -> None:
    text = "".join(chr(0x4E00 + i) for i in range(length))  # no character twice, so that there is one answer only
    splices = data.draw(splices_of(text, OURS))
    for found in diff(text, apply(text, splices)):
        assert any(splice.start <= found.start <= found.stop <= splice.stop for splice in splices)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), texts_of(PIECES, 3))))
def test_normalise_keeps_the_change_and_gives_the_promised_form(parts: list[tuple[int, int, str]]) -> None:
    text = "".join(PIECES) * 2
    at, raw = 0, []
    for gap, length, insert in parts:
        start = min(at + gap, len(text))
        at = min(start + length, len(text))
        raw.append(Splice(start, at, insert))
    splices = normalise(raw, text)
    assert apply(text, splices) == apply(text, raw)
    assert_promised_form(splices, text)
    assert normalise(splices, text) == splices


@given(forks())
def test_a_rebase_is_what_two_docs_merge_to_and_refuses_only_what_touches(fork: tuple[str, Splices, Splices]) -> None:
    base, ours, theirs = fork
    if touching(ours, theirs):
        event("touching")
        with pytest.raises(Touching) as refused:
            rebase(ours, theirs)
        assert touching((refused.value.ours,), (refused.value.theirs,))
        return
    event("apart" if ours and theirs else "only one side")
    moved = rebase(ours, theirs)
    now = apply(base, theirs)
    merged = apply(now, moved)
    assert merged == fork_and_merge(base, ours, theirs)
    assert merged == apply(apply(base, ours), rebase(theirs, ours))
    assert_promised_form(moved, now)


@given(texts, texts, texts)
def test_a_rebase_of_two_diffs_is_what_two_docs_merge_to(base: str, wanted: str, now: str) -> None:
    ours, theirs = diff(base, wanted), diff(base, now)
    with suppress(Touching):
        assert apply(now, rebase(ours, theirs)) == fork_and_merge(base, ours, theirs)


@given(forks())
def test_what_the_human_typed_survives(fork: tuple[str, Splices, Splices]) -> None:
    base, ours, theirs = fork
    wanted, now = apply(base, ours), apply(base, theirs)
    try:
        merged = apply(now, rebase(diff(base, wanted), diff(base, now)))
    except Touching:
        return
    for typed, text in (("".join(THEIRS), now), ("".join(OURS), wanted)):
        only = set(typed) - set("".join(PIECES))
        assert [c for c in merged if c in only] == [c for c in text if c in only]


@given(changes())
def test_the_inverse_leads_back(change: tuple[str, Splices]) -> None:
    text, splices = change
    after = apply(text, splices)
    back = inverse(text, splices)
    assert apply(after, back) == text
    assert_promised_form(back, after)
    assert inverse(after, back) == splices


@given(changes(OURS), st.data())
def test_a_composition_is_one_change_that_equals_both(change: tuple[str, Splices], data: st.DataObject) -> None:
    text, first = change
    between = apply(text, first)
    second = data.draw(splices_of(between, THEIRS))
    both = compose(text, first, second)
    assert apply(text, both) == apply(between, second)
    assert_promised_form(both, text)


@given(changes(), st.data())
def test_a_point_moves_as_an_insertion_there_would(change: tuple[str, Splices], data: st.DataObject) -> None:
    text, theirs = change
    point = data.draw(st.integers(0, len(text)))
    mark = (Splice(point, point, "|"),)
    if touching(mark, theirs):
        assert map_point(point, theirs) is None
    else:
        assert map_point(point, theirs) == rebase(mark, theirs)[0].start


@given(st.text())
def test_offsets_are_those_of_the_encodings(text: str) -> None:
    assert [byte_offset(text, i) for i in range(len(text) + 1)] == [
        len(text[:i].encode()) for i in range(len(text) + 1)
    ]
    assert utf16_length(text) == sum(2 if ord(char) > 0xFFFF else 1 for char in text)
