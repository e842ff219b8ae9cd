"""Splices, case by case: what counts as touching, and how fine a diff is."""

import pytest

from collab_agent.notebook.splice import (
    Splice,
    Touching,
    apply,
    byte_offset,
    compose,
    diff,
    map_point,
    rebase,
    utf16_length,
)

SEEN = "import pandas as pd\ndf = pd.read_csv('a.csv')\ndf.head()\n"


def merged(seen: str, wanted: str, now: str) -> str:
    return apply(now, rebase(diff(seen, wanted), diff(seen, now)))


def test_equal_texts_differ_in_nothing() -> None:
    assert diff(SEEN, SEEN) == ()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "new", [Splice(0, 0, "new")]),
        ("old", "", [Splice(0, 3, "")]),
        ("ab", "aab", [Splice(1, 1, "a")]),
        ("one\ntwo\nthree\n", "one\nthree\n", [Splice(4, 8, "")]),
        ("print(b)\n", "print(a)\nprint(b)\n", [Splice(0, 0, "print(a)\n")]),  # no caret in the line is parted from it
        ("total = 1\n", "total = 2\n", [Splice(8, 9, "2")]),
        ("f(x)\ng(y)\n", "F(x)\ng(Y)\n", [Splice(0, 1, "F"), Splice(7, 8, "Y")]),
        ("🐢🐢", "🐢🦊🐢", [Splice(1, 1, "🦊")]),
    ],
)
def test_a_diff_names_no_more_than_what_changed(before: str, after: str, expected: list[Splice]) -> None:
    assert list(diff(before, after)) == expected


def test_lines_are_matched_before_words() -> None:
    before = "a = 1\nb = 2\nc = 3\n"
    assert diff(before, "a = 1\nx = 9\nb = 2\nc = 4\n") == (Splice(6, 6, "x = 9\n"), Splice(16, 17, "4"))


def test_changes_to_two_words_of_one_line_merge() -> None:
    assert merged("plot(x, color='red')", "plot(x, color='blue')", "plot(y, color='red')") == "plot(y, color='blue')"


def test_an_import_above_and_a_comment_below_merge() -> None:
    now = SEEN + "# typed by the human 🐢\n"
    assert merged(SEEN, "import numpy as np\n" + SEEN, now) == "import numpy as np\n" + now


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((Splice(2, 5, "x"),), (Splice(4, 7, "y"),)),  # overlap
        ((Splice(2, 4, "x"),), (Splice(4, 7, "y"),)),  # adjoin
        ((Splice(4, 7, "x"),), (Splice(2, 4, "y"),)),
        ((Splice(3, 3, "x"),), (Splice(3, 3, "y"),)),  # insert at the same point
        ((Splice(3, 3, "x"),), (Splice(3, 5, ""),)),  # insert at the edge of a deletion
        ((Splice(3, 3, "x"),), (Splice(1, 5, ""),)),  # insert into a deletion
        ((Splice(3, 5, ""),), (Splice(3, 5, ""),)),  # the same change twice
    ],
)
def test_what_touches_is_refused_and_named(ours: tuple[Splice], theirs: tuple[Splice]) -> None:
    with pytest.raises(Touching) as refused:
        rebase(ours, theirs)
    assert (refused.value.ours, refused.value.theirs) == (ours[0], theirs[0])


def test_one_character_between_is_enough() -> None:
    assert rebase((Splice(3, 5, "x"),), (Splice(1, 2, "yyy"),)) == (Splice(5, 7, "x"),)


def test_a_later_touch_is_found_behind_splices_that_are_apart() -> None:
    ours = (Splice(0, 1, "a"), Splice(10, 11, "b"))
    with pytest.raises(Touching) as refused:
        rebase(ours, (Splice(4, 5, ""), Splice(11, 12, "")))
    assert refused.value.ours == ours[1]


def test_a_composition_of_changes_that_are_apart_stays_as_fine_as_they_were() -> None:
    text = "one two three"
    first = (Splice(0, 3, "eleven"),)
    assert compose(text, first, (Splice(11, 16, "3"),)) == (Splice(0, 3, "eleven"), Splice(8, 13, "3"))


def test_a_composition_may_end_in_no_change() -> None:
    assert compose("ab", (Splice(1, 1, "x"),), (Splice(1, 2, ""),)) == ()


def test_a_point_moves_with_the_text_around_it() -> None:
    theirs = (Splice(0, 1, "abc"), Splice(6, 6, "x"))
    assert [map_point(point, theirs) for point in (0, 1, 2, 5, 6, 7)] == [None, None, 4, 7, None, 10]


def test_offsets_count_bytes_and_utf16_units() -> None:
    assert [byte_offset("aé字🐢", index) for index in range(5)] == [0, 1, 3, 6, 10]
    assert utf16_length("aé字🐢") == 5


def test_a_long_notebook_cell_is_compared_line_by_line() -> None:
    """20,000 lines: the number of comparisons must not be their square."""
    lines = [f"value_{number} = {number}\n" for number in range(20_000)]
    changed = [line if number % 7 else f"changed {number}\n" for number, line in enumerate(lines)]
    before, after = "".join(lines), "".join(changed)
    splices = diff(before, after)
    assert apply(before, splices) == after
    assert len(splices) >= len(lines) / 7


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x\n" + "\n" * 20_000 + "y\n", "X\n" + "\n" * 20_001 + "Y\n"),
        ("a," * 20_000, "b," * 20_001),
        ("a" * 1_000_000 + "x", "a" * 1_000_000 + "y"),
        ("".join("a," * 100 + f"{n}\n" for n in range(500)), "".join("b," * 100 + f"{n}\n" for n in range(500))),
    ],
    ids=["blank lines", "one line of commas", "one word", "many lines of commas"],
)
def test_repetitive_texts_are_compared_in_bounded_work(before: str, after: str) -> None:
    """Each of these takes SequenceMatcher alone minutes, or hours."""
    assert apply(before, diff(before, after)) == after


def test_a_sentence_without_spaces_is_not_one_word() -> None:
    assert merged("これは猫です。", "これは犬です。", "それは猫です。") == "それは犬です。"
