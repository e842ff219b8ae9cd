"""Who we are: badge, colour and names; and what a repr must not show."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.config import Identity, Limits, Server, Settings, color_of, contrast_with_white, initials_of

NAMES = ["Goose", "Cursor", "Claude Code", "Zażółć", "山田", "🐢", *(f"Agent {number}" for number in range(500))]


def contrast_on_screen(color: str) -> float:
    """WCAG 2's contrast with white of the 8-bit colour that a browser draws, by the formula of the standard."""
    red, green, blue = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    weights = ((0.2126, red), (0.7152, green), (0.0722, blue))
    return 1.05 / (
        0.05 + sum(weight * (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4) for weight, c in weights)
    )


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


def test_white_initials_can_be_read_on_every_colour() -> None:
    assert {name for name in NAMES if contrast_on_screen(color_of(name)) < 4.5} == set()


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast_with_white((0, 0, 0)) == pytest.approx(21)
    assert contrast_with_white((1, 1, 1)) == pytest.approx(1)
    assert contrast_with_white((0x76 / 255,) * 3) == pytest.approx(4.54, abs=0.005)  # the lightest grey that passes


def test_a_colour_follows_from_the_name_alone() -> None:
    """The literal guards against a change of algorithm: an agent would change its colour with an update."""
    assert color_of("Goose") == color_of("Goose") == "#bd286b"
    assert len({color_of(name) for name in NAMES}) > 100


@given(st.text(max_size=60))
def test_any_name_gives_an_identity_that_a_page_can_show(name: str) -> None:
    identity = Identity.named(name)
    assert identity == Identity.named(name)
    assert 0 < len(identity.name) <= 40
    assert identity.name == " ".join(identity.name.split()), "no line breaks in the panel"
    assert re.fullmatch(r"collab-agent-[a-z0-9-]+", identity.username)
    assert re.fullmatch(r"#[0-9a-f]{6}", identity.color)
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
