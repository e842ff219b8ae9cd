"""The REST client against a real server."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest

from collab_agent.config import Server
from collab_agent.errors import (
    CollabAgentError,
    NoKernel,
    NotebookNotFound,
    NotebookUnreadable,
    Unauthorized,
)
from collab_agent.jupyter.api import JupyterApi
from tests.conftest import notebook_json

NewNotebook = Callable[..., str]
STRANGE = "été #1 100%25 ?&+;=\"'/naïve 😀 & ü.ipynb"


@pytest.fixture
async def api(jupyter: Server) -> AsyncIterator[JupyterApi]:
    async with JupyterApi(jupyter) as api:
        yield api


@pytest.fixture
def root(jupyter: Server) -> Path:
    return Path(str(jupyter.root_dir))


@pytest.mark.parametrize("name", [STRANGE, "with space.ipynb", "%2e%2e.ipynb", "#.ipynb"])
async def test_a_strange_name_is_read_hashed_and_joined(
    api: JupyterApi, new_notebook: NewNotebook, root: Path, name: str
) -> None:
    path = new_notebook(["1 + 1"], name=f"{uuid.uuid4().hex}/{name}")
    await api.check_notebook(path)
    content = await api.read_notebook(path)
    assert content["cells"][0]["source"] == "1 + 1"
    assert await api.file_sha(path) == hashlib.sha256((root / path).read_bytes()).hexdigest()
    first, again = await api.open_session_rtc(path), await api.open_session_rtc(path)
    assert first == again
    assert first.room_id == f"json:notebook:{first.file_id}"


async def test_a_missing_notebook_is_not_found(api: JupyterApi, jupyter: Server) -> None:
    for server in (jupyter, Server(jupyter.url, jupyter.token)):
        async with JupyterApi(server) as each:
            with pytest.raises(NotebookNotFound, match="nowhere"):
                await each.check_notebook("nowhere.ipynb")
    with pytest.raises(NotebookNotFound):
        await api.read_notebook("nowhere.ipynb")
    with pytest.raises(NotebookNotFound):
        await api.file_sha("nowhere/at/all.ipynb")


@pytest.mark.parametrize(
    "text", ["", "{not json", "[]", "3", '{"a": 1}', '{"nbformat": 5, "cells": [], "metadata": {}}']
)
@pytest.mark.parametrize("local", [True, False])
async def test_a_broken_notebook_is_unreadable_with_and_without_the_disk(
    jupyter: Server, root: Path, text: str, local: bool
) -> None:
    path = f"broken-{uuid.uuid4().hex}.ipynb"
    (root / path).write_text(text)
    async with JupyterApi(jupyter if local else Server(jupyter.url, jupyter.token)) as api:
        with pytest.raises(NotebookUnreadable, match=path):
            await api.check_notebook(path)


@pytest.mark.parametrize("half", [b"", b'{"cells": [{"source": "\xc3'], ids=["emptied", "in the middle of a character"])
@pytest.mark.parametrize("local", [True, False])
async def test_a_file_that_is_just_being_written_is_left_to_its_writer(
    jupyter: Server, root: Path, half: bytes, local: bool
) -> None:
    """Asked for a notebook, the server itself would move it aside and put back what was there before."""
    path = f"written-{uuid.uuid4().hex}.ipynb"
    file, before = root / path, root / f".~{path}"  # as the server's own writing leaves them for a moment
    file.write_bytes(half)
    before.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}))
    whole = json.dumps(notebook_json(["1 + 1"]))
    async with JupyterApi(jupyter if local else Server(jupyter.url, jupyter.token)) as api:
        with pytest.raises(NotebookUnreadable, match=r"cannot be (read|opened)"):
            await api.check_notebook(path)
        with pytest.raises(NotebookUnreadable, match="cannot be read"):
            await api.notebook_on_disk(path)
        with pytest.raises(NotebookUnreadable, match="cannot be read"):
            await api.read_notebook(path)
        assert await api.untrusted_cells(path, 1_000) == (0, 0)
        assert file.read_bytes() == half
        assert before.exists()
        assert not (root / f"{path}.invalid").exists()
        file.write_text(whole)
        assert (await api.read_notebook(path))["cells"][0]["source"] == "1 + 1"
    before.unlink()


async def test_a_notebook_of_an_old_format_is_accepted(api: JupyterApi, root: Path) -> None:
    path = f"old-{uuid.uuid4().hex}.ipynb"
    (root / path).write_text('{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}')
    await api.check_notebook(path)
    assert (await api.read_notebook(path))["nbformat"] == 4


async def test_a_folder_and_another_file_are_no_notebooks(api: JupyterApi, root: Path) -> None:
    folder, file = f"folder-{uuid.uuid4().hex}.ipynb", f"text-{uuid.uuid4().hex}.txt"
    (root / folder).mkdir()
    (root / file).write_text("hello")
    with pytest.raises(NotebookUnreadable, match="is a folder"):
        await api.check_notebook(folder)
    with pytest.raises(NotebookUnreadable, match="not a notebook"):
        await api.check_notebook(file)


async def test_a_new_notebook_is_made_with_its_folders_and_never_twice(api: JupyterApi, root: Path) -> None:
    path = f"{uuid.uuid4().hex}/a b/{STRANGE}"
    assert await api.create_notebook(path, "python3")
    await api.check_notebook(path)
    made = json.loads((root / path).read_text("utf-8"))
    assert made["metadata"]["kernelspec"]["name"] == "python3"
    before = (root / path).read_bytes()
    assert not await api.create_notebook(path)
    assert (root / path).read_bytes() == before


async def test_a_notebook_below_a_file_or_with_an_unknown_kernel_is_not_made(api: JupyterApi, root: Path) -> None:
    file, folder = f"file-{uuid.uuid4().hex}", f"folder-{uuid.uuid4().hex}"
    (root / file).write_text("hello")
    with pytest.raises(CollabAgentError, match=file):
        await api.create_notebook(f"{file}/x.ipynb")
    with pytest.raises(NoKernel, match="python3"):
        await api.create_notebook(f"{folder}/x.ipynb", "cobol")
    assert not (root / folder).exists()


async def test_the_listing_walks_folders_and_says_when_it_stopped(api: JupyterApi, new_notebook: NewNotebook) -> None:
    top = uuid.uuid4().hex
    paths = [new_notebook([], name=f"{top}/{name}") for name in ("a.ipynb", "b c/d.ipynb", "b c/e/#.ipynb")]
    listing = await api.contents_listing(top)
    assert [file.path for file in listing.notebooks] == paths
    assert listing.complete
    assert all(file.size > 0 for file in listing.notebooks)
    assert not (await api.contents_listing(top, folders=1)).complete
    assert len((await api.contents_listing(top, notebooks=2)).notebooks) == 2
    assert not (await api.contents_listing(top, notebooks=2)).complete


async def test_a_session_is_started_once_and_then_taken(api: JupyterApi, new_notebook: NewNotebook) -> None:
    path = new_notebook(["1"], name=f"{uuid.uuid4().hex}/{STRANGE}")
    session = await api.ensure_session(path)
    try:
        assert (session.path, session.kernel.name) == (path, "python3")
        assert (await api.ensure_session(path, "no-such-kernel-but-there-is-a-session")).id == session.id
        assert [s.id for s in await api.sessions() if s.path == path] == [session.id]
        await api.interrupt(session.kernel.id)
        await api.restart(session.kernel.id)
    finally:
        await api.delete_session(session.id)
    await api.delete_session(session.id)
    for action in (api.interrupt, api.restart):
        with pytest.raises(NoKernel, match="gone"):
            await action(session.kernel.id)


async def test_the_session_that_a_human_starts_meanwhile_is_taken(api: JupyterApi, new_notebook: NewNotebook) -> None:
    path = new_notebook(["1"])
    taken: list[str] = []

    async def agent() -> None:
        taken.append((await api.ensure_session(path, "no-such-kernel", wait_s=30.0)).id)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent)
            human = await api.start_session(path, "python3")
    assert taken == [human.id]
    await api.delete_session(human.id)


async def test_an_unknown_kernel_is_refused_with_the_names_of_the_known(
    api: JupyterApi, new_notebook: NewNotebook
) -> None:
    path = new_notebook(["1"])
    for start in (api.ensure_session, api.start_session):
        with pytest.raises(NoKernel, match=r"It has: .*python3"):
            await start(path, "cobol")
    assert [s for s in await api.sessions() if s.path == path] == []


async def test_the_server_tells_of_itself(api: JupyterApi) -> None:
    status = await api.status()
    assert status.version == await api.version()
    assert status.started
    assert await api.has_collaboration()
    assert (await api.collaboration_version() or "").startswith("5.")
    specs = await api.kernelspecs()
    assert specs.pick(None).language == "python"


async def test_websocket_addresses_and_headers(api: JupyterApi, jupyter: Server) -> None:
    assert api.ws_url("/api/x?y=1") == jupyter.url.replace("http://", "ws://") + "api/x?y=1"
    assert JupyterApi(Server("https://hub.example/user/me/", "t")).ws_url("a") == "wss://hub.example/user/me/a"
    assert api.headers == {"Authorization": f"token {jupyter.token}"}


async def test_a_wrong_token_is_unauthorized_everywhere_and_never_shown(
    jupyter: Server, new_notebook: NewNotebook
) -> None:
    path = new_notebook(["1"])
    async with JupyterApi(Server(jupyter.url, "wr0ng-t0k3n", jupyter.root_dir)) as api:
        for call in (
            api.status,
            api.kernelspecs,
            api.sessions,
            lambda: api.check_notebook(path),
            lambda: api.read_notebook(path),
            lambda: api.open_session_rtc(path),
            lambda: api.ensure_session(path),
            lambda: api.create_notebook(f"{uuid.uuid4().hex}.ipynb"),
        ):
            with pytest.raises(Unauthorized) as caught:
                await call()
            assert "wr0ng-t0k3n" not in str(caught.value) + repr(caught.value) + repr(api)


async def test_without_a_token_it_is_unauthorized_too(jupyter: Server) -> None:
    async with JupyterApi(Server(jupyter.url, "")) as api:
        assert await api.version()
        with pytest.raises(Unauthorized, match="none is configured"):
            await api.status()
