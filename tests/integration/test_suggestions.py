"""Suggestions, on the real server: what the agent suggests stays out of the notebook until a human merges it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream, SocketAttribute

from collab_agent.config import Limits, Server
from collab_agent.errors import CellInUse, CellNotFound, CollabAgentError, EditConflict
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.forks import Fork
from collab_agent.notebook.suggestion import from_json
from collab_agent.policy import Policy
from collab_agent.review import Reviewer
from collab_agent.room.channel import Channel, websocket_channel
from collab_agent.shelf import Kept
from collab_agent.testing import Human

from .conftest import McpAgent, Notebook, Rest, fence, mcp_agent_on, unwritten

LOOP = """\
total = 0
for item in items:
    total += item
print(total)
"""
BETTER = "total = sum(items)\nprint(total)\n"


@pytest.fixture
async def api(jupyter: Server) -> AsyncIterator[JupyterApi]:
    """The server's REST interface."""
    async with JupyterApi(jupyter) as made:
        yield made


@asynccontextmanager
async def reviewing(api: JupyterApi, path: str, name: str = "Ada", announced_s: float = 0.0) -> AsyncIterator[Reviewer]:
    """A human's terminal in the notebook's room."""
    async with Reviewer.joined(api, path, name, Limits(line_wait_s=0.2), announced_s=announced_s) as reviewer:
        yield reviewer


async def forks(api: JupyterApi, path: str) -> tuple[Fork, ...]:
    """The forks of a notebook's room, as the server lists them."""
    return await api.forks((await api.open_session_rtc(path)).room_id)


async def suggested(goose: McpAgent, path: str, *edits: dict[str, Any], title: str = "Sum up") -> str:
    """Open the notebook, read it, and suggest; the answer's text."""
    await goose.setup(path)
    await goose.query("cells")
    return (await goose.edit(*edits, suggest=title)).body


async def only(reviewer: Reviewer) -> Kept:
    """The one open suggestion."""
    (kept,) = await reviewer.suggestions()
    return kept


REWRITE = {"op": "write", "cell": "#1", "source": BETTER}


