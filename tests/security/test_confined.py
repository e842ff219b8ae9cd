"""Where an agent may go and what it may do there, on the real server, through every tool and below the tools."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collab_agent.config import Server
from collab_agent.errors import NotAllowed
from collab_agent.peer import NotebookPeer
from collab_agent.policy import Policy
from collab_agent.testing import Human
from tests.conftest import notebook_json
from tests.integration.conftest import McpAgent, Notebook, Rest, mcp_agent_on

from .conftest import ADA, remote, served


def escapes(outside: Path) -> list[str]:
    """Ways to name a notebook in a folder beside the server's root."""
    up = f"../{outside.name}/secret.ipynb"
    return [
        str(outside / "secret.ipynb"),
        f"file://{outside}/secret.ipynb",
        up,
        f"./{up}",
        f"x/../{up}",
        up.replace("..", "%2e%2e"),
        up.replace("..", "%252E%252e"),
        up.replace("/", "%2f"),
        up.replace("/", "\\"),
        up.replace("/", "%5c"),
        f"..\\{outside.name}\\secret",
        f"{up}\0.ipynb",
        f"{up}%00",
        f"a\n/{up}",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "~/secret.ipynb",
        "C:\\secret.ipynb",
        "RTC:secret.ipynb/../../etc/passwd",
    ]


@pytest.fixture
def outside(jupyter: Server) -> Iterator[Path]:
    """A folder beside the server's root, with a notebook in it."""
    assert jupyter.root_dir is not None
    folder = Path(jupyter.root_dir).parent / "outside-the-root"
    folder.mkdir()
    (folder / "secret.ipynb").write_text(json.dumps(notebook_json(["'s3cr3t'"])))
    yield folder
    shutil.rmtree(folder)


async def test_no_tool_leaves_the_root_by_any_name(jupyter: Server, outside: Path) -> None:
    before = (outside / "secret.ipynb").read_bytes()
    async with mcp_agent_on(jupyter) as agent:
        for path in escapes(outside):
            calls = (
                agent.refused("setup_notebook", notebook_path=path),
                agent.refused("query_notebook", notebook_path=path),
                agent.refused("modify_notebook_cells", notebook_path=path, edits=[{"op": "insert", "source": "1"}]),
                agent.refused("execute_notebook_code", notebook_path=path, code="1"),
            )
            for call in calls:
                text = (await call).text
                assert "is no notebook path" in text, (path, text)
                assert "\0" not in text
        assert agent.agent.open_paths == []
    assert (outside / "secret.ipynb").read_bytes() == before
    assert os.listdir(outside) == ["secret.ipynb"]


async def test_a_link_leads_where_the_server_lets_it_and_a_broken_one_nowhere(
    jupyter: Server, outside: Path, page: Rest
) -> None:
    """A link is the user's own: the server follows it, and the agent goes no further than the server."""
    assert jupyter.root_dir is not None
    link, broken = Path(jupyter.root_dir) / "link.ipynb", Path(jupyter.root_dir) / "broken.ipynb"
    link.symlink_to(outside / "secret.ipynb")
    broken.symlink_to(outside / "nothing" / "there.ipynb")
    try:
        answer = await page.client.get("api/contents/link.ipynb")
        async with mcp_agent_on(jupyter, policy=Policy(allow=("work/*.ipynb",))) as agent:
            await agent.refused("setup_notebook", notebook_path="link.ipynb")
        async with mcp_agent_on(jupyter, policy=Policy(no_run=True)) as agent:
            opened = await agent.call("setup_notebook", notebook_path="link.ipynb")
            assert opened.is_error is not answer.is_success, opened.text
            await agent.refused("setup_notebook", notebook_path="broken.ipynb")
    finally:
        link.unlink()
        broken.unlink()
    assert not (outside / "nothing").exists()


OPS: tuple[dict[str, Any], ...] = (
    {"op": "insert", "source": "1"},
    {"op": "replace", "cell": "first", "old": "x", "new": "y"},
    {"op": "write", "cell": "first", "source": "1"},
    {"op": "delete", "cell": "first", "force": True},
    {"op": "move", "cell": "first", "after": "last", "force": True},
    {"op": "retype", "cell": "first", "type": "raw", "force": True},
    {"op": "split", "cell": "first", "line": 2, "force": True},
    {"op": "merge", "cell": "first", "force": True},
    {"op": "clear", "cells": "all"},
    {"op": "undo", "force": True},
    {"op": "redo", "force": True},
    {"op": "restore", "force": True},
)
RUNS: tuple[dict[str, Any], ...] = (
    {"cells": "all"},
    {"code": "open('trace', 'w')"},
    {"edits": [{"op": "insert", "source": "1"}]},
    {"action": "restart"},
    {"action": "install", "packages": ["six"]},
    {"action": "install", "packages": ["six"], "record": True},
)
LOOKS: tuple[dict[str, Any], ...] = ({"query": "variables"}, {"query": "inspect", "pattern": "x"})

