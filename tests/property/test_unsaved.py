"""Three texts of a cell, on disk before, in the room, on disk now: what was not saved is put back, and no more."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from collab_agent.notebook.splice import Splice, apply, normalise
from collab_agent.notebook.unsaved import with_unsaved

LINES = st.lists(st.sampled_from(["a = 1", "b = 2", "", "print(x)", "漢 😀"]), max_size=5).map("\n".join)
CUTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.3)), max_size=3)


def changed(text: str, cuts: list[tuple[float, float]], first: int, inserts: bool = True) -> str:
    """A text in which places are replaced by characters that come nowhere else."""
    splices, at = [], 0
    for number, (where, share) in enumerate(sorted(cuts)):
        start = max(at, round(where * len(text)))
        at = min(len(text), start + round(share * len(text)))
        splices.append(Splice(start, at, chr(first + number) if inserts else ""))
    return apply(text, normalise(splices, text))


@settings(max_examples=300, deadline=None)
@given(LINES, CUTS, CUTS)
def test_all_that_was_typed_comes_back_and_all_that_was_written_stays(
    held: str, typed: list[tuple[float, float]], written: list[tuple[float, float]]
) -> None:
    room, now = changed(held, typed, 0xAC00), changed(held, written, 0xA000)
    both = with_unsaved(held, room, now)
    assert [c for c in both if 0xAC00 <= ord(c) < 0xB000] == [c for c in room if 0xAC00 <= ord(c) < 0xB000]
    assert [c for c in both if 0xA000 <= ord(c) < 0xAC00] == [c for c in now if 0xA000 <= ord(c) < 0xAC00]


@settings(max_examples=300, deadline=None)
@given(LINES, CUTS)
def test_nothing_was_typed_or_nothing_written(held: str, cuts: list[tuple[float, float]]) -> None:
    other = changed(held, cuts, 0xA000)
    assert with_unsaved(held, held, other) == other
    assert with_unsaved(held, other, held) == other


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=8))
def test_lines_that_the_writer_took_out_stay_out(flags: list[tuple[bool, bool]]) -> None:
    """Each line of the file may get one typed below it, and may be taken out."""
    lines = [("abcdefgh"[n] * 3, typed, out) for n, (typed, out) in enumerate(flags)]
    held = [line for line, _, _ in lines]
    room = [each for n, (line, typed, _) in enumerate(lines) for each in (line, *([f"typed {n}"] if typed else []))]
    now = [line for line, _, out in lines if not out]
    both = with_unsaved(text(held), text(room), text(now)).splitlines()
    assert [line for line in both if line.startswith("typed")] == [line for line in room if line.startswith("typed")]
    assert [line for line in both if not line.startswith("typed")] == now


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
