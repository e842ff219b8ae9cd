"""Real Yjs finds every place that we publish, and we find every place that Yjs publishes."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab_agent.config import Identity
from collab_agent.notebook.splice import Splice, Splices, diff, utf16_length
from collab_agent.notebook.steps import DeleteCell, InsertCell, SpliceSource
from collab_agent.room.codec import state_vector
from collab_agent.room.positions import Range, at_character, character_of, end_of, start_of, text_id, written_since
from collab_agent.room.presence import decode, encode, room_state
from collab_agent.room.replica import Replica
from tests import npm

YJS = Path(__file__).parents[1] / "yjs"
ANSWER_S = 60
MINE, OTHER = "cell-of-the-test", "another-cell"
KEYS = {"type", "tname", "item", "assoc"}

PIECES = ["a", "bc", " ", "\n", "x = 1\n", "é", "e\u0301", "字", "한글", "🐢", "👩‍👩‍👧", "🇵🇱"]
texts = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)
rounds = st.lists(texts, max_size=4)


class Yjs:
    """The subprocess that holds real Yjs; see ``tests/yjs/resolve.mjs`` for what can be asked."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watchdog = Timer(ANSWER_S, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, f"node ended, or gave no answer within {ANSWER_S} s; its standard error says why"
        answer: dict[str, Any] = json.loads(line)
        return answer


