"""How each scene has to end: all replicas, a newcomer and the file agree, nothing is doubled, and nothing is lost.

What is inherently lost, because a server died or another program wrote the file, is told by the agent and put back by
``restore``; where the file has no cell ids (nbformat below 4.5), it is told with its text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import anyio

from collab_agent.room.codec import state_vector
from collab_agent.testing import Human

from .rig import AGAIN_S, BOUND_S, RECOVER_S, Scene

FIRST_MARK = 0x4E00


async def agree(scene: Scene) -> None:
    """Everybody has the same: agent, human, a newcomer and the file; nothing is doubled, nothing is lost."""
    if scene.gone:
        await _nowhere(scene)
        return
    ada, agent = scene.ada, scene.agent
    await agent.hears(lambda: _same(scene), scene.path)
    await _without_others_doubles(scene)
    await _nothing_lost(scene)
    await ada.wait_for(lambda: not any(_running(ada)), BOUND_S)
    await agent.hears(lambda: _same(scene), scene.path)
    with anyio.fail_after(RECOVER_S):
        while (await scene.call("setup_notebook", notebook_path=scene.path, action="save")).is_error:
            pass
    async with Human.join_server(scene.lab.server, scene.path, "Fresh", autosave=False) as fresh:
        sources, ids = fresh.sources(), fresh.ids()
        assert sources == ada.sources() == [cell.source for cell in agent.peer().view.cells]
        assert ids == ada.ids() == [cell.id for cell in agent.peer().view.cells]
        there = [(cell if scene.has_ids else None, source) for cell, source in zip(ids, sources, strict=True)]
        assert _on_disk(scene) == there
        # What waits for something that never came would leave one replica behind the others.
        await _all_have_all(scene, ada, fresh)
    _once(scene, ids, sources)


async def _nowhere(scene: Scene) -> None:
    """The file is gone: whoever has the notebook has the same, nobody makes the file anew, and that is told."""
    if scene.agent.agent.peers:
        refused = await scene.call("setup_notebook", notebook_path=scene.path, action="save")
        assert "Not on disk: the notebook's file was moved or deleted" in refused.text, refused.text
        await scene.agent.hears(lambda: _same(scene), scene.path)
        await _all_have_all(scene, scene.ada)
        _once(scene, scene.ada.ids(), scene.ada.sources())
    assert scene.ada.lost() == []
    assert not (scene.lab.root / scene.path).exists()


async def _without_others_doubles(scene: Scene) -> None:
    """What a page brought along once more was told, with what a human can do about it; she does."""
    ids = scene.ada.ids()
    if len(set(ids)) < len(ids):
        with anyio.fail_after(BOUND_S):
            while "which is not your doing" not in scene.told:  # it looks for them once a second
                await scene.call("query_notebook")
                await anyio.sleep(AGAIN_S)
        for at in range(len(ids) - 1, -1, -1):
            if ids[at] in ids[:at]:
                await scene.ada.delete_cell(at)
        await scene.agent.hears(lambda: _same(scene), scene.path)


async def _nothing_lost(scene: Scene) -> None:
    """What the human had typed before the agent's eyes is there; or it was told, and is there when it is restored."""

    def lost() -> set[str]:
        return set(scene.ada.lost()) & scene.known

    if lost() or not scene.has_ids:
        await scene.call("query_notebook", query="changes")
    if not scene.has_ids:
        assert not lost() - set(scene.told), (lost() - set(scene.told), scene.told)
    elif scene.ada.lost():
        edits = [{"op": "restore", "force": True}]
        restored = await scene.call("modify_notebook_cells", edits=edits)
        assert not restored.is_error or not lost(), (lost(), scene.ada.sources(), restored.text)
        assert restored.is_error or any(word in scene.told for word in ("lost: ", "not there yet: ")), scene.told
        await scene.ada.wait_for(lambda: not lost(), BOUND_S)
    assert not lost() or not scene.has_ids, (lost(), scene.ada.sources())


def _once(scene: Scene, ids: Sequence[str], sources: Sequence[str]) -> None:
    """No id, no keystroke and no text of the agent's stands there twice, and what was confirmed stands there."""
    everything = "\n".join(sources)
    assert len(set(ids)) == len(ids), ids
    doubled = [mark for mark, times in Counter(everything).items() if times > 1 and ord(mark) >= FIRST_MARK]
    assert not doubled, (doubled, sources, scene.told)
    counts = {text: everything.count(text) for text in scene.confirmed}
    missing = {text for text, times in counts.items() if not times}
    assert not missing or (not scene.has_ids and all(f"-│{text}" in scene.told for text in missing)), (
        counts,
        sources,
    )
    assert all(everything.count(text) <= 1 for text in [*scene.confirmed, *scene.unsure]), (counts, sources)


def _on_disk(scene: Scene) -> list[tuple[str | None, str]]:
    return [(cell.get("id"), cell["source"]) for cell in scene.lab.on_disk(scene.path)]


async def _all_have_all(scene: Scene, *humans: Human) -> None:
    """Wait until all replicas have the same clocks: the server notes down the save in the document, too."""

    def clocks() -> list[Mapping[int, int]]:
        docs = [human.notebook.ydoc.get_state() for human in humans]
        return [_clocks(vector) for vector in (*docs, scene.agent.peer()._room.replica.state_vector())]

    with anyio.fail_after(BOUND_S):
        while True:
            if all(each == clocks()[0] for each in clocks()):
                return
            await anyio.sleep(AGAIN_S)


def _same(scene: Scene) -> bool:
    try:
        cells = scene.agent.peer().view.cells
    except Exception:
        return False  # the room is away for the moment
    return [(cell.id, cell.source) for cell in cells] == list(zip(scene.ada.ids(), scene.ada.sources(), strict=True))


def _running(ada: Human) -> list[bool]:
    return [cell.get("execution_state") == "running" for cell in ada.notebook.ycells]


def _clocks(vector: bytes) -> Mapping[int, int]:
    return {client: clock for client, clock in state_vector(vector).items() if clock}
