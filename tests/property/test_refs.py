"""What was shown keeps its meaning: under any later change every short id and number leads to its cell."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.errors import TargetError
from collab_agent.notebook.model import CellView, NotebookView, PeerView
from collab_agent.notebook.refs import resolve, resolve_many
from collab_agent.notebook.render import outline
from collab_agent.notebook.seen import Seen

FORMS = [
    "first",
    "last",
    "all",
    "#3",
    "[12]",
    "@human",
    "a:b",
    "",
    "~1",
    "aaaa~1",
    "aaaa",
    "1234",
    "12",
    "\ud800",
]
IDS = st.one_of(
    st.text("ab1-", max_size=6),
    st.text("ab", min_size=1, max_size=3).map(lambda tail: "shared-prefix-" + tail),
    st.text("ab", min_size=1, max_size=3).map(lambda tail: "x" * 70 + tail),
    st.integers(0, 99_999).map(str),
    st.sampled_from(FORMS),
    st.uuids().map(str),
)
PAGES = st.lists(IDS, unique=True, min_size=1, max_size=12)
PEERS = [PeerView(1, "Ann", cell_id="aaaa"), PeerView(2, "human", cell_id="1234")]
ROW = re.compile(r"#(\d+) (\S+) (?:code|markdown|raw) \[(?:\d+|\*| )\] ")


def page(ids: list[str]) -> NotebookView:
    return NotebookView(tuple(CellView(cell_id, "code", "x\ny", execution_count=12) for cell_id in ids))


def shown(view: NotebookView, seen: Seen) -> list[tuple[str, str, str]]:
    """(number, short id, cell id) of every line of an outline."""
    lines = outline(view, lambda _: (), seen, budget=50_000).split("\n")[1:]
    rows = [ROW.match(line) for line in lines]
    return [(row[1], row[2], cell.id) for row, cell in zip(rows, view.cells, strict=True) if row]


@given(PAGES)
def test_whatever_an_outline_shows_leads_to_its_cell(ids: list[str]) -> None:
    view, seen = page(ids), Seen()
    rows = shown(view, seen)
    assert len(rows) == len(ids)
    for number, short, cell_id in rows:
        assert resolve(short, view, seen, PEERS) == cell_id
        assert resolve(f"#{number}", view, seen, PEERS) == cell_id
        assert resolve_many(f"{short}:{short}", view, seen, PEERS) == [cell_id]
    assert resolve_many([short for _, short, _ in rows], view, seen) == ids


@given(PAGES, st.lists(PAGES, min_size=1, max_size=4), st.data())
def test_what_was_shown_keeps_its_meaning_under_any_change(
    ids: list[str], others: list[list[str]], data: st.DataObject
) -> None:
    seen = Seen()
    rows = shown(page(ids), seen)
    meaning = {short: cell_id for _, short, cell_id in rows}
    for other in others:
        ids = data.draw(st.permutations(sorted({*data.draw(st.sets(st.sampled_from(ids))), *other})))
        view = page(ids)
        seen.give(ids[::2], view)
        for cell_id in ids:
            short = seen.short(cell_id, view)
            assert meaning.setdefault(short, cell_id) == cell_id
        for ref, cell_id in [*meaning.items(), *((f"#{number}", cell_id) for number, _, cell_id in rows)]:
            if cell_id in ids:
                assert resolve(ref, view, seen, PEERS) == cell_id
            else:
                with pytest.raises(TargetError, match="was deleted since"):
                    resolve(ref, view, seen, PEERS)


@given(PAGES, st.one_of(IDS, st.text(max_size=8)), st.booleans())
def test_any_reference_gives_a_cell_of_the_notebook_or_an_error_with_a_hint(
    ids: list[str], ref: str, outlined: bool
) -> None:
    view, seen = page(ids), Seen()
    if outlined:
        shown(view, seen)
    found: str | TargetError
    try:
        found = resolve(ref, view, seen, PEERS)
    except TargetError as error:
        found = error
    if isinstance(found, TargetError):
        assert found.hint
        str(found).encode()
    else:
        assert found in ids


@given(PAGES, st.data())
def test_a_prefix_is_taken_only_where_it_is_unique(ids: list[str], data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(ids))
    ref = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        found = resolve(ref, page(ids), Seen())
    except TargetError:
        return
    if re.fullmatch(r"[a-z0-9-]+", ref) and ref not in ("first", "last", "all", found):
        assert len(ref) >= 4
        assert [cell_id for cell_id in ids if cell_id.startswith(ref)] == [found]


@given(PAGES, st.integers(0, 11), st.integers(0, 11))
def test_a_range_is_the_stretch_of_the_page_between_its_ends(ids: list[str], one: int, other: int) -> None:
    first, last = sorted((one % len(ids), other % len(ids)))
    view = page(ids)
    assert resolve_many(f"#{first + 1}:#{last + 1}", view, Seen()) == ids[first : last + 1]
    assert resolve_many(f"#{first + 1}:", view, Seen()) == ids[first:]
