"""The notebooks that are open: whether pages trust them, and whether somebody has one open as text, too."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from collab_agent.doctor.finding import Finding
from collab_agent.doctor.server import Patient
from collab_agent.errors import CollabAgentError, RemoteProtocolError
from collab_agent.host import GLOBAL_ROOM, editor_of
from collab_agent.notebook.plain import inline
from collab_agent.room.channel import websocket_channel
from collab_agent.room.codec import Reader
from collab_agent.room.presence import Presence
from collab_agent.room.protocol import AWARENESS

if TYPE_CHECKING:
    from collab_agent.room.channel import Channel

LISTEN_S = 16.0
"""A page where nothing happens announces itself only every 15 s (rtc facts, section 4)."""
_PROBE_S = 5.0
_MOST = 20
_MOST_BYTES = 20_000_000


async def rooms(patient: Patient, listen_s: float) -> tuple[Finding, Mapping[str, str]]:
    """Whether websockets get through, and who has which file open as text: file -> name.

    The presence room is joined without a presence of our own, so that nobody sees the doctor.
    """
    api = patient.api
    url = api.ws_url(f"api/collaboration/room/{GLOBAL_ROOM}")
    heard: dict[str, str] = {}
    try:
        with anyio.fail_after(_PROBE_S + listen_s):
            async with websocket_channel(url, api.headers, api.limits, tls=api.tls) as channel:
                with anyio.fail_after(_PROBE_S):
                    await channel.receive()
                with anyio.move_on_after(listen_s):
                    await _listen(channel, heard)
    except (CollabAgentError, TimeoutError) as error:
        why = error.message if isinstance(error, CollabAgentError) else "nothing came through it."
        return Finding(
            "BAD",
            f"The collaboration rooms' websocket does not open: {why} A proxy in front of the server may not pass "
            "websockets on.",
            "let it pass /api/collaboration/ and /api/kernels/ with their Upgrade header",
        ), {}
    return Finding("ok", "The collaboration rooms can be joined."), heard


async def _listen(channel: Channel, heard: dict[str, str]) -> None:
    presence = Presence(client_id=1)
    while True:
        reader = Reader(await channel.receive())
        with suppress(RemoteProtocolError):  # what a peer says of itself is handed on unread
            if reader.var_uint() == AWARENESS:
                presence.apply(reader.var_bytes(), anyio.current_time())
            heard.update(filter(None, (editor_of(client, state) for client, state in presence.others.items())))


async def open_paths(patient: Patient) -> list[str]:
    """The notebooks that have a kernel: somebody may be at them."""
    return sorted({each.path for each in await patient.api.sessions() if each.type == "notebook"})


def as_text(paths: list[str], editors: Mapping[str, str]) -> list[Finding]:
    """The notebooks that somebody has before them in a text editor."""
    return [
        Finding(
            "BAD" if path in paths else "note",
            f"{inline(who, 40)} has {inline(path, 200)} open as text: the editor and the notebook are two documents, "
            "which overwrite each other on disk. Reading works.",
            "close the text editor's tab, without saving",
        )
        for path, who in sorted(editors.items())
        if path.endswith(".ipynb")
    ]


async def trust(patient: Patient, paths: list[str]) -> list[Finding]:
    """The open notebooks some of whose code cells pages do not trust."""
    found = []
    for path in paths[:_MOST]:
        try:
            untrusted, cells = await patient.api.untrusted_cells(path, _MOST_BYTES)
        except CollabAgentError:
            continue  # it was deleted, or is none
        if untrusted:
            root = patient.server.root_dir
            file = shlex.quote(path if root is None else f"{root.rstrip('/')}/{path}")
            found.append(
                Finding(
                    "note",
                    f"{inline(path, 200)} is not trusted ({untrusted} of {cells} code cells): pages show no scripts or "
                    "widgets, and only harmless HTML, in these cells. All else works, and the agent's own new "
                    "cells are shown in full.",
                    "look through it, then: Trust Notebook, in the page's command palette; or, while it is closed, "
                    + patient.jupyter(f"trust {file}", then="open it anew"),
                )
            )
    return found
