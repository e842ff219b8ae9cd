"""Agents of one name number themselves, whoever hears of whom first; the first one keeps its name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.config import Identity
from collab_agent.nameplate import Nameplate
from collab_agent.room.presence import global_state, room_state


def plate(name: str, since: float, username: str = "") -> Nameplate:
    made = Identity.named(name, username or f"collab-agent-{since}")
    return Nameplate(Identity(made.name, made.username, made.color, made.initials, since))


def test_the_later_one_takes_a_number_and_another_colour_in_both_rooms() -> None:
    first, second = plate("Goose", 1.0), plate("Goose", 2.0)
    heard: list[str] = []
    with second.read_by(lambda: heard.append(second.name)):
        first.meet([room_state(second.identity)])
        second.meet([global_state(first.identity, [], None)])
        second.meet([room_state(first.identity)])
    assert (first.name, second.name, heard) == ("Goose", "Goose 2", ["Goose 2"])
    assert first.identity.color != second.identity.color
    assert second.identity.username == "collab-agent-2.0"
    second.meet([])
    second.meet([room_state(plate("Goose 2", 3.0).identity)])
    assert (second.name, heard) == (
        "Goose 2",
        ["Goose 2"],
    )  # nobody takes a name back, nor gives way to who comes later


def test_who_came_at_the_same_time_goes_by_user_name_and_a_state_of_our_own_is_nobody() -> None:
    one, other = plate("Goose", 1.0, "a"), plate("Goose", 1.0, "b")
    one.meet([room_state(other.identity), room_state(one.identity)])
    other.meet([room_state(one.identity), room_state(other.identity)])
    assert (one.name, other.name) == ("Goose", "Goose 2")


def test_numbers_that_others_have_are_passed_over() -> None:
    last = plate("Goose", 9.0)
    last.meet([room_state(plate(name, 1.0, name).identity) for name in ("Goose", "Goose 2", "GOOSE  3", "Goose 5")])
    assert last.name == "Goose 4"


@pytest.mark.parametrize(
    ("name", "second"),
    [("Goose", "Goose 2"), ("Goose (read-only)", "Goose 2 (read-only)"), ("x" * 40, "x" * 38 + " 2"), ("🐢", "🐢 2")],
)
def test_the_number_stands_before_what_a_name_says_in_brackets(name: str, second: str) -> None:
    identity = Identity.named(name)
    assert identity.numbered(2).name == second
    assert len({identity.numbered(number).color for number in range(1, 8)}) == 7


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"collab_agent": True},
        {"user": {"name": "Goose", "username": "a"}},  # a human of that name
        {"user": {"name": 7}, "collab_agent": True},
        {"user": {"name": ["Goose"]}, "collab_agent": {"since": 0}},
        {"user": "Goose", "collab_agent": True},
        {"user": {"name": "Goose", "username": "z"}, "collab_agent": {"since": 6.0}},
    ],
)
def test_who_is_no_agent_of_that_name_or_came_later_changes_nothing(state: dict[str, Any]) -> None:
    goose = plate("Goose", 5.0)
    goose.meet([state])
    assert goose.name == "Goose"


@pytest.mark.parametrize("since", [True, None, {}, {"since": None}, {"since": "7"}, {"since": float("nan")}, 1])
def test_an_agent_that_does_not_say_since_when_it_is_there_goes_first(since: Any) -> None:
    goose = plate("Goose", 5.0)
    goose.meet([{"user": {"name": "Goose", "username": 3}, "collab_agent": since}])
    assert goose.name == ("Goose" if since in (None, {}) else "Goose 2")


@given(st.data())
def test_whatever_is_heard_in_which_order_all_names_differ_in_the_end(data: st.DataObject) -> None:
    since = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=7))
    plates = [plate("Goose", float(each), f"user{number}") for number, each in enumerate(since)]
    said = [[room_state(each.identity)] for each in plates]
    heard = [[0] * len(plates) for _ in plates]  # how much of what each said everybody has heard, in order
    while behind := [(i, j) for i, row in enumerate(heard) for j, count in enumerate(row) if count < len(said[j])]:
        i, j = data.draw(st.sampled_from(behind))
        heard[i][j] += 1
        before = plates[i].name
        plates[i].meet([said[k][count - 1] for k, count in enumerate(heard[i]) if count])
        if plates[i].name != before:
            said[i].append(room_state(plates[i].identity))
            assert len(said[i]) <= len(plates)
    assert len({each.name for each in plates}) == len(plates)
    first = min(range(len(plates)), key=lambda number: (since[number], f"user{number}"))
    assert plates[first].name == "Goose"