@pytest.fixture(scope="module")
def yjs() -> Iterator[Yjs]:
    node = npm.install(YJS)
    with subprocess.Popen(
        [node, "resolve.mjs"], cwd=YJS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        yield Yjs(process)


class Shared:
    """A notebook of two cells that we and a human on real Yjs edit in turn, so that its text is many items."""

    def __init__(self, yjs: Yjs, source: str) -> None:
        self.yjs = yjs
        self.server, self.us = Replica(), Replica()
        self.server.write([InsertCell(MINE, 0, "code", source), InsertCell(OTHER, 1, "markdown", "elsewhere 🐢")])
        self.us.apply(self.server.update_since(b"\0"))
        self.yjs.ask(reset=True, update=_base64(self.us.update_since(b"\0")))

    @property
    def source(self) -> str:
        cell = self.us.cell(MINE)
        assert cell is not None
        return cell.source

    def human_writes(self, wanted: str) -> None:
        """The human changes the text in real Yjs, and we hear of it."""
        before = self.source
        edits = [
            [utf16_length(before[: s.start]), utf16_length(before[s.start : s.stop]), s.insert]
            for s in reversed(diff(before, wanted))
        ]
        answer = self.ask(edits=edits)
        assert answer["content"] == wanted
        self.us.apply(b64decode(answer["update"]))
        assert self.source == wanted

    def we_write(self, wanted: str) -> tuple[Splices, tuple[Range, ...]]:
        """We change the text, and real Yjs hears of it."""
        splices = diff(self.source, wanted)
        written = self.us.write([SpliceSource(MINE, splices)])
        assert self.source == wanted
        if written.update is not None:
            assert self.ask(update=_base64(written.update))["content"] == wanted
        return splices, written.inserted

    def written_in_turn(self, sources: Sequence[str]) -> None:
        for turn, wanted in enumerate(sources):
            if turn % 2:
                self.we_write(wanted)
            else:
                self.human_writes(wanted)

    def ask(self, **request: Any) -> dict[str, Any]:
        index = next(i for i, cell in enumerate(self.us.view.cells) if cell.id == MINE)
        return self.yjs.ask(text=["cells", index, "source"], **request)

    def resolved(self, ranges: Sequence[Range]) -> list[tuple[int, int]]:
        """The ends of ranges in this text as real Yjs finds them, in characters."""
        cursors = [each.to_json(primary=False) for each in ranges]
        positions = [cursor[end] for cursor in cursors for end in ("anchor", "head")]
        assert all(position.keys() == KEYS for position in positions)
        answer = self.ask(positions=positions)
        assert None not in answer["indices"], "Yjs finds no place in this text"
        found = [_characters(answer["content"], index) for index in answer["indices"]]
        return list(zip(found[::2], found[1::2], strict=True))


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _characters(text: str, units: int) -> int:
    return len(text.encode("utf-16-le")[: 2 * units].decode("utf-16-le"))  # raises between surrogates


def _after(splices: Splices) -> Iterator[tuple[Splice, int]]:
    """Splices, each with the place where it starts in the text afterwards."""
    shift = 0
    for splice in splices:
        yield splice, splice.start + shift
        shift += splice.growth


@given(texts, rounds, texts)
@settings(deadline=None)
def test_what_was_inserted_is_selected_exactly(yjs: Yjs, first: str, between: list[str], wanted: str) -> None:
    shared = Shared(yjs, first)
    shared.written_in_turn(between)
    splices, ranges = shared.we_write(wanted)
    assert len(ranges) == len(splices)
    for (splice, start), each, (anchor, head) in zip(_after(splices), ranges, shared.resolved(ranges), strict=True):
        assert each.cell == MINE
        if splice.insert:
            assert (anchor, head) == (start, start + len(splice.insert))
        else:  # a caret where text was deleted, or at an end of the text rather than at a wrong place
            assert anchor == head
            assert head in (start, 0, len(wanted))


@given(texts, texts, st.data())
@settings(deadline=None)
def test_a_selection_stays_on_what_was_inserted_while_the_human_types(
    yjs: Yjs, first: str, wanted: str, data: st.DataObject
) -> None:
    shared = Shared(yjs, first)
    splices, ranges = shared.we_write(wanted)
    outside = [0, len(wanted)] + [start + len(splice.insert) for splice, start in _after(splices)]
    at = data.draw(st.sampled_from(sorted(set(outside))))
    shared.human_writes(wanted[:at] + "⌨" + wanted[at:])
    for (splice, _), (anchor, head) in zip(_after(splices), shared.resolved(ranges), strict=True):
        if splice.insert:
            assert shared.source[anchor:head] == splice.insert


@given(texts, texts)
@settings(deadline=None)
def test_a_new_cell_is_selected_from_its_start_to_its_end(yjs: Yjs, first: str, source: str) -> None:
    shared = Shared(yjs, first)
    written = shared.us.write([InsertCell("new", 1, "code", source), SpliceSource(MINE, (Splice(0, 0, "🦊"),))])
    assert written.update is not None
    new, edited = written.inserted
    assert (new.cell, edited.cell) == ("new", MINE)
    cursor = new.to_json(primary=True)
    assert {*cursor["anchor"]} == {*cursor["head"]} == KEYS
    answer = yjs.ask(
        update=_base64(written.update), text=["cells", 1, "source"], positions=[cursor["anchor"], cursor["head"]]
    )
    assert (answer["content"], answer["indices"]) == (source, [0, utf16_length(source)])
    assert shared.resolved([edited]) == [(0, 1)]


@given(texts, rounds, st.data())
@settings(deadline=None)
def test_a_caret_is_published_where_it_is_or_at_an_end(
    yjs: Yjs, first: str, between: list[str], data: st.DataObject
) -> None:
    shared = Shared(yjs, first)
    shared.written_in_turn(between)
    source = shared.source
    index = data.draw(st.integers(0, len(source)))
    text = shared.us.source_of(MINE)
    places = [at_character(text, index), start_of(text), end_of(text)]
    (caret, _), (start, _), (end, _) = shared.resolved([Range(MINE, place, place) for place in places])
    assert (start, end) == (0, len(source))
    assert caret in (index, 0, len(source))
    if source.isascii():
        assert caret == index


@given(texts, rounds, st.data())
@settings(deadline=None)
def test_places_that_yjs_publishes_are_found(yjs: Yjs, first: str, between: list[str], data: st.DataObject) -> None:
    shared = Shared(yjs, first)
    shared.written_in_turn(between)
    source = shared.source
    places = data.draw(st.lists(st.tuples(st.integers(0, len(source)), st.sampled_from([0, -1])), min_size=1))
    created = shared.ask(create=[[utf16_length(source[:index]), assoc] for index, assoc in places])["created"]
    text = shared.us.source_of(MINE)
    assert [character_of(text, position) for position in created] == [index for index, _ in places]
    for position in created:
        assert (position["type"]["client"], position["type"]["clock"]) == text_id(text)
        assert shared.us.cell_of_text(*text_id(text)) == MINE


@given(texts, texts, texts, st.data())
@settings(deadline=None)
def test_places_that_yjs_published_before_an_edit_are_found_after_it(
    yjs: Yjs, first: str, second: str, third: str, data: st.DataObject
) -> None:
    """Their items may be deleted by now: Yjs itself says where they are."""
    shared = Shared(yjs, first)
    shared.human_writes(second)
    places = data.draw(st.lists(st.tuples(st.integers(0, len(second)), st.sampled_from([0, -1])), min_size=1))
    created = shared.ask(create=[[utf16_length(second[:index]), assoc] for index, assoc in places])["created"]
    shared.we_write(third)
    indices = shared.ask(positions=created)["indices"]
    text = shared.us.source_of(MINE)
    assert [character_of(text, position) for position in created] == [_characters(third, index) for index in indices]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["client", "clock"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(texts, json_values | st.fixed_dictionaries({}, optional=dict.fromkeys(sorted(KEYS), json_values)))
@settings(deadline=None)
def test_whatever_a_peer_publishes_is_a_place_or_none(source: str, position: Any) -> None:
    replica = Replica()
    replica.write([InsertCell(MINE, 0, "code", source)])
    found = character_of(replica.source_of(MINE), position)
    assert found is None or 0 <= found <= len(source)


@given(texts, texts, st.text(max_size=10))
@settings(deadline=None)
def test_a_state_arrives_as_it_was_published(before: str, wanted: str, name: str) -> None:
    replica = Replica()
    replica.write([InsertCell(MINE, 0, "code", before)])
    ranges = replica.write([SpliceSource(MINE, diff(before, wanted))]).inserted
    state = room_state(Identity.named(name), ranges)
    update = encode([(replica.client_id, 7, state), (1, 2, None)])
    assert decode(update) == [(replica.client_id, 7, json.loads(json.dumps(state))), (1, 2, None)]
    assert [cursor["primary"] for cursor in state["cursors"]] == [False] * (len(ranges) - 1) + [True] * bool(ranges)
    assert all(cursor[end].keys() == KEYS for cursor in state["cursors"] for end in ("anchor", "head"))


def test_looking_for_a_place_asks_for_nothing_that_is_gone_or_has_not_come(capfd: pytest.CaptureFixture[str]) -> None:
    # pycrdt panics then; that can be caught, but it writes to stderr and takes its time.
    replica = Replica()
    replica.write([InsertCell(MINE, 0, "code", ""), InsertCell(OTHER, 1, "code", "gone 字")])
    written = replica.write([SpliceSource(MINE, diff("", "é here"))])
    replica.write([DeleteCell(OTHER)])
    text, first = replica.source_of(MINE), written.inserted[0].anchor.item
    assert first is not None
    client, clock = first

    def found(client: int, clock: int) -> int | None:
        return character_of(text, {"item": {"client": client, "clock": clock}, "assoc": 0})

    assert [found(client, clock + n) for n in range(6)] == list(range(6))
    assert [found(client, 99_999), found(client + 1, 0), found(client, -1)] == [None, None, None]
    assert capfd.readouterr().err == ""


def test_a_clock_that_only_an_index_in_bytes_leads_to_is_not_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    # Between the two blocks of this text its writer made as much elsewhere as the first has bytes beyond its units.
    replica = Replica()
    replica.write([InsertCell(MINE, 0, "code", ""), InsertCell(OTHER, 1, "code", "")])
    replica.write([SpliceSource(MINE, diff("", "ééé"))])
    replica.write([SpliceSource(OTHER, diff("", "xy"))])
    replica.write([DeleteCell(OTHER)])
    item = replica.write([SpliceSource(MINE, diff("ééé", "éééé"))]).inserted[0].anchor.item
    assert item is not None
    text = replica.source_of(MINE)
    assert character_of(text, {"item": {"client": item[0], "clock": item[1]}, "assoc": 0}) == 3
    assert capfd.readouterr().err == ""


ascii_rounds = st.lists(
    st.lists(st.sampled_from(["a", "bc", " ", "\n", "x = 1\n"]), max_size=20).map("".join), max_size=4
)


@given(st.lists(ascii_rounds, min_size=2, max_size=4))
@settings(deadline=None)
def test_a_character_is_found_in_its_own_text_and_no_other(histories: list[list[str]]) -> None:
    """Where a position names no text, as those of some agents; the texts are of one author, like a file's.

    In ASCII, where bytes and clocks count alike; behind other text ``at_character`` itself can be mistaken.
    """
    replica = Replica()
    for number, sources in enumerate(histories):
        replica.write([InsertCell(f"cell {number}", number, "code", "".join(sources[:1]))])
    for turn in range(1, max(map(len, histories))):
        for number, sources in enumerate(histories):
            if turn < len(sources):
                cell = replica.cell(f"cell {number}")
                assert cell is not None
                replica.write([SpliceSource(cell.id, diff(cell.source, sources[turn]))])
    for cell in replica.view.cells:
        text = replica.source_of(cell.id)
        for index in range(len(cell.source)):
            position = at_character(text, index).to_json() | {"type": None}
            if position["item"] is not None:
                assert replica.cell_of_position(position) == cell.id


@given(texts, st.lists(st.tuples(st.integers(0, 30), texts), max_size=4))
@settings(deadline=None)
def test_what_was_written_since_a_moment_is_told_by_its_writer(before: str, typed: list[tuple[int, str]]) -> None:
    """Also behind non-ASCII text, where pycrdt's own sticky indices are wrong; a stranger's text is none of it."""
    page, stranger = Replica(), Replica()
    page.write([InsertCell(MINE, 0, "code", before)])
    known = state_vector(page.state_vector())
    marked = [""] * len(before)
    for place, text in typed:
        at = min(place, len(marked))
        page.write([SpliceSource(MINE, (Splice(at, at, text),))])
        marked[at:at] = list(text)
    stranger.apply(page.update_since(b"\0"))
    stranger.write([SpliceSource(MINE, (Splice(0, 0, "stranger"),))])
    spans = written_since(stranger.source_of(MINE), known)
    found = {place - len("stranger") for start, stop in spans for place in range(start, stop)}
    assert found == {place for place, mark in enumerate(marked) if mark}