async def test_a_suggestion_leaves_the_notebook_alone_and_is_listed(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook([LOOP, "done = True"])
    async with Human.join_server(jupyter, path) as ada:
        before = ada.document()
        answer = await suggested(mcp_agent, path, REWRITE, {"op": "insert", "source": "check()", "after": "#1"})
        assert answer.startswith("suggested, not written: ")
        assert "+1│total = sum(items)" in answer
        assert f"`collab-agent suggestions {path}`" in answer
        assert ada.document() == before
        (state,) = [state for state in ada.peers().values() if "collab_agent" in state]
        assert state["cursors"] == []

        listed = (await mcp_agent.query("suggestions")).text
        assert '"Sum up" by you, just now: applies cleanly' in listed
        assert "+1│check()" in listed
        assert "since your last call:" not in listed
        await unwritten(mcp_agent, ada, [LOOP, "done = True"])


async def test_the_fork_holds_the_edits_and_what_the_extension_reads(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, api: JupyterApi
) -> None:
    path = await notebook([LOOP, "done = True"])
    await suggested(mcp_agent, path, REWRITE)
    (fork,) = await forks(api, path)
    session = await api.open_session_rtc(path)

    @asynccontextmanager
    async def channel() -> AsyncIterator[Channel]:
        url = api.ws_url(f"api/collaboration/room/{fork.id}?sessionId={session.session_id}")
        async with websocket_channel(url, api.headers) as opened:
            yield opened

    async with Human.join(channel, "Reader") as reader:
        assert reader.sources() == [BETTER, "done = True"]
    said = json.loads(fork.description)
    assert fork.title == "Sum up"
    assert said["cellId"] == mcp_agent.peer().view.cells[0].id
    assert (said["path"], said["suggestionType"]) == (path, "change")
    assert from_json(fork.description) is not None


async def test_a_merge_is_rebased_over_what_the_human_has_typed_since(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, api: JupyterApi
) -> None:
    path = await notebook([LOOP, "done = True"])
    async with Human.join_server(jupyter, path) as ada:
        await suggested(mcp_agent, path, REWRITE, {"op": "insert", "source": "check()", "after": "#1"})
        await ada.type(0, "# 漢😀 mine\n", at=0)
        await ada.insert_cell(0, "# Title", "markdown")
        await mcp_agent.sees(ada)
        assert "applies cleanly" in (await mcp_agent.query("suggestions")).text
        async with reviewing(api, path) as reviewer:
            await reviewer.merge(await only(reviewer))
            wanted = ["# Title", "# 漢😀 mine\n" + BETTER, "check()", "done = True"]
            await ada.wait_for(lambda: ada.sources() == wanted)
            assert await reviewer.suggestions() == []
            heard = await mcp_agent.query()
        assert 'since your last call: suggestion "Sum up" was merged by Ada; Ada (suggestions) ' in heard.since
        assert "Sum up" not in (await mcp_agent.query("outline")).text
        assert await forks(api, path) == ()


async def test_a_merge_is_refused_where_the_human_changed_the_same_place(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, api: JupyterApi
) -> None:
    path = await notebook([LOOP])
    async with Human.join_server(jupyter, path) as ada:
        await suggested(mcp_agent, path, REWRITE)
        await ada.type(0, " * 2", at=LOOP.index("\nprint"))
        theirs = ada.sources()
        await mcp_agent.sees(ada)
        listed = (await mcp_agent.query("suggestions")).text
        assert "conflicts with what was changed since in" in listed
        assert "+3│    total += item * 2" in listed
        async with reviewing(api, path) as reviewer:
            kept = await only(reviewer)
            with pytest.raises(EditConflict, match="Nothing was written"):
                await reviewer.merge(kept)
            assert await only(reviewer) == kept
            await reviewer.drop(kept)
            assert await reviewer.suggestions() == []
        heard = await mcp_agent.query()
        assert 'suggestion "Sum up" was dropped by Ada' in heard.since
        assert ada.sources() == theirs
        await fence(mcp_agent, ada)
        assert ada.sources()[:-1] == theirs


async def test_of_two_who_decide_at_once_one_does(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, api: JupyterApi
) -> None:
    path = await notebook([LOOP])
    await suggested(mcp_agent, path, {"op": "insert", "source": "check()"})
    merged: list[str] = []
    refused: list[str] = []

    async def decide(reviewer: Reviewer, name: str, kept: Kept) -> None:
        try:
            await reviewer.merge(kept)
            merged.append(name)
        except EditConflict as exc:
            refused.append(exc.message)

    async with Human.join_server(jupyter, path) as ada, AsyncExitStack() as stack:
        reviewers = [await stack.enter_async_context(reviewing(api, path, f"R{n}")) for n in range(4)]
        found = [await only(reviewer) for reviewer in reviewers]
        async with anyio.create_task_group() as tasks:
            for number, (reviewer, kept) in enumerate(zip(reviewers, found, strict=True)):
                tasks.start_soon(decide, reviewer, f"R{number}", kept)
        assert (len(merged), len(refused)) == (1, 3), (merged, refused)
        await fence(mcp_agent, ada)
        assert ada.sources()[:-1] == [LOOP, "check()"]


async def test_what_is_refused_at_the_last_moment_is_put_back(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook([LOOP])
    await suggested(mcp_agent, path, REWRITE)
    async with Human.join_server(jupyter, path) as ada, gate_to(jupyter) as gate, JupyterApi(gate.server) as slow:
        async with reviewing(slow, path) as reviewer:
            kept = await only(reviewer)

            async def interfere() -> None:
                await gate.held.wait()  # the fork is gone, and the reviewer is about to learn that it may write
                await ada.type(0, " * 2", at=LOOP.index("\nprint"))
                await mcp_agent.sees(ada)
                while [cell.source for cell in reviewer.document.view.cells] != ada.sources():
                    await anyio.lowlevel.checkpoint()
                gate.opened.set()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(interfere)
                with pytest.raises(EditConflict, match="changed since in cell #1"):
                    await reviewer.merge(kept)
            again = await only(reviewer)
            assert (again.suggestion, again.fork == kept.fork) == (kept.suggestion, False)
            assert "Sum up" not in (await mcp_agent.query()).since  # it is as open as before
        assert "conflicts" in (await mcp_agent.query("suggestions")).body
        await fence(mcp_agent, ada)
        assert "total += item * 2" in ada.source(0)


class Gate:
    """A proxy that holds back the answer to the deletion of a fork: ``held`` when it has, until ``opened``."""

    def __init__(self, target: Server, port: int) -> None:
        self.server = replace(target, url=f"http://127.0.0.1:{port}/")
        self.held = anyio.Event()
        self.opened = anyio.Event()
        self._port = int(target.url.rstrip("/").rpartition(":")[2])

    async def handle(self, client: ByteStream) -> None:
        """Forward one connection both ways."""
        async with (
            client,
            await anyio.connect_tcp("127.0.0.1", self._port) as server,
            anyio.create_task_group() as both,
        ):
            deleting = anyio.Event()
            both.start_soon(self._pump, client, server, deleting, True)
            await self._pump(server, client, deleting, False)
            both.cancel_scope.cancel()

    async def _pump(self, source: ByteStream, sink: ByteStream, deleting: anyio.Event, asks: bool) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                data = await source.receive()
                if asks and data.startswith(b"DELETE "):
                    deleting.set()
                elif not asks and deleting.is_set():
                    self.held.set()
                    await self.opened.wait()
                await sink.send(data)


@asynccontextmanager
async def gate_to(target: Server) -> AsyncIterator[Gate]:
    """A gate in front of a server for the length of the block."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        gate = Gate(target, listener.extra(SocketAttribute.local_port))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, gate.handle)
            yield gate
            tasks.cancel_scope.cancel()


async def test_an_agent_that_may_only_read_suggests_nothing(
    jupyter: Server, notebook: Notebook, api: JupyterApi
) -> None:
    path = await notebook([LOOP])
    async with mcp_agent_on(jupyter, policy=Policy(read_only=True)) as goose:
        await goose.setup(path)
        await goose.edit_refused({"op": "insert", "source": "x"}, suggest="Title")
    assert await forks(api, path) == ()


async def test_a_renamed_notebook_keeps_its_suggestions(
    mcp_agent: McpAgent, notebook: Notebook, api: JupyterApi, page: Rest
) -> None:
    path = await notebook([LOOP])
    await suggested(mcp_agent, path, REWRITE)
    await page.send("PATCH", f"api/contents/{path}", json={"path": f"renamed-{path}"})
    async with reviewing(api, f"renamed-{path}") as reviewer:
        await reviewer.merge(await only(reviewer))
    await mcp_agent.hears(lambda: mcp_agent.peer().view.cells[0].source == BETTER)
    assert 'suggestion "Sum up" was merged by Ada' in (await mcp_agent.query()).since


async def test_a_cell_that_is_gone_is_told_and_nothing_is_written(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, api: JupyterApi
) -> None:
    path = await notebook([LOOP, "done = True"])
    async with Human.join_server(jupyter, path) as ada:
        await suggested(mcp_agent, path, REWRITE)
        await ada.delete_cell(0)
        await mcp_agent.sees(ada)
        assert "is gone" in (await mcp_agent.query("suggestions")).body
        async with reviewing(api, path) as reviewer:
            with pytest.raises(CellNotFound, match="is gone"):
                await reviewer.merge(await only(reviewer))
            assert len(await reviewer.suggestions()) == 1
        assert ada.sources() == ["done = True"]


async def test_a_cell_in_use_may_be_suggested_away_but_not_merged_away(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, api: JupyterApi
) -> None:
    path = await notebook([LOOP, "done = True"])
    async with Human.join_server(jupyter, path, announces=False) as ada:
        await ada.place_caret(1, 0)
        await suggested(mcp_agent, path, {"op": "delete", "cell": "#2", "force": True})
        async with reviewing(api, path, announced_s=3_600.0) as reviewer:
            kept = await only(reviewer)
            assert reviewer.patience(kept) > 3_500
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ada.place_caret, 1, 0)  # as an idle page, which says nothing to a newcomer at once
                with pytest.raises(CellInUse, match="caret is in it"):
                    await reviewer.merge(kept)
            assert ada.sources() == [LOOP, "done = True"]
            await reviewer.merge(kept, force=True)
            await ada.wait_for(lambda: ada.sources() == [LOOP])


async def test_the_agent_learns_of_a_fork_that_another_tool_deletes_or_merges(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, api: JupyterApi
) -> None:
    path = await notebook([LOOP, "done = True"])
    await suggested(mcp_agent, path, REWRITE, title="One")
    await mcp_agent.edit({"op": "insert", "source": "check()"}, suggest="Two")
    one, two = await forks(api, path)
    assert await api.delete_fork(one.id)
    assert not await api.delete_fork(one.id)
    heard = await mcp_agent.query("outline")
    assert heard.since.startswith('since your last call: suggestion "One" is no longer open')
    await api._rest.request("DELETE", f"api/collaboration/fork/{two.id}", query={"merge": "true"})
    await mcp_agent.hears(lambda: len(mcp_agent.peer().view.cells) == 3)
    assert 'suggestion "Two" was merged' in (await mcp_agent.query("outline")).since
    assert "Two" not in (await mcp_agent.query("outline")).text


async def test_wrong_edits_are_refused_as_ever_and_leave_no_fork(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, api: JupyterApi
) -> None:
    path = await notebook([LOOP, "done = True"])
    await mcp_agent.setup(path)
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"op": "write", "cell": "#1", "source": "x"}, "Title", "have not been shown"),
        ({"op": "replace", "cell": "#2", "old": "nowhere", "new": "x"}, "Title", "old does not occur"),
        ({"op": "undo"}, "Title", "undo"),
        ({"op": "replace", "cell": "#2", "old": "True", "new": "True"}, "Title", "would change nothing"),
        ({"op": "insert", "source": "x"}, "  ", "suggest must be a title"),
    ]
    for edit, title, why in wrong:
        refusal = await mcp_agent.edit_refused(edit, suggest=title)
        assert why in refusal.text, refusal.text
    assert await forks(api, path) == ()
    assert (await mcp_agent.query("suggestions")).text == "no open suggestions"


async def test_an_agent_of_a_later_session_lists_what_an_earlier_one_suggested(
    jupyter: Server, notebook: Notebook, api: JupyterApi
) -> None:
    path = await notebook([LOOP])
    async with mcp_agent_on(jupyter) as goose:
        await suggested(goose, path, REWRITE)
    async with mcp_agent_on(jupyter, name="cursor") as cursor:
        await cursor.setup(path)
        assert '"Sum up" by Goose, just now: applies cleanly' in (await cursor.query("suggestions")).text
        async with reviewing(api, path) as reviewer:
            await reviewer.merge(await only(reviewer))
        heard = (await cursor.query("outline")).since
        assert "Ada (suggestions)" in heard
        assert "Sum up" not in heard  # it was not Cursor's
    async with JupyterApi(jupyter) as again:
        content = await again.read_notebook(path)
        assert "".join(content["cells"][0]["source"]) == BETTER  # saved: nobody else was there


async def test_joining_pieces_only_where_they_still_stand_together(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, api: JupyterApi
) -> None:
    path = await notebook(["a = 1", "b = 2", "c = 3"])
    async with Human.join_server(jupyter, path) as ada:
        await suggested(mcp_agent, path, {"op": "merge", "cell": "#1"})
        await ada.insert_cell(1, "between")
        async with reviewing(api, path) as reviewer:
            with pytest.raises(CollabAgentError, match="no longer stand together"):
                await reviewer.merge(await only(reviewer))
        assert ada.sources() == ["a = 1", "between", "b = 2", "c = 3"]
