"""Which copy of a cell goes where two have rebuilt it, and that half of somebody's move is none."""

from __future__ import annotations

import pytest
from jupyter_ydoc import YNotebook

from collab_agent.notebook.batches import DropDoubled, batches
from collab_agent.notebook.steps import BeginRun, EndRun, MoveCell, RetypeCell
from collab_agent.room.replica import Replica
from collab_agent.room.twins import LOOKS, Twins
from collab_agent.testing import notebook_of

EMPTY = b"\0"


def replicas(*cells: str, count: int) -> list[Replica]:
    page = YNotebook()
    page.set(notebook_of(cells))
    made = [Replica() for _ in range(count)]
    for replica in made:
        replica.apply(page.ydoc.get_update())
    return made


def move(replica: Replica, cell: str, index: int) -> list[bytes]:
    """The updates in which an agent's move goes out: the new copy, and then the old one's end."""
    made = [replica.write(batch).update for batch in batches([MoveCell(cell, index)])]
    return [update for update in made if update is not None]


def test_half_of_another_agents_move_is_no_double() -> None:
    one, two = replicas("x", "y", "z", count=2)
    cell = one.view.cells[0].id
    twins = Twins()
    for update in move(one, cell, 2):
        two.apply(update)
    twins.note([MoveCell(cell, 2)], one.client_id, 0.0)
    copied, ended = move(two, cell, 0)

    one.apply(copied)
    assert twins.drop(one, {}, 1.0) == []  # it may be under way
    one.apply(ended)
    assert twins.drop(one, {}, 2.0) == []
    assert [each.source for each in one.view.cells] == ["x", "y", "z"]


def test_the_copy_below_goes_and_only_by_the_hand_of_who_has_made_it() -> None:
    one, two = replicas("x", "y", "z", count=2)
    cell = one.view.cells[0].id
    first, second = Twins(), Twins()
    mine, theirs = move(one, cell, 1), move(two, cell, 2)  # neither has heard of the other
    first.note([MoveCell(cell, 1)], one.client_id, 0.0)
    second.note([MoveCell(cell, 2)], two.client_id, 0.0)
    for update in theirs:
        one.apply(update)
    for update in mine:
        two.apply(update)

    assert [first.drop(one, {}, now) for now in (1.0, 2.0)] == [[], []]
    assert [second.drop(two, {}, now) for now in (1.0, 2.0)] == [[], [DropDoubled(cell, (1,))]]


def test_after_ten_seconds_a_double_is_somebody_elses_matter() -> None:
    one, two = replicas("x", "y", "z", count=2)
    cell = one.view.cells[0].id
    twins = Twins()
    move(one, cell, 2)
    twins.note([MoveCell(cell, 2)], one.client_id, 0.0)
    for update in move(two, cell, 1):
        one.apply(update)

    assert [twins.drop(one, {}, now) for now in (11.0, 12.0)] == [[], []]
    assert [twins.drop(one, {}, now) for now in (9.0, 10.0)] == [[], [DropDoubled(cell, (1,))]]


def test_a_copy_goes_though_the_server_has_saved_and_given_it_an_id_of_its_own() -> None:
    one, two = replicas("x", "y", "z", count=2)
    cell = one.view.cells[0].id
    twins = Twins()
    theirs = [update for batch in batches([RetypeCell(cell, "markdown")]) if (update := one.write(batch).update)]
    move(two, cell, 2)
    twins.note([MoveCell(cell, 2)], two.client_id, 0.0)
    for update in theirs:
        two.apply(update)
    assert twins.drop(two, {}, 1.0) == []
    server = YNotebook()
    server.ydoc.apply_update(two.update_since(EMPTY))
    with pytest.warns(UserWarning, match="Non-unique cell ID"):
        server.get()
    two.apply(server.ydoc.get_update(two.state_vector()))
    assert [each.id == cell for each in two.view.cells] == [True, False, False, False]

    two.write(twins.drop(two, {}, 2.0))
    assert [each.source for each in two.view.cells] == ["x", "y", "z"]
    assert two.view.cells[0].id == cell


def test_a_copy_that_the_server_has_named_anew_does_not_run_for_ever() -> None:
    one, two = replicas("x", "y", "z", count=2)
    cell = one.view.cells[0].id
    begun = one.write([BeginRun(cell)]).update
    assert begun is not None
    two.apply(begun)
    theirs = [update for batch in batches([RetypeCell(cell, "raw")]) if (update := two.write(batch).update)]
    move(one, cell, 2)
    for update in theirs:
        one.apply(update)
    server = YNotebook()
    server.ydoc.apply_update(one.update_since(EMPTY))
    with pytest.warns(UserWarning, match="Non-unique cell ID"):
        server.get()
    one.apply(server.ydoc.get_update(one.state_vector()))
    assert len({each.id for each in one.view.cells}) == 4

    one.write([EndRun(cell, 1)])
    assert [each.running for each in one.view.cells] == [False] * 4


def test_what_pages_have_left_twice_is_told_when_nobody_has_mended_it() -> None:
    pages = [YNotebook() for _ in range(2)]
    pages[0].set(notebook_of(["x", "y"]))
    pages[1].ydoc.apply_update(pages[0].ydoc.get_update())
    for page in pages:  # both move the first cell down, before they hear of each other
        value = page.ycells[0].to_py()
        with page.ydoc.transaction():
            del page.ycells[0]
            page.ycells.insert(1, page.create_ycell(value))
    agent, twins = Replica(), Twins()
    for page in pages:
        agent.apply(page.ydoc.get_update())
    (cell,) = {each.id for each in agent.view.cells if each.source == "x"}

    for now in range(LOOKS):
        assert twins.lasting == frozenset()
        assert twins.drop(agent, {}, float(now)) == []  # neither copy is ours
    assert twins.lasting == {cell}
    place = [each["id"] for each in pages[0].ycells].index(cell)
    pages[0].ycells.pop(place)
    agent.apply(pages[0].ydoc.get_update())
    twins.drop(agent, {}, float(LOOKS))
    assert twins.lasting == frozenset()
