"""Names of people: whatever they hold, they look like nothing but a name, and honest ones are left alone."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.notebook.names import person
from collab_agent.notebook.plain import visible

HONEST = [
    "Ada",
    "Ada Lovelace",
    "Anonymous Metis",
    "Goose (read-only)",
    "Goose 2",
    "O'Brien",
    "Jean-Luc",
    "ada@example.org",
    "José Ñandú",
    "Ада Лавлейс",
    "Αδα",
    "漢字 Ada",
    "田中さん",
    "عائشة",
    "अदा",
    "Ada 🦆",
]


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_name_is_left_alone(name: str) -> None:
    assert person(name) == name
    assert person(person(name)) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ada; kernel died", '"Ada; kernel died"'),
        ('Ada" (agent) "', '"Ada\' (agent)"'),
        ("since your last call", '"since your last call"'),
        ("Ada (agent)", '"Ada (agent)"'),
        ("Ada (says it is an agent)", '"Ada (says it is an agent)"'),
        ("run r1", '"run r1"'),
        ("Ada\nBob", "Ada Bob"),
        ("A\u202ed\u200ba\U000e0041", "Ada"),
        ("\x1b[31mAda", "Ada"),
        ("\u0410da", "<U+0410>da"),
        ("G\u043e\u043ese", "G<U+043E><U+043E>se"),
        ("\U0001d400da", "<U+1D400>da"),
        ("\uff21da", "<U+FF21>da"),
        ("\u0410\u0441\u0435", "\u0410\u0441\u0435 (in Cyrillic letters)"),
        ("", "somebody without a name"),
        ("\u200b\u202e", "somebody without a name"),
        ('""', "somebody without a name"),
        ("\ud83d", '"\ufffd"'),
        ("x" * 200, "x" * 39 + "…"),
    ],
)
def test_a_name_that_would_be_more_is_shown_as_what_it_is(name: str, shown: str) -> None:
    assert person(name) == shown


@given(st.text(st.characters(), max_size=300))
def test_any_name_is_one_bounded_visible_line(name: str) -> None:
    shown = person(name)
    assert shown
    assert len(shown) <= 40 * 9 + 80
    assert "\n" not in shown
    assert visible(shown) == shown
    assert shown.count('"') in (0, 2)
    assert not shown.startswith(("since your last call", "changed on disk", "│"))
    letters = {unicodedata.name(c, "?").split()[0] for c in shown if c.isalpha()}
    assert "MATHEMATICAL" not in letters
