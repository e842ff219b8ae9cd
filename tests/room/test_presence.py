"""Who is here: what is believed, what is published, and what the page gets to read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Awareness, Doc

from collab_agent.config import Identity
from collab_agent.errors import RemoteProtocolError
from collab_agent.room.positions import Position, Range
from collab_agent.room.presence import (
    EXPIRE_S,
    RENEW_S,
    Presence,
    PresenceChange,
    decode,
    encode,
    global_state,
    peer_view,
    room_state,
)

ME, ADA, BOB = 11, 22, 2**53 - 1
HERE: dict[str, Any] = {"user": {"name": "Ada"}}


def nowhere(_cursor: object) -> tuple[None, None, None]:
    return None, None, None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
states = st.none() | st.dictionaries(st.text(max_size=5), json_values, max_size=3)
entries = st.lists(st.tuples(st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1), states), max_size=4)


@given(entries)
def test_what_is_encoded_is_decoded(made: list[tuple[int, int, Any]]) -> None:
    assert decode(encode(made)) == made


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), states.filter(lambda s: s != {})), max_size=12))
def test_we_see_whom_pycrdt_sees(made: list[tuple[int, int, Any]]) -> None:
    ours, theirs = Presence(ME), Awareness(Doc(client_id=12))
    for entry in made:
        ours.apply(encode([entry]), 0)
        theirs.apply_awareness_update(encode([entry]), "remote")
    assert ours.others == {client: state for client, state in theirs.states.items() if client != 12}


@given(entries, st.data())
def test_a_broken_update_is_the_other_sides_fault(made: list[tuple[int, int, Any]], data: st.DataObject) -> None:
    whole = encode(made)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    presence = Presence(ME)
    with pytest.raises(RemoteProtocolError):
        presence.apply(cut, 0)


@pytest.mark.parametrize("text", [b"", b"nul", b"\xff", b"[" * 100_000, b"1" * 5_000])
def test_a_state_that_is_no_json_is_the_other_sides_fault(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(b"\1\5\1" + encode_length(len(text)) + text)


def encode_length(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def test_people_come_change_and_go() -> None:
    presence = Presence(ME)
    assert presence.apply(encode([(ADA, 1, HERE), (BOB, 5, HERE)]), 0).added == {ADA, BOB}
    assert presence.apply(encode([(ADA, 2, {**HERE, "cursors": []})]), 1).updated == {ADA}
    assert presence.apply(encode([(ADA, 3, {**HERE, "cursors": []})]), 2) == PresenceChange()
    assert presence.apply(encode([(ADA, 2, None)]), 3) == PresenceChange()  # late: of an older clock
    assert presence.apply(encode([(ADA, 3, None)]), 3).removed == {ADA}
    assert presence.apply(encode([(ADA, 3, None), (77, 1, None)]), 3) == PresenceChange()
    assert list(presence.others) == [BOB]
    assert presence.apply(encode([(ADA, 4, HERE)]), 4).added == {ADA}


def test_who_is_not_heard_of_for_30_s_is_gone_and_can_come_back() -> None:
    presence = Presence(ME)
    presence.apply(encode([(ADA, 1, HERE)]), 0)
    presence.apply(encode([(ADA, 2, HERE)]), 10)
    assert presence.expire(10 + EXPIRE_S - 0.1) == PresenceChange()
    assert presence.expire(10 + EXPIRE_S).removed == {ADA}
    assert presence.expire(10 + EXPIRE_S) == PresenceChange()
    assert presence.apply(encode([(ADA, 3, HERE)]), 50).added == {ADA}


def test_a_newcomer_makes_us_publish_again_but_only_if_we_are_here() -> None:
    presence = Presence(ME)
    assert not presence.apply(encode([(ADA, 1, HERE)]), 0).must_publish
    presence.publish(HERE, 0)
    assert presence.apply(encode([(BOB, 1, HERE)]), 1).must_publish
    assert not presence.apply(encode([(BOB, 2, {"user": {}})]), 1).must_publish


@pytest.mark.parametrize("clock", [1, 2, 900])
def test_who_evicts_us_is_contradicted_with_a_higher_clock(clock: int) -> None:
    presence = Presence(ME)
    presence.publish(HERE, 0)
    change = presence.apply(encode([(ME, clock, None)]), 1)
    assert change == PresenceChange(must_publish=True)
    ((client, ours, state),) = decode(presence.renew(1))
    assert (client, state) == (ME, HERE)
    assert ours > clock


def test_who_impersonates_us_is_not_believed() -> None:
    presence = Presence(ME)
    presence.publish(HERE, 0)
    assert presence.apply(encode([(ME, 7, {"user": {"name": "Mallory"}})]), 1).must_publish
    assert ME not in presence.others
    assert decode(presence.renew(1)) == [(ME, 8, HERE)]


def test_our_own_echo_changes_nothing() -> None:
    presence = Presence(ME)
    assert presence.apply(presence.publish(HERE, 0), 0) == PresenceChange()
    assert presence.apply(presence.publish(None, 0), 0) == PresenceChange()


def test_our_state_is_renewed_in_time_and_not_after_leaving() -> None:
    presence = Presence(ME)
    assert not presence.due(1000)
    presence.publish(HERE, 0)
    assert not presence.due(RENEW_S - 0.1)
    assert presence.due(RENEW_S)
    presence.renew(RENEW_S)
    assert not presence.due(2 * RENEW_S - 0.1)
    presence.publish(None, 20)
    assert not presence.due(1000)


def test_the_servers_own_empty_state_is_nobody() -> None:
    presence = Presence(ME)
    presence.publish(HERE, 0)
    assert presence.apply(encode([(ADA, 1, {})]), 0) == PresenceChange()
    assert presence.others == {}


def test_what_the_page_reads_of_us() -> None:
    at = Position((1, 2), (3, 4), 0)
    ranges = [Range("c", at, Position((1, 2), (3, 9), -1)), Range("c", at, at)]
    state = room_state(Identity.named("Goose"), ranges)
    assert set(state["user"]) == {"username", "name", "display_name", "initials", "color", "avatar_url"}
    assert state["autosave"] is False
    assert [(c["primary"], c["empty"]) for c in state["cursors"]] == [(False, False), (True, True)]
    for cursor in state["cursors"]:
        assert all(set(cursor[end]) == {"type", "tname", "item", "assoc"} for end in ("anchor", "head"))
    assert json.loads(json.dumps(state)) == state
    panel = global_state(Identity.named("Goose"), ["a.ipynb", "b.ipynb"], "b.ipynb")
    assert (panel["current"], panel["documents"]) == ("notebook:b.ipynb", ["a.ipynb", "b.ipynb"])
    assert "current" not in global_state(Identity.named("Goose"), [], None)


def test_an_agent_is_told_from_a_human() -> None:
    assert peer_view(1, room_state(Identity.named("Goose")), nowhere).is_agent
    assert not peer_view(1, HERE, nowhere).is_agent


def test_the_primary_cursor_is_the_one_that_counts() -> None:
    state = {"cursors": [{"primary": False, "head": 1}, {"primary": True, "head": 2}]}
    view = peer_view(1, state, lambda cursor: ("c", None, cursor["head"]))
    assert (view.cell_id, view.head) == ("c", 2)


@given(st.dictionaries(st.sampled_from(["user", "cursors", "collab_agent", "x"]), json_values | states, max_size=4))
def test_whatever_a_peer_says_of_itself_is_shown(state: dict[str, Any]) -> None:
    view = peer_view(1, state, nowhere)
    assert view.name
    view.name.encode()


def test_half_an_emoji_in_a_name_can_still_be_sent_on() -> None:
    (entry,) = decode(encode([(ADA, 1, {"user": {"name": "\ud83d"}})]))
    assert entry[2] is not None
    assert peer_view(ADA, entry[2], nowhere).name == '"\ufffd"'
