"""Kernels that are not Python's: R (Debian's r-cran-irkernel) and TypeScript (tslab, from npm)."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import anyio
import pytest

from collab_agent.config import Server
from collab_agent.kernel.client import KernelClient
from tests import npm

from .conftest import DEADLINE_S, McpAgent, Rest

TSLAB = Path(__file__).parents[1] / "tslab"
R_CODE = """\
sales <- data.frame(month = c("a", "b"), revenue = c(900, 935))
x <- c(1.5, 2, 3, 4, 5, 6)
grid <- matrix(1:6, 2)
kind <- factor(c("u", "v"))
words <- list("one", 2)
clean <- function(frame) frame
makeActiveBinding("now", function() stop("a binding was evaluated"), globalenv())
length.hostile <- function(x) stop("a method was called")
hostile <- structure(list(1, 2), class = "hostile")
print(nrow(sales))
message("careful")
plot(1)
sales
"""


@pytest.fixture
def r(jupyter: Server) -> str:
    """A new path for a notebook in R."""
    if shutil.which("R") is None or not Path("/usr/share/jupyter/kernels/ir").is_dir():
        pytest.fail("R's kernel is needed: apt-get install r-cran-irkernel")
    return f"r-{uuid.uuid4().hex[:8]}.ipynb"


@pytest.fixture
def typescript(jupyter: Server, jupyter_env: dict[str, str]) -> str:
    """A new path for a notebook in TypeScript; installs the kernel."""
    node = npm.install(TSLAB)
    spec = Path(jupyter_env["JUPYTER_PATH"]) / "kernels" / "tslab"
    spec.mkdir(parents=True, exist_ok=True)
    program = str(TSLAB / "node_modules" / "tslab" / "bin" / "tslab")
    argv = [node, program, "kernel", "--config-path", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "TypeScript", "language": "typescript"}), "utf-8"
    )
    assert jupyter.root_dir is not None
    folder = Path(jupyter.root_dir) / "typescript"
    if not folder.exists():  # where the compiler looks for the types of console
        folder.mkdir()
        (folder / "node_modules").symlink_to(TSLAB / "node_modules")
    return f"typescript/{uuid.uuid4().hex[:8]}.ipynb"


async def test_r_runs_and_its_variables_are_told_without_calling_a_method(mcp_agent: McpAgent, r: str) -> None:
    await mcp_agent.setup(r, kernel="ir")

    ran = await mcp_agent.run(edits=[{"op": "insert", "source": R_CODE}], wait_s=DEADLINE_S)
    assert " [1] ok " in ran.text
    assert "[1] 2" in ran.text
    assert "careful" in ran.text
    assert "935" in ran.text
    assert len(ran.images) == 1

    told = await mcp_agent.query("variables")
    assert told.text.splitlines() == [
        "7 variables",
        "grid: integer 2 x 3: 1, 2, 3, 4, 5, …",
        "hostile: hostile, 2 long",
        "kind: factor, 2 long",
        "now: active binding",
        "sales: data.frame 2 x 2: month character, revenue double",
        "words: list, 2 long",
        "x: double, 6 long: 1.5, 2, 3, 4, 5, …",
        "functions: clean, length.hostile",
    ]
    some = await mcp_agent.query("variables", pattern="^s")
    assert some.text.splitlines()[0] == "1 variable matching '^s'"

    # The count is as it was.
    again = await mcp_agent.run(edits=[{"op": "insert", "source": "stop('no')"}], wait_s=DEADLINE_S)
    assert " [2] error " in again.text
    assert "no" in again.text


async def test_r_inspects_and_says_what_it_cannot_do(mcp_agent: McpAgent, r: str) -> None:
    await mcp_agent.setup(r, kernel="ir")

    documented = await mcp_agent.query("inspect", pattern="nchar")
    assert "Count the Number of Characters" in documented.text
    refused = await mcp_agent.refused("execute_notebook_code", action="install", packages=["ggplot2"])
    assert "Packages can be installed into Python kernels only; this is a r kernel. Nothing was" in refused.text


async def test_r_says_that_it_is_busy_and_with_whom(
    mcp_agent: McpAgent, r: str, jupyter: Server, page: Rest, tmp_path: Path
) -> None:
    await mcp_agent.setup(r, kernel="ir")
    flag = tmp_path / "flag"
    (session,) = await page.sessions(r)
    async with KernelClient.connect(jupyter, session["kernel"]["id"], username="Ada") as ada:
        over, begun = anyio.Event(), anyio.Event()
        client = mcp_agent.peer().kernel
        assert client is not None
        client.on_foreign(lambda _event: begun.set())
        msg_id = ada.send_execute(
            f"while (!file.exists('{flag}')) Sys.sleep(0.05)",
            on_message=lambda _event: over.set() if ada.execution(msg_id).over else None,
        )
        with anyio.fail_after(DEADLINE_S):
            await begun.wait()

        for asked in ({"query": "variables"}, {"query": "inspect", "pattern": "nchar"}):
            told = await mcp_agent.query(**asked)
            assert told.text.startswith("the kernel is busy with code of Ada and cannot be asked meanwhile")

        flag.touch()
        with anyio.fail_after(DEADLINE_S):
            await over.wait()
    assert "Characters" in (await mcp_agent.query("inspect", pattern="nchar")).text


async def test_code_aside_in_r_shows_its_output_and_is_not_counted(mcp_agent: McpAgent, r: str) -> None:
    await mcp_agent.setup(r, kernel="ir")

    aside = await mcp_agent.run(code="y <- 2\nprint('seen')\ny * 21", wait_s=DEADLINE_S)

    assert "seen" in aside.text
    assert "42" in aside.text
    assert "y: double, 1 long: 2" in (await mcp_agent.query("variables")).text
    counted = await mcp_agent.run(edits=[{"op": "insert", "source": "y"}], wait_s=DEADLINE_S)
    assert " [1] ok " in counted.text


async def test_typescript_runs_and_inspects_and_says_what_it_cannot_do(mcp_agent: McpAgent, typescript: str) -> None:
    await mcp_agent.setup(typescript, kernel="tslab")
    source = "const doubled = [1, 2].map(x => 2 * x);\nconsole.log('hello');\ndoubled"
    ran = await mcp_agent.run(edits=[{"op": "insert", "source": source}], wait_s=DEADLINE_S)
    assert " [1] ok " in ran.text
    assert "hello" in ran.text
    assert "[ 2, 4 ]" in ran.text
    aside = await mcp_agent.run(code="let z = 3; z * 5", wait_s=DEADLINE_S)
    assert "15" in aside.text
    assert "the typescript kernel may count code aside, too" in aside.text
    failed = await mcp_agent.run(edits=[{"op": "insert", "source": "throw new Error('no');"}], wait_s=DEADLINE_S)
    assert " error " in failed.text

    assert "const doubled: number[]" in (await mcp_agent.query("inspect", pattern="doubled")).text
    refused = await mcp_agent.refused("query_notebook", query="variables")
    assert "A typescript kernel has no way to list its variables" in refused.text
    refused = await mcp_agent.refused("execute_notebook_code", action="install", packages=["six"])
    assert "this is a typescript kernel" in refused.text