Call = Callable[..., Awaitable[Any]]


async def everything_forbidden(call: Call, policy: Policy) -> None:
    """Every way to write and to run that the policy forbids is refused in so many words."""
    told = [await call("execute_notebook_code", **each) for each in RUNS]
    told += [await call("query_notebook", **each) for each in LOOKS]
    if policy.read_only:
        told += [await call("modify_notebook_cells", edits=[op]) for op in OPS]
        told += [await call("modify_notebook_cells", edits=[op], suggest="an idea") for op in OPS[:3]]
        told.append(await call("setup_notebook", action="save"))
    for each in told:
        assert each.is_error, each.text
        assert "This agent may" in each.text, each.text
        assert "Nothing was" in each.text, each.text
    for idle in ("interrupt", "reply"):
        answer = await call("execute_notebook_code", action=idle, reply="x")
        assert answer.is_error or "nothing was" in answer.text, answer.text


@pytest.fixture(params=[Policy(read_only=True), Policy(no_run=True)], ids=["read-only", "no-run"])
def policy(request: pytest.FixtureRequest) -> Policy:
    """Each mode."""
    found = request.param
    assert isinstance(found, Policy)
    return found


async def _below(peer: NotebookPeer, agent: McpAgent, policy: Policy) -> None:
    calls: list[Awaitable[Any]] = [
        peer.run_cells([peer.view.cells[0].id]),
        peer.run_aside("1"),
        peer.restart_kernel(),
        peer.ensure_kernel("python3"),
    ]
    if policy.read_only:
        calls += [peer.edit([op]) for op in OPS]
        calls += [peer.save(), agent.agent.suggestions(peer).suggest("an idea", [OPS[0]])]
    for call in calls:
        with pytest.raises(NotAllowed):
            await call


async def test_a_mode_holds_for_every_way_through_the_tools_and_below_them(
    policy: Policy, jupyter: Server, notebook: Notebook, page: Rest
) -> None:
    path = await notebook(["x = 1\nx", "x"])
    kernels = len(await page.send("GET", "api/kernels"))
    async with Human.join_server(jupyter, path) as human, mcp_agent_on(jupyter, policy=policy) as agent:
        await agent.setup(path, kernel="python3")
        before = human.document()
        await everything_forbidden(agent.call, policy)
        await _below(agent.peer(), agent, policy)
        assert [cell["source"] for cell in human.document()["cells"]] == [cell["source"] for cell in before["cells"]]
        assert [cell.get("outputs") for cell in human.document()["cells"]] == [
            cell.get("outputs") for cell in before["cells"]
        ]
    assert len(await page.send("GET", "api/kernels")) == kernels


async def test_a_mode_holds_for_clients_over_http_too(
    policy: Policy, jupyter: Server, notebook: Notebook, environment: dict[str, str], secrets: Path
) -> None:
    inside, elsewhere = await notebook(["x = 1\nx", "x"]), await notebook(["y"])
    options = ("--http-token-file", str(secrets), f"--{policy.label}", "--allow", inside)
    async with served(environment, *options) as agents, remote(agents.url, ADA) as client:
        refused = await client.call("setup_notebook", notebook_path=elsewhere)
        assert refused.is_error
        assert "This agent may work in" in refused.text
        assert f"you are: Goose ({policy.label})" in (await client.call("setup_notebook", notebook_path=inside)).text
        await everything_forbidden(client.call, policy)


async def test_requirements_reach_no_shell_no_option_and_no_address(
    jupyter: Server, notebook: Notebook, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    path = await notebook(["1"])
    async with mcp_agent_on(jupyter) as agent:
        await agent.setup(path)
        for bad in (
            f"six; touch {trace}",
            f"six && touch {trace}",
            f"$(touch {trace})",
            f"`touch {trace}`",
            f"six\ntouch {trace}",
            "--index-url=http://127.0.0.1:1/simple",
            "-r/etc/passwd",
            "-e.",
            "git+https://evil.example/x.git",
            "x @ https://evil.example/x.whl",
            "https://evil.example/x.whl",
            "./x.whl",
            "../x",
            f"six[{trace}]",
            "six==1.0 --pre",
            "s\u0456x",
        ):
            refused = await agent.refused("execute_notebook_code", action="install", packages=[bad])
            assert "was refused" in refused.text, bad
        assert agent.peer().runs.all == [], "no installer was started"
    assert not trace.exists()
