"""At a JupyterHub an agent joins the server of the user whose token it has, and no other's."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp_types import Implementation

from collab_agent.config import Server, Settings
from collab_agent.doctor import diagnose
from collab_agent.errors import ServerRefused
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.discovery import find_server
from collab_agent.testing import Human
from tests.conftest import notebook_json
from tests.files import notebook_in
from tests.integration.conftest import Caller, agents_seen

from .conftest import Hub


@asynccontextmanager
async def goose_at(env: Mapping[str, str], url: str, token: str) -> AsyncIterator[Caller]:
    """``collab-agent`` as a client starts it, with the server in its environment."""
    own = {**env, "JUPYTER_URL": url, "JUPYTER_TOKEN": token}
    parameters = StdioServerParameters(command=sys.executable, args=["-m", "collab_agent"], env=own)
    async with Client(
        stdio_client(parameters), mode="legacy", client_info=Implementation(name="goose", version="1")
    ) as client:
        yield Caller(client)


def write(hub: Hub, user: str, name: str, *sources: str) -> Path:
    """A notebook in a user's home."""
    file = hub.homes / user / name
    file.write_text(json.dumps(notebook_json(sources)), "utf-8")
    return file


async def test_an_agent_with_its_users_token_works_on_that_users_server(hub: Hub, jupyter_env: dict[str, str]) -> None:
    write(hub, "ada", "own.ipynb", "x = 6")
    token = await hub.token("ada", "access:servers!server=ada/")
    hers = await hub.token("ada", "self")
    async with (
        Human.join_server(hub.server("ada", hers), "own.ipynb") as human,
        goose_at(jupyter_env, f"{hub.url}user/ada/lab/tree/own.ipynb", token) as goose,
    ):
        opened = await goose.call("setup_notebook", notebook_path="own.ipynb")
        assert not opened.is_error, opened.text
        assert "Ada" in opened.text
        await human.wait_for(lambda: [state["user"]["name"] for state in agents_seen(human)] == ["Goose"])
        await goose.call("modify_notebook_cells", edits=[{"op": "insert", "source": "x * 7"}])
        ran = await goose.call("execute_notebook_code", cells=["all"])
        assert "42" in ran.text
        await human.wait_for(lambda: human.sources() == ["x = 6", "x * 7"])
        await human.type(0, "0", 5)
        assert "x = 60" in (await goose.call("query_notebook", query="changes", wait_s=30)).text
        saved = await goose.call("setup_notebook", notebook_path="own.ipynb", action="save")
        assert not saved.is_error, saved.text


async def test_at_another_users_server_it_is_refused_and_told_what_to_do(hub: Hub, jupyter_env: dict[str, str]) -> None:
    file = write(hub, "bob", "his.ipynb", "secret = 1")
    before = file.read_bytes()
    token = await hub.token("ada", "self", "access:servers!user=ada")
    async with goose_at(jupyter_env, f"{hub.url}user/bob/", token) as goose:
        for path in ("his.ipynb", "new.ipynb"):
            refused = await goose.call("setup_notebook", notebook_path=path)
            assert refused.is_error
            assert "does not let this token in" in refused.text
            assert "the server of 'bob'" in refused.text
            assert "access:servers!server=bob/" in refused.text
            assert f"{hub.url}hub/token" in refused.text
            assert "secret" not in refused.text
            assert token not in refused.text
    assert file.read_bytes() == before
    assert not (hub.homes / "bob" / "new.ipynb").exists()


async def test_a_token_of_his_own_without_the_scope_opens_nothing(hub: Hub, jupyter_env: dict[str, str]) -> None:
    write(hub, "bob", "mine.ipynb", "x = 1")
    token = await hub.token("bob", "read:users!user=bob")
    async with goose_at(jupyter_env, f"{hub.url}user/bob/", token) as goose:
        assert "access:servers!server=bob/" in (await goose.call("setup_notebook", notebook_path="mine.ipynb")).text


@pytest.mark.parametrize("address", ["", "hub/", "hub/home"])
async def test_the_hubs_own_address_is_answered_with_what_the_users_would_be(hub: Hub, address: str) -> None:
    token = await hub.token("ada", "self")
    async with JupyterApi(Server(hub.url + address, token)) as api:
        with pytest.raises(ServerRefused, match=f"{hub.url}user/NAME/"):
            await api.create_notebook("new.ipynb")


async def test_inside_the_hub_the_users_own_server_is_found_without_any_configuration(hub: Hub) -> None:
    runtime = hub.homes / "ada" / ".local" / "share" / "jupyter" / "runtime"
    found = await find_server(Settings(), {"JUPYTER_RUNTIME_DIR": str(runtime)}, hub.homes / "ada")
    assert found is not None
    assert found.url.endswith("/jupyter/user/ada/")
    async with JupyterApi(found) as api:
        await api.status()


async def test_a_server_that_the_hub_has_stopped_is_told_and_rejoined_when_it_is_started_again(
    hub: Hub, jupyter_env: dict[str, str]
) -> None:
    file = write(hub, "bob", "culled.ipynb", "x = 1")
    token = await hub.token("bob", "access:servers!server=bob/")
    async with goose_at(jupyter_env, f"{hub.url}user/bob/", token) as goose:
        opened = await goose.call("setup_notebook", notebook_path="culled.ipynb")
        assert not opened.is_error, opened.text
        await goose.call("modify_notebook_cells", edits=[{"op": "insert", "source": "y = 2"}])
        await hub.stop("bob")
        opened = await goose.call("setup_notebook", notebook_path="culled.ipynb")
        assert opened.is_error
        assert "not running" in opened.text, opened.text
        assert f"{hub.url}hub/spawn/bob" in opened.text
        edited = await goose.call("modify_notebook_cells", edits=[{"op": "insert", "source": "z = 3"}])
        assert edited.is_error
        assert "not running" in edited.text, edited.text
        await hub.start("bob")
        opened = await goose.call("setup_notebook", notebook_path="culled.ipynb")
        assert not opened.is_error, opened.text
        ran = await goose.call(
            "execute_notebook_code", cells=["all"], edits=[{"op": "insert", "source": "print(x + y)"}]
        )
        assert not ran.is_error, ran.text
        saved = await goose.call("setup_notebook", notebook_path="culled.ipynb", action="save")
        assert not saved.is_error, saved.text
    cells = notebook_in(file)["cells"]
    assert ["".join(cell["source"]) for cell in cells] == ["x = 1", "y = 2", "print(x + y)"]


async def test_the_doctor_knows_what_a_token_needs_at_a_hub(hub: Hub, jupyter_env: dict[str, str]) -> None:
    token = await hub.token("ada", "self")
    own = await diagnose(Settings(hub.server("ada", token)), jupyter_env, hub.homes, listen_s=0)
    assert [finding.text for finding in own if not finding.ok] == []
    other = await diagnose(Settings(hub.server("bob", token)), jupyter_env, hub.homes, listen_s=0)
    assert "access:servers!server=bob/" in other[-1].remedy
