"""A peer that floods a room, or speaks in others' names: the agent stays itself, bounded, and able to answer."""

from __future__ import annotations

import anyio
import pytest

import collab_agent.server.tools
from collab_agent.config import Server
from collab_agent.jupyter.api import JupyterApi
from collab_agent.room.channel import websocket_channel
from collab_agent.room.codec import var_bytes
from collab_agent.room.presence import AGENT_KEY, MOST_OTHERS, MOST_STATE, Presence, decode, encode
from collab_agent.testing import Human
from tests.integration.conftest import DEADLINE_S, Notebook, mcp_agent_on

AWARENESS = b"\x01"
FLOOD = 2_000


def ghost(client: int, clock: int = 1, **more: object) -> bytes:
    """The awareness update of somebody who is not there."""
    return encode([(client, clock, {"user": {"name": f"Ghost {client}", "username": str(client)}, **more})])


def test_no_more_people_are_taken_in_than_a_room_can_hold_and_who_leaves_makes_room() -> None:
    presence = Presence(1)
    for client in range(2, 3 * MOST_OTHERS):
        presence.apply(ghost(client), 0.0)
    assert len(presence.others) == MOST_OTHERS
    assert not presence.apply(ghost(9_999_999), 1.0).added
    presence.expire(31.0)
    assert presence.apply(ghost(9_999_999), 31.0).added == {9_999_999}
    for client in range(10_000_000, 10_000_000 + 3 * MOST_OTHERS):
        presence.apply(ghost(client), 31.0)
    assert len(presence.others) == MOST_OTHERS
    assert 9_999_999 in presence.others


def test_a_state_of_megabytes_is_not_taken_in_and_the_others_of_its_frame_are() -> None:
    huge = {"user": {"name": "x" * MOST_STATE}}
    update = encode([(2, 1, huge), (3, 1, {"user": {"name": "Ada"}})])
    assert [client for client, _, _ in decode(update)] == [3]


@pytest.mark.parametrize("frames", ["people", "states", "edits"])
async def test_a_flood_neither_silences_the_agent_nor_fills_its_answers(
    frames: str, jupyter: Server, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collab_agent.server.tools, "PEOPLE_S", 0.0)  # here nobody is waited for
    path = await notebook(["x = 1"])
    async with mcp_agent_on(jupyter) as agent, JupyterApi(jupyter) as api:
        await agent.setup(path)
        session = await api.open_session_rtc(path)
        url = api.ws_url(f"api/collaboration/room/{session.room_id}?sessionId={session.session_id}")
        async with (
            Human.join_server(jupyter, path, name="Mallory") as mallory,
            websocket_channel(url, api.headers) as raw,
        ):

            async def flood() -> None:
                for number in range(FLOOD):
                    if frames == "edits":
                        await mallory.type(0, "y", 0)
                    else:
                        client = 1_000_000 + (number if frames == "people" else 0)
                        await raw.send(AWARENESS + var_bytes(ghost(client, number + 1, more="z" * 1_000)))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(flood)
                with anyio.fail_after(DEADLINE_S):
                    for _ in range(5):
                        answer = await agent.query("cells")
                        assert len(answer.text) <= 8_000
                        ran = await agent.run(code="6 * 7")
                        assert "42" in ran.text
            for query in ("people", "changes", "outline"):
                assert len((await agent.call("query_notebook", query=query)).text) <= 8_000
            assert len((await agent.setup(path)).text) <= 8_000


async def test_nobody_can_speak_in_the_agents_name_or_evict_it(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["x = 1"])
    async with mcp_agent_on(jupyter) as agent, JupyterApi(jupyter) as api, Human.join_server(jupyter, path) as ada:
        await agent.setup(path)
        session = await api.open_session_rtc(path)
        url = api.ws_url(f"api/collaboration/room/{session.room_id}?sessionId={session.session_id}")

        def goose() -> dict[int, str]:
            return {client: str(s["user"]["name"]) for client, s in ada.peers().items() if AGENT_KEY in s}

        await ada.wait_for(lambda: list(goose().values()) == ["Goose"])
        (client,) = goose()
        async with websocket_channel(url, api.headers) as mallory:
            for state in (None, {"user": {"name": "Mallory", "username": "m"}, AGENT_KEY: {"since": 0}}):
                clock = 1_000 if state is None else 2_000
                await mallory.send(AWARENESS + var_bytes(encode([(client, clock, state)])))
                await ada.wait_for(lambda: "Mallory" not in goose().values() and "Goose" in goose().values())
            assert "x = 1" in (await agent.query("cells")).text
