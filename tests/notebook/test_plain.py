"""Text made safe and short: cleaned, clipped, compared, and read out of HTML."""

from __future__ import annotations

import re

import pytest

from collab_agent.notebook.render import clean, clip, diff
from collab_agent.notebook.richtext import html_to_text


def test_a_diff_shows_the_changed_lines_with_their_neighbours_and_numbers() -> None:
    before, after = "a\nb\nc\nd\ne\nf\ng", "a\nb\nC\nd\ne\nf\ng\nh"
    assert diff(before, after).split("\n") == ["…", " 2│b", "-3│c", "+3│C", " 4│d", "…", " 7│g", "+8│h"]
    assert diff("a", "a") == "(no change)"
    assert diff("", "x").split("\n") == ["-1│", "+1│x"]
    assert diff("a", "a\u200b").split("\n") == ["-1│a", "+1│a<U+200B>"]


def test_a_long_diff_is_cut_and_names_the_call_that_shows_the_text() -> None:
    text = diff("\n".join("ab" * 3_000), "\n".join("ba" * 3_000), limit=500, rest="CALL")
    assert len(text) <= 500
    assert "lines left out; CALL …" in text


def test_clip_keeps_head_and_tail_at_line_ends() -> None:
    text = "\n".join(f"line {n}" for n in range(1_000))
    short = clip(text, 300, "ask for more")
    assert len(short) <= 300
    head, marker, tail = re.split(r"(… .* …)\n", short)
    assert text.startswith(head)
    assert text.endswith(tail)
    assert re.fullmatch(r"… \d+ lines left out; ask for more …", marker)
    assert clip("short", 300, "ask for more") == "short"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07", "link"),
        ("\x1b]0;never ended", "0;never ended"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("loading\rdone", "doneing"),
        ("loading\r\x1b[Kdone", "done"),
        ("loading\r", "loading"),
        ("ab\b\bxy", "xy"),
        ("a\u202eb\u2066c\u200bd\ufeffe\x00f\x07g", "abcdefg"),
        ("👩\u200d🔬 ❤\ufe0f 1\ufe0f⃣", "👩\u200d🔬 ❤\ufe0f 1\ufe0f⃣"),
        ("a\u200db\ufe0fc", "abc"),
        ("hi\U000e0068\U000e0069", "hi"),
        ("\ud800", "\ufffd"),
        ("tab\tand é 日本", "tab\tand é 日本"),
    ],
)
def test_clean_leaves_what_a_human_would_see(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_html_comes_as_lines_without_scripts_comments_and_tags() -> None:
    html = "<!DOCTYPE html><style>p {}</style><p>a &lt; b<!-- not this --></p><ul><li>one<li>two</ul>"
    html += "<script>if (a<b) {}</script>x"
    assert html_to_text(html) == "a < b\n- one\n- two\nx"


def test_spanned_cells_of_a_table_keep_the_columns_in_line() -> None:
    html = (
        "<table><tr><th></th><th colspan=2>mass</th></tr><tr><td rowspan='2'>a</td><td>1</td><td>20</td></tr>"
        "<tr><td>300</td><td>4</td></tr></table>"
    )
    assert html_to_text(html) == "   mass\na     1  20\n    300   4"


@pytest.mark.parametrize(
    "part", ["<a ", "<!--", "<a b='", "</", "<![CDATA[", "&#9", "<table>", "<td rowspan=50 colspan=50>"]
)
def test_hostile_html_takes_time_in_proportion_to_its_length(part: str) -> None:
    html_to_text(part * (500_000 // len(part)))
