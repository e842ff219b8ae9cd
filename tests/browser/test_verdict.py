"""The judge of the random session sees a claim that is untrue or told twice, and a doing that no line told."""

from __future__ import annotations

import anyio
import pytest

from collab_agent.testing import Human, InProcessRoom

from .ledger import SINCE, Call, Ledger, Observer, Told
from .verdict import Verdict

LATER = 10.0
TRUE = "Ada edited CELL (+1 -1 lines)"
LINES: dict[str, tuple[list[str], list[str]]] = {
    "told": ([TRUE], []),
    "told with another": (["Ada and Bob edited CELL (+1 -1 lines), moved OTHER"], ["did not happen"]),
    "not told": ([""], ["was not told"]),
    "told late": (["", TRUE], ["did not happen", "was not told"]),
    "told twice": ([TRUE, TRUE], ["did not happen"]),
    "of another": (["Bob edited CELL (+1 -1 lines)"], ["did not happen", "was not told"]),
    "of another cell": (["Ada edited OTHER (+1 -1 lines)"], ["did not happen", "was not told"]),
    "another doing": (["Ada deleted CELL"], ["did not happen"]),
    "one's own": ([f"Goose edited OTHER (+1 -0 lines); {TRUE}"], ["was told its own doing", "did not happen"]),
    "typing": ([f"{TRUE}, is typing in CELL, line 1"], []),
}


@pytest.mark.parametrize("name", LINES)
async def test_claims_are_judged(name: str) -> None:
    lines, wanted = LINES[name]
    async with (
        InProcessRoom(["x = 1", "y = 2"]) as room,
        Observer.join(room.connect, "Observer") as observer,
        Human.join(room.connect, "Ada") as ada,
    ):
        ledger = Ledger(observer)
        began = anyio.current_time() - LATER
        cell, other = (each[:4] for each in ada.ids())
        await ada.type(0, "漢")
        await observer.wait_for(lambda: observer.sources() == ada.sources())
        calls = [Call(began, began, "setup_notebook", {}, "opened", False)]
        for line in [*lines, ""]:
            at = anyio.current_time() + LATER * len(calls)
            since = (SINCE + line.replace("CELL", cell).replace("OTHER", other)) if line else "ok"
            calls.append(Call(at, at, "query_notebook", {}, since, False))
        found = Verdict(ledger, Told("Goose", calls), frozenset({"Goose", "Cleo"})).discrepancies()
    assert len(found) == len(wanted), found
    assert all(part in line for part, line in zip(wanted, found, strict=True)), found


async def test_a_human_who_deletes_is_never_told_as_an_agent() -> None:
    async with (
        InProcessRoom(["x = 1", "y = 2"]) as room,
        Observer.join(room.connect, "Observer") as observer,
        Human.join(room.connect, "Ada") as ada,
    ):
        ledger = Ledger(observer)
        began, cell = anyio.current_time() - LATER, ada.ids()[0]
        await ada.delete_cell(0)
        await observer.wait_for(lambda: observer.sources() == ada.sources())
        for who, wanted in {"Ada": 0, "somebody": 0, "Cleo (agent)": 1}.items():
            at = anyio.current_time() + LATER
            calls = [
                Call(began, began, "setup_notebook", {}, "opened", False),
                Call(at, at, "query_notebook", {}, f"{SINCE}{who} deleted {cell[:4]}", False),
            ]
            found = Verdict(ledger, Told("Goose", calls), frozenset({"Goose", "Cleo"})).discrepancies()
            assert len(found) == wanted, found
