"""``collab-agent suggestions``, the real command on a real pseudo-terminal, and with lines for keys."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest

from collab_agent import cli
from collab_agent.config import Server
from collab_agent.testing import Human

from ..test_docs_transcripts import call_of
from .conftest import McpAgent, Notebook, fence

Env = dict[str, str]
DEADLINE_S = 40.0
LOOP = "total = 0\nfor item in items:\n    total += item\nprint(total)\n"
BETTER = "total = sum(items)\nprint(total)\n"
REWRITE = {"op": "write", "cell": "#1", "source": BETTER}
CHECK = {"op": "insert", "source": "check()\x1b[2J", "after": "#1"}
QUESTION = "[m]erge [d]rop [s]kip [q]uit? "


@pytest.fixture
def env(jupyter: Server, jupyter_env: Env) -> Env:
    """What the command is started with: the server is named, and the user has a name."""
    named = {"JUPYTER_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token, "TERM": "xterm", "LOGNAME": "ada"}
    return {name: value for name, value in jupyter_env.items() if name != "NO_COLOR"} | named


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "collab_agent", "suggestions", *arguments]


async def run(env: Env, *arguments: str, keys: str = "") -> tuple[int, str, str]:
    """Run the command without a terminal; its status, what it printed, and what it complained of."""
    with anyio.fail_after(DEADLINE_S):
        done = await anyio.run_process(command(*arguments), input=keys.encode(), env=env, check=False)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Terminal:
    """The command on a pseudo-terminal; ``shown`` is all that it has shown."""

    def __init__(self, fd: int, process: anyio.abc.Process) -> None:
        self._fd = fd
        self.process = process
        self.shown = ""
        self._read = 0

    async def shows(self, text: str) -> str:
        """Wait for a text behind all that was waited for before; what was shown up to its end."""
        with anyio.fail_after(DEADLINE_S):
            while text not in self.shown[self._read :]:
                await anyio.wait_readable(self._fd)
                try:
                    self.shown += os.read(self._fd, 65_536).decode()
                except OSError:
                    raise AssertionError(f"{text!r} was never shown: {self.shown}") from None
        begin = self._read
        self._read = self.shown.index(text, begin) + len(text)
        return self.shown[begin : self._read]

    async def press(self, keys: str) -> None:
        """Press keys, all at once, when the question is there."""
        await self.shows("uit? ")
        os.write(self._fd, keys.encode())

    def hang_up(self) -> None:
        """The terminal goes away."""
        os.dup2(os.open(os.devnull, os.O_RDWR), self._fd)

    async def ends(self) -> int:
        """The exit status."""
        with anyio.fail_after(DEADLINE_S):
            return await self.process.wait()


@asynccontextmanager
async def terminal(env: Env, *arguments: str) -> AsyncIterator[Terminal]:
    """The command on a pseudo-terminal of its own."""
    master, slave = pty.openpty()
    try:
        async with await anyio.open_process(
            command(*arguments), stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=env, start_new_session=True
        ) as process:
            os.close(slave)
            try:
                yield Terminal(master, process)
            finally:
                if process.returncode is None:
                    process.kill()
            assert process.stderr is not None
            complaints = b"".join([chunk async for chunk in process.stderr]).decode()
            assert "Traceback" not in complaints, complaints
    finally:
        os.close(master)


async def suggest(goose: McpAgent, path: str, *titled: tuple[str, dict[str, object]]) -> None:
    """Open a notebook, read it, and make a suggestion of each edit."""
    await goose.setup(path)
    await goose.query("cells")
    for title, edit in titled:
        await goose.edit(edit, suggest=title)


async def test_one_key_decides_each_on_a_terminal(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, env: Env
) -> None:
    path = await notebook([LOOP])
    await suggest(mcp_agent, path, ("Sum up", REWRITE), ("Check", CHECK), ("Later", {"op": "insert", "source": "late"}))
    async with Human.join_server(jupyter, path) as ada, terminal(env, path) as shell:
        first = await shell.shows("[s]kip")
        assert '"Sum up" by Goose, just now' in first
        assert "applies cleanly" in first
        assert "\x1b[36mcell #1 (code)\x1b[0m" in first
        assert "\x1b[31m-total = 0\x1b[0m" in first
        assert "\x1b[32m+total = sum(items)\x1b[0m" in first
        assert " print(total)" in first
        await shell.press("m")
        await shell.shows(f"merged into {path}")
        await ada.wait_for(lambda: ada.sources() == [BETTER])

        second = await shell.shows("[s]kip")
        assert "new code cell after cell #1" in second
        assert "+check()<U+001B>[2J" in second  # a notebook's text gives the terminal no commands
        await shell.press("\x1b[D")  # an arrow key ends in D, which is no answer
        await shell.press("mm")  # nor is what was pressed twice
        await shell.press("d")
        await shell.shows("dropped")
        assert '"Later"' in await shell.shows("[s]kip")
        await shell.press("s")
        assert await shell.ends() == 0
        heard = (await mcp_agent.query()).since
        assert 'suggestion "Sum up" was merged by ada; suggestion "Check" was dropped by ada' in heard
        await fence(mcp_agent, ada)
        assert ada.sources()[:-1] == [BETTER]
    assert '"Later"' in (await mcp_agent.query("suggestions")).text


async def test_lines_do_for_keys_where_there_is_no_terminal(mcp_agent: McpAgent, notebook: Notebook, env: Env) -> None:
    path = await notebook([LOOP])
    await suggest(mcp_agent, path, ("Sum up", REWRITE), ("Check", CHECK))
    status, shown, _ = await run(env, path, "--name", "Bob", keys="x\nm\nd\n")
    assert status == 0
    assert "\x1b" not in shown
    assert shown.index("applies cleanly") < shown.index(f"merged into {path}") < shown.index("dropped")
    heard = (await mcp_agent.query()).since
    assert 'suggestion "Sum up" was merged by Bob; suggestion "Check" was dropped by Bob; Bob (suggestions) ' in heard
    assert await run(env, path, keys="m\n") == (0, "no open suggestions\n", "")


async def test_listing_asks_nothing_and_changes_nothing(mcp_agent: McpAgent, notebook: Notebook, env: Env) -> None:
    path, other = await notebook([LOOP]), await notebook(["nothing here"])
    await suggest(mcp_agent, path, ("Sum up", REWRITE))
    for arguments in (["--list"], [path, "--list"]):
        status, shown, _ = await run(env, *arguments)
        assert status == 0
        assert f"{path}: " in shown
        assert other not in shown
        assert QUESTION not in shown
        assert "+total = sum(items)" in shown
    assert "Sum up" in (await mcp_agent.query("suggestions")).text
    assert await run(env, other) == (0, "no open suggestions\n", "")


async def test_a_refused_merge_is_told_and_the_suggestion_stays(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, env: Env
) -> None:
    path = await notebook([LOOP])
    async with Human.join_server(jupyter, path) as ada:
        await suggest(mcp_agent, path, ("Sum up", REWRITE))
        await ada.type(0, " * 2", at=LOOP.index("\nprint"))
        await fence(mcp_agent, ada)
        status, shown, _ = await run(env, path, keys="m\nq\n")
        assert status == 1
        assert "conflicts with what was changed since in cell #1" in shown
        assert "Nothing was written." in shown
        assert "total += item * 2" in shown
        assert ada.source(0) == LOOP.replace("+= item", "+= item * 2")
        assert "Sum up" in (await mcp_agent.query("suggestions")).text


@pytest.mark.parametrize("keys", ["m", "f"])
async def test_a_cell_with_somebodys_caret_is_merged_away_only_by_force(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, env: Env, keys: str
) -> None:
    path = await notebook([LOOP, "done = True"])
    async with Human.join_server(jupyter, path) as ada:
        await ada.place_caret(1, 0)
        await suggest(mcp_agent, path, ("Remove", {"op": "delete", "cell": "#2"}))
        status, shown, _ = await run(env, path, keys=f"\nf\nm\n{keys}\nq\n")
        assert "Ada's caret is in it" in shown
        assert "[m]erge [f]orce [d]rop [s]kip [q]uit? " in shown
        assert status == 1
        if keys == "f":
            await ada.wait_for(lambda: ada.sources() == [LOOP])
        else:
            assert ada.sources() == [LOOP, "done = True"]


WRONG: Sequence[tuple[list[str], dict[str, str], str]] = [
    (["missing.ipynb"], {}, "The server has no 'missing.ipynb'."),
    (["../outside.ipynb"], {}, "is no notebook path"),
    ([], {"JUPYTER_TOKEN": "wrong"}, "does not accept the token"),
    ([], {"JUPYTER_URL": "http://127.0.0.1:9/"}, "Nothing answers at"),
    ([], {"JUPYTER_URL": "", "JUPYTER_RUNTIME_DIR": "/nonexistent"}, "No running Jupyter server was found"),
]


@pytest.mark.parametrize(("arguments", "changed", "why"), WRONG)
async def test_an_error_is_a_line_or_two(env: Env, arguments: list[str], changed: dict[str, str], why: str) -> None:
    status, shown, complaint = await run(env | changed, *arguments, keys="m\n")
    assert (status, shown) == (1, "")
    assert why in complaint
    assert "wrong" not in complaint


async def test_control_c_leaves_the_terminal_as_it_was(mcp_agent: McpAgent, notebook: Notebook, env: Env) -> None:
    path = await notebook([LOOP])
    await suggest(mcp_agent, path, ("Sum up", REWRITE))
    async with terminal(env, path) as shell:
        before = termios.tcgetattr(shell._fd)
        await shell.shows(QUESTION)
        assert termios.tcgetattr(shell._fd) != before
        os.kill(shell.process.pid, signal.SIGINT)
        assert await shell.ends() == 130
        assert termios.tcgetattr(shell._fd) == before
    assert "Sum up" in (await mcp_agent.query("suggestions")).text


async def test_an_input_or_a_terminal_that_is_gone_decides_nothing(
    mcp_agent: McpAgent, notebook: Notebook, env: Env
) -> None:
    path = await notebook([LOOP])
    await suggest(mcp_agent, path, ("Sum up", REWRITE))
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *command(path)]
    with anyio.fail_after(DEADLINE_S):
        closed = await anyio.run_process(shell, env=env, check=False)
        assert (closed.returncode, closed.stderr) == (0, b"")
        assert b"Sum up" in closed.stdout
        piped = await anyio.run_process(["sh", "-c", '"$@" --list | true', "sh", *command(path)], env=env, check=False)
        assert piped.stderr == b""
    async with terminal(env, path) as shown:
        await shown.shows("[q]uit? ")
        shown.hang_up()
        assert await shown.ends() in (0, 1)
    assert "Sum up" in (await mcp_agent.query("suggestions")).text


PAGE = Path(__file__).parents[2] / "docs" / "suggestions.md"
NAMES = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{4,8}\b")
"""Short ids of cells and of suggestions."""


async def test_the_page_shows_what_a_model_and_a_human_get(
    mcp_agent: McpAgent, notebook: Notebook, env: Env, jupyter: Server
) -> None:
    call, question, told = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    path = await notebook(["total = 0\nfor item in items:\n    total += item\nprint(total)"])

    def alike(text: str) -> str:
        return NAMES.sub("ID", text.replace(path.removesuffix(".ipynb"), "loop"))

    await mcp_agent.setup(path)
    await mcp_agent.query("cells")
    asked, answer = call.split("\n", 1)
    tool, arguments = call_of(asked)
    assert alike((await mcp_agent.ok(tool, **arguments)).text) == alike(answer.strip())
    async with terminal({**env, "NO_COLOR": "1"}, path) as shell:
        shown = await shell.shows("[q]uit? ")
        os.write(shell._fd, b"m")
        shown += await shell.shows(f"merged into {path}")
        assert await shell.ends() == 0
    command_line, page = question.split("\n", 1)
    assert cli.parser().parse_args(command_line.split()[2:]).notebook == "loop.ipynb"
    assert alike(shown.replace("\r\n", "\n")) == alike(page.rstrip("\n"))
    await mcp_agent.hears(lambda: "sum(items)" in mcp_agent.peer().view.cells[0].source)
    assert alike((await mcp_agent.query()).since) == alike(told.strip())
