"""Who we are: badge, colour and names; and what a repr must not show."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.config import Identity, Limits, Server, Settings, color_of, initials_of

NAMES = ["Goose", "Cursor", "Claude Code", "Zażółć", "山田", "🐢", *(f"Agent {number}" for number in range(500))]


@pytest.mark.parametrize(
    ("name", "initials"),
    [
        ("Goose", "G"),
        ("goose", "G"),
        ("Claude Code", "CC"),
        ("claude-code", "CC"),
        ("data_science agent", "DA"),
        ("A B C", "AC"),
        ("山田 太郎", "山太"),
        ("🐢 Turtle", "T"),
        ("(beta) Goose", "G"),
        ("🐢", "A"),
        ("", "A"),
    ],
)
def test_initials_are_those_of_the_first_and_the_last_word(name: str, initials: str) -> None:
    assert initials_of(name) == initials


def test_a_colour_follows_from_the_name_alone() -> None:
    """The literal guards against a change of algorithm: an agent would change its colour with an update."""
    assert color_of("Goose") == color_of("Goose") == "var(--jp-collaborator-color7)"
    assert {color_of(name) for name in NAMES} == {f"var(--jp-collaborator-color{n})" for n in range(1, 8)}


def test_badge_and_caret_are_shades_of_the_colour() -> None:
    """That they can be read in both themes is judged by a real page: ``tests/browser/test_presence.py``."""
    identity = Identity.named("Goose")
    assert identity.color in identity.badge_color
    assert identity.color in identity.caret_color


@given(st.text(max_size=60))
def test_any_name_gives_an_identity_that_a_page_can_show(name: str) -> None:
    identity = Identity.named(name)
    assert identity == Identity.named(name)
    assert 0 < len(identity.name) <= 40
    assert identity.name == " ".join(identity.name.split()), "no line breaks in the panel"
    assert re.fullmatch(r"collab-agent-[a-z0-9-]+", identity.username)
    assert re.fullmatch(r"var\(--jp-collaborator-color[1-7]\)", identity.color)
    assert identity.initials == initials_of(identity.name) != ""


def test_a_username_can_be_told_apart_from_the_name() -> None:
    identity = Identity.named("Claude Code", "collab-agent-7")
    assert (identity.name, identity.username, identity.initials) == ("Claude Code", "collab-agent-7", "CC")
    assert Identity.named("Claude Code").username == "collab-agent-claude-code"


def test_no_repr_shows_the_token() -> None:
    server = Server("http://localhost:8888/", "s3cret-token", "/home/me")
    assert server.token == "s3cret-token"
    for shown in (repr(server), str(server), f"{server}", repr(Settings(server=server))):
        assert "http://localhost:8888/" in shown
        assert "s3cret" not in shown


def test_settings_are_frozen() -> None:
    for value, field in ((Settings(), "name"), (Limits(), "result_chars"), (Server("u", "t"), "token")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field, None)
