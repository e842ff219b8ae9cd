"""A room that answers, stays silent, breaks off, refuses, and talks nonsense."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from pycrdt import read_message

from collab_agent.config import Limits
from collab_agent.errors import (
    CollabAgentError,
    NotebookNotFound,
    RoomClosed,
    SaveFailed,
    SyncTimeout,
    Unauthorized,
)
from collab_agent.notebook.splice import Splice
from collab_agent.notebook.steps import InsertCell, MoveCell, RetypeCell, SpliceSource, Step
from collab_agent.room.presence import decode
from collab_agent.room.protocol import Acknowledged, Changed, Synced
from collab_agent.room.provider import RoomProvider
from collab_agent.room.replica import Replica
from collab_agent.testing import Human, InProcessChannel, InProcessRoom

Join = Callable[..., AbstractAsyncContextManager[Any]]
STEP1, UPDATE = b"\0\0", b"\0\2"


def splice(index: int, start: int, stop: int, text: str) -> Callable[[Replica], list[Step]]:
    return lambda replica: [SpliceSource(replica.view.cells[index].id, (Splice(start, stop, text),))]


def frames(channel: InProcessChannel, kind: bytes) -> list[bytes]:
    return [frame for frame in channel.sent if frame.startswith(kind)]


def states(channel: InProcessChannel) -> list[tuple[int, Any]]:
    """(client id, state) of all awareness that was sent."""
    updates = [decode(read_message(frame[1:])) for frame in channel.sent if frame[0] == 1]
    return [(client, state) for update in updates for client, _, state in update]


async def test_joining_hands_over_the_notebook(join: Join) -> None:
    async with InProcessRoom(["x = 1", ("markdown", "# é😀")], path="a/b.ipynb") as room, join(room) as agent:
        view = agent.provider.replica.view
        assert [(cell.type, cell.source) for cell in view.cells] == [("code", "x = 1"), ("markdown", "# é😀")]
        assert (view.path, view.language) == ("a/b.ipynb", "python")
        assert agent.events == [Synced()]


async def test_nothing_is_sent_before_the_replica_is_in_step(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room) as agent:
        await agent.provider.write(splice(0, 1, 1, "!"))
        kinds = [frame[:2] for frame in room.channels[0].sent if frame[0] == 0]
        assert kinds == [b"\0\1", STEP1, UPDATE]  # the first is the empty answer to the server's step 1


async def test_an_edit_is_over_when_the_room_has_echoed_it(join: Join) -> None:
    async with InProcessRoom(["x = 1"]) as room, join(room) as agent:
        written = await agent.provider.write(splice(0, 4, 5, "22"))
        assert room.sources() == agent.sources() == ["x = 22"]
        assert written.update is not None
        assert agent.events[-1] == Acknowledged(1)
        assert len(frames(room.channels[0], STEP1)) == 1  # nothing had to be asked


async def test_where_the_echo_stays_away_a_sync_step_1_asks_for_it(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room) as agent:
        room.echo = False
        await agent.provider.write(splice(0, 1, 1, "yz"))
        assert room.sources() == ["xyz"]
        assert len(frames(room.channels[0], STEP1)) == 2


async def test_an_edit_that_the_room_does_not_confirm_is_told(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room, replace(Limits(), echo_s=0.05, ack_s=0.05)) as agent:
        room.hold()
        with pytest.raises(SyncTimeout, match="may or may not"):
            await agent.provider.write(splice(0, 1, 1, "y"))
        await agent.wait_for(lambda: agent.count(Synced) == 2)  # a room that does not answer is joined afresh
        await agent.provider.write(splice(0, 1, 1, "z"))
        assert room.sources() == agent.sources() == ["xz"]  # this room never got the first one


async def test_outputs_that_the_room_does_not_confirm_lead_to_a_fresh_start(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room, replace(Limits(), echo_s=0.05, ack_s=0.05)) as agent:
        room.hold()
        agent.provider.write_soon([InsertCell("new", 0, "code", "ghost")])
        await agent.wait_for(lambda: agent.count(Synced) == 2)
        assert room.sources() == agent.sources() == ["x"]


async def test_a_room_that_passes_nothing_on_is_joined_afresh_once_and_then_asked_again_and_again(join: Join) -> None:
    limits = replace(Limits(), echo_s=0.05, probe_s=0.05, mute_s=0.1)
    async with InProcessRoom(["x"]) as room, join(room, limits) as agent, Human.join(room.connect) as ada:
        room.mute = True
        await ada.type(0, "y")
        await agent.wait_for(lambda: agent.provider.connected and agent.sources() == ["xy"])
        await agent.wait_for(lambda: agent.count(Synced) == 2)
        assert agent.provider.take_notice() == "", "perhaps it was this connection only"

        await ada.type(0, "z")
        await agent.wait_for(lambda: agent.sources() == ["xyz"])
        await agent.provider.write(splice(0, 0, 0, "w"))
        assert room.sources() == ["wxyz"]
        with anyio.fail_after(5):
            while not agent.provider.mute:
                await agent.provider.write(splice(0, 0, 0, "w"))
        assert "stopped passing on" in agent.provider.take_notice()
        assert agent.provider.take_notice() == ""
        assert agent.count(Synced) == 2, "joining afresh does not help"

        room.mute = False
        await ada.type(0, "!")
        await agent.wait_for(lambda: not agent.provider.mute)
        assert agent.provider.take_notice() == ""


async def test_a_quiet_room_is_asked_and_nothing_is_told(join: Join) -> None:
    async with InProcessRoom(["xyz"]) as room, Human.join(room.connect) as ada:
        await ada.type(0, "!")
        await ada.backspace()  # an answer always holds all deletions
        async with join(room, replace(Limits(), probe_s=0.01)) as agent:
            channel = room.channels[1]
            with anyio.fail_after(5):
                while len(frames(channel, STEP1)) < 5:
                    await anyio.lowlevel.checkpoint()
            assert [event for event in agent.events if isinstance(event, Changed)] == []
            assert agent.count(Synced) == 1


async def test_an_edit_that_changes_nothing_waits_for_nothing(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room) as agent:
        room.hold()
        assert (await agent.provider.write(lambda _: [])).update is None


async def test_after_a_cut_it_joins_with_a_fresh_replica(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room) as agent:
        before = agent.provider.replica
        room.cut()
        await agent.wait_for(lambda: agent.count(Synced) == 2)
        after = agent.provider.replica
        assert after is not before
        assert after.client_id != before.client_id
        await agent.provider.write(splice(0, 1, 1, "y"))
        assert room.sources() == ["xy"]


@pytest.mark.parametrize("step", [MoveCell, RetypeCell], ids=["move", "retype"])
@pytest.mark.parametrize(
    ("typed", "saved"), [("", False), ("!", False), ("!", True)], ids=["alike", "typed in", "saved"]
)
async def test_a_rebuilding_that_a_cut_tore_in_two_leaves_no_cell_twice(
    step: type[MoveCell | RetypeCell], typed: str, saved: bool, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with InProcessRoom(["x", "y", "z"]) as room, join(room) as agent, Human.join(room.connect) as ada:
        channel = room.channels[0]
        send, updates = channel.send, 0

        async def torn(frame: bytes) -> None:
            nonlocal updates
            updates += frame.startswith(UPDATE)
            if frame.startswith(UPDATE) and updates == 2:
                await ada.wait_for(lambda: len(ada.ids()) == 4)
                if typed:
                    await ada.type(first, typed)  # the first of the two
                    await room.wait_for(lambda: typed in "".join(room.sources()))
                if saved:
                    with pytest.warns(UserWarning, match="Non-unique cell ID"):  # one is named anew
                        room.notebook.get()
                channel.cut()
            await send(frame)

        monkeypatch.setattr(channel, "send", torn)
        first = agent.provider.replica.view.cells[0].id
        with pytest.raises(SyncTimeout):
            await agent.provider.write(
                lambda _replica: [MoveCell(first, 2) if step is MoveCell else RetypeCell(first, "raw")]
            )

        await agent.wait_for(lambda: agent.count(Synced) == 2)

        # Where somebody has typed into one of the two, that one stays: no text is ever thrown away, and none doubled.
        await ada.wait_for(lambda: len(ada.ids()) == 3)
        assert sorted(ada.sources()) == [f"x{typed}", "y", "z"]


async def test_a_cell_that_two_rebuild_at_once_stands_there_once_in_the_end(join: Join) -> None:
    async with InProcessRoom(["x", "y", "z"]) as room, join(room) as agent, Human.join(room.connect) as ada:
        first = ada.ids()[0]
        room.channels[1].hold()  # Ada's: neither hears of the other's move
        await ada.move_cell(0, 2)
        await agent.provider.write(lambda _replica: [MoveCell(first, 1)])
        room.release()
        await ada.wait_for(lambda: sorted(ada.sources()) == ["x", "y", "z"])
        await agent.wait_for(lambda: [c.id for c in agent.provider.replica.view.cells] == ada.ids())


async def test_of_a_cell_that_two_rebuild_at_once_no_text_is_thrown_away(join: Join) -> None:
    async with InProcessRoom(["x", "y", "z"]) as room, join(room) as agent, Human.join(room.connect) as ada:
        first = ada.ids()[0]
        room.channels[1].hold()
        await ada.move_cell(0, 2)
        await ada.type(2, "!")
        await agent.provider.write(lambda _replica: [MoveCell(first, 1)])
        room.release()
        await ada.wait_for(lambda: len(ada.ids()) == 4)
        assert sorted(ada.sources()) == ["x", "x!", "y", "z"]
        with pytest.warns(UserWarning, match="Non-unique cell ID"):
            room.notebook.get()  # as the server does when it saves: the second one gets an id of its own
        await ada.wait_for(lambda: len(set(ada.ids())) == 4)


async def test_who_has_just_moved_a_cell_does_not_mistake_the_next_move_of_it_for_a_double(join: Join) -> None:
    async with InProcessRoom(["x", "y", "z"]) as room, join(room) as one, join(room) as two:
        first = one.provider.replica.view.cells[0].id
        await one.provider.write(lambda _replica: [MoveCell(first, 2)])
        await two.wait_for(lambda: two.sources() == ["y", "z", "x"])
        await two.provider.write(lambda _replica: [MoveCell(first, 0)])  # inserted first, and then deleted where it was
        await one.wait_for(lambda: one.sources() == ["x", "y", "z"])
        await one.provider.write(splice(0, 1, 1, "!"))
        assert room.sources() == ["x!", "y", "z"]


async def test_while_the_room_is_away_edits_are_refused_and_not_queued(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room) as agent:
        room.refuse = Unauthorized("The token has expired.")
        room.cut(RoomClosed("The server went away."))
        await room.wait_for(lambda: room.attempts == 2)
        assert not agent.provider.connected
        with pytest.raises(RoomClosed, match=r"expired.*Nothing was written"):
            await agent.provider.write(splice(0, 0, 0, "lost"))
        with pytest.raises(RoomClosed):
            agent.provider.write_soon([])
        room.refuse = None
        await agent.wait_for(lambda: agent.count(Synced) == 2)
        assert room.sources() == agent.sources() == ["x"]


async def test_an_edit_under_way_when_the_room_breaks_off_is_told_at_once(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room, replace(Limits(), echo_s=30, ack_s=30)) as agent:
        room.hold()

        async def cut_when_sent() -> None:
            await agent.wait_for(lambda: True)
            room.cut()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut_when_sent)
            with pytest.raises(SyncTimeout), anyio.fail_after(5):
                await agent.provider.write(splice(0, 0, 0, "y"))
        await agent.wait_for(lambda: agent.count(Synced) == 2)
        assert room.sources() == ["x"]


async def test_the_first_refusal_is_the_callers() -> None:
    async with InProcessRoom() as room:
        room.refuse = NotebookNotFound("There is none.")
        provider = RoomProvider(room.connect, lambda _: None, Limits())
        with pytest.raises(NotebookNotFound):
            await provider.run(task_status=anyio.TASK_STATUS_IGNORED)


async def test_a_room_that_never_answers_is_given_up() -> None:
    async with InProcessRoom() as room:

        @asynccontextmanager
        async def silent() -> AsyncIterator[InProcessChannel]:
            async with room.connect() as channel:
                channel.hold()
                yield channel

        provider = RoomProvider(silent, lambda _: None, replace(Limits(), join_s=0.05))
        with pytest.raises(SyncTimeout, match="did not hand over"):
            await provider.run(task_status=anyio.TASK_STATUS_IGNORED)


async def test_a_peer_sees_the_agent_come_and_go(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, Human.join(room.connect) as ada:
        async with join(room):
            await ada.wait_for(lambda: [s["user"]["name"] for s in ada.peers().values()] == ["Agent"])
        await ada.wait_for(lambda: not ada.peers())
        assert states(room.channels[1])[-1][1] is None


async def test_after_a_cut_no_ghost_of_the_agent_stays(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, Human.join(room.connect) as ada, join(room) as agent:
        old = agent.provider.replica.client_id
        await ada.wait_for(lambda: list(ada.peers()) == [old])
        room.channels[1].cut()
        await agent.wait_for(lambda: agent.count(Synced) == 2)
        new = agent.provider.replica.client_id
        await ada.wait_for(lambda: list(ada.peers()) == [new])
        assert (old, None) in states(room.channels[2])


async def test_a_newcomer_is_told_at_once_that_the_agent_is_here(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room), Human.join(room.connect) as ada:
        await ada.wait_for(lambda: len(ada.peers()) == 1)


@pytest.mark.parametrize("garbage", [b"", b"\0", b"\0\2\5", b"\0\2\3\1\2\3", b"\2\3abc", b"\0\7\0"])
async def test_a_malformed_frame_leads_to_a_fresh_start(join: Join, garbage: bytes) -> None:
    async with InProcessRoom(["x"]) as room, join(room) as agent:
        before = agent.provider.replica
        room.channels[0].deliver(garbage)
        await agent.wait_for(lambda: agent.count(Synced) == 2)
        assert agent.provider.replica is not before
        await agent.provider.write(splice(0, 1, 1, "y"))
        assert room.sources() == ["xy"]


async def test_a_conflict_that_the_server_declares_leads_to_a_fresh_start(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room) as agent:
        room.say({"type": "conflict"})
        await agent.wait_for(lambda: agent.count(Synced) == 2)
        assert agent.sources() == ["x"]


async def test_what_was_not_sent_when_the_connection_broke_is_never_sent_from_the_old_replica(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room) as agent:
        room.say({"type": "conflict"})
        agent.provider.write_soon([InsertCell("new", 0, "code", "ghost")])
        await agent.wait_for(lambda: agent.count(Synced) == 2)
        assert room.sources() == agent.sources() == ["x"]


async def test_what_was_written_just_before_leaving_still_arrives(join: Join) -> None:
    async with InProcessRoom(["x"]) as room:
        async with join(room) as agent:
            for index in range(5):
                agent.provider.write_soon([InsertCell(f"new-{index}", 0, "code", str(index))])
            await anyio.lowlevel.checkpoint()  # the sender is in the middle of it
        await room.wait_for(lambda: room.sources() == ["4", "3", "2", "1", "0", "x"])


@pytest.mark.parametrize("status", ["success", "skipped", "failed"])
async def test_the_servers_word_on_a_save_is_passed_on(join: Join, status: str) -> None:
    async with InProcessRoom(["x"]) as room, join(room) as agent:
        room.save_status = status
        assert await agent.provider.request_save() == status
        assert await agent.provider.request_save() == status
        assert room.saves == [1, 2]


async def test_a_save_without_an_answer_fails(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room) as agent:
        room.save_status = None
        with pytest.raises(SaveFailed):
            await agent.provider.request_save()


async def test_somebody_elses_typing_is_told_while_the_agent_writes(join: Join) -> None:
    async with InProcessRoom(["ab"]) as room, Human.join(room.connect) as ada, join(room) as agent:
        room.hold()
        await ada.type(0, "é😀", at=1)
        agent.provider.write_soon(splice(0, 2, 2, "!")(agent.provider.replica))  # has not seen Ada's typing
        room.release()
        await agent.wait_for(lambda: agent.sources() == ["aé😀b!"])
        await ada.wait_for(lambda: ada.sources() == ["aé😀b!"])
        changes = [event.change for event in agent.events if isinstance(event, Changed)]
        assert {client for change in changes for client in change.clients} == {ada.client_id}
        assert {cell for change in changes for cell in change.edited} == {ada.ids()[0]}


async def test_waiting_for_the_room_ends_when_it_is_back(join: Join) -> None:
    async with InProcessRoom(["x"]) as room, join(room) as agent:
        with anyio.fail_after(5):
            await agent.provider.wait_joined()
            room.cut()
            await agent.wait_for(lambda: agent.count(Synced) == 2)
            await agent.provider.wait_joined()
        assert agent.provider.connected


def test_errors_of_a_lost_room_name_the_next_call() -> None:
    provider = RoomProvider(InProcessRoom().connect, lambda _: None, Limits())
    with pytest.raises(CollabAgentError, match="call again"):
        _ = provider.replica
