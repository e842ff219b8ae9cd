"""Installing into the kernel's own environment, from wheels made here, so that no index is needed."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import uuid
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from uv import find_uv_bin

from .conftest import DEADLINE_S, McpAgent, Notebook


@dataclass(frozen=True)
class Wheels:
    """A folder of wheels of one package, whose name nobody else has."""

    folder: Path
    name: str

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    def add(self, version: str, needs: str = "") -> None:
        """A wheel of this version; ``needs`` is another requirement."""
        info = f"{self.module}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {version}\n" + (
            f"Requires-Dist: {needs}\n" if needs else ""
        )
        files = {
            f"{self.module}.py": f"version = {version!r}\n",
            f"{info}/METADATA": metadata,
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
        with zipfile.ZipFile(self.folder / f"{self.module}-{version}-py3-none-any.whl", "w") as wheel:
            for name, text in [*files.items(), (f"{info}/RECORD", record)]:
                wheel.writestr(name, text)

    def setting(self) -> str:
        """Code that has pip in the kernel find these wheels and nothing else, and leaves it a shell, but no uv."""
        bin_folder = self.folder / "bin"
        bin_folder.mkdir(exist_ok=True)
        (bin_folder / "sh").symlink_to("/bin/sh")
        here = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.folder), "PIP_CONFIG_FILE": os.devnull}
        here |= {"PATH": str(bin_folder), "SHELL": "sh"}
        return f"import os\nos.environ.update({here!r})\ndel os"


@pytest.fixture
def wheels(tmp_path: Path) -> Iterator[Wheels]:
    """Version 1.0 of a package of its own; what was installed of it is gone afterwards."""
    made = Wheels(tmp_path / "wheels", f"collab-agent-probe-{uuid.uuid4().hex[:8]}")
    made.folder.mkdir()
    made.add("1.0")
    yield made
    command = [sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet", made.name]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)


async def opened(agent: McpAgent, own_notebook: Notebook, code: str) -> str:
    """A notebook on a kernel of its own, where this code was run aside."""
    path = await own_notebook()
    await agent.setup(path)
    assert " ok " in (await agent.run(code=code)).text
    return path


async def install(agent: McpAgent, *packages: str, record: bool = False) -> list[str]:
    """``action="install"``; the lines of the answer, without how long it took."""
    answer = await agent.run(action="install", packages=list(packages), record=record, wait_s=DEADLINE_S)
    head, *rest = answer.body.splitlines()
    assert head.startswith("run ")
    return [head.split(" [ ] ")[1].split()[0], *rest]


async def test_installs_verifies_and_says_whether_a_restart_is_needed(
    mcp_agent: McpAgent, own_notebook: Notebook, wheels: Wheels
) -> None:
    await opened(mcp_agent, own_notebook, wheels.setting())

    assert await install(mcp_agent, f"{wheels.name}==1.0") == [
        "ok",
        f"{wheels.name} 1.0 (installed, verified)",
        "no restart needed",
    ]
    assert await install(mcp_agent, wheels.name) == [
        "ok",
        f"{wheels.name} 1.0 (was there already, verified)",
        "no restart needed",
    ]
    assert "'1.0'" in (await mcp_agent.run(code=f"import {wheels.module}\n{wheels.module}.version")).text
    wheels.add("2.0")
    assert await install(mcp_agent, f"{wheels.name}>=2") == [
        "ok",
        f"{wheels.name} 2.0 (was 1.0, verified)",
        f"restart needed: the kernel has imported {wheels.name} 1.0",
    ]
    assert [cell.source for cell in mcp_agent.peer().view.cells] == [""]


async def test_leaves_no_name_and_no_count_behind(mcp_agent: McpAgent, own_notebook: Notebook, wheels: Wheels) -> None:
    await opened(mcp_agent, own_notebook, wheels.setting() + "\nlist = print = 3")
    past = "(get_ipython().execution_count, sorted(In), sorted(Out), sorted(globals()))"
    before = (await mcp_agent.run(code=past)).text.splitlines()[1:]

    assert (await install(mcp_agent, wheels.name))[0] == "ok"

    assert (await mcp_agent.run(code=past)).text.splitlines()[1:] == before


async def test_record_adds_a_visible_cell_that_was_not_run(
    mcp_agent: McpAgent, own_notebook: Notebook, wheels: Wheels
) -> None:
    await opened(mcp_agent, own_notebook, wheels.setting())

    told = await install(mcp_agent, f"{wheels.name}>=1,<2", record=True)

    _, cell = mcp_agent.peer().view.cells
    assert cell.source == f"%pip install {shlex.quote(f'{wheels.name}<2,>=1')}"
    assert cell.execution_count is None
    assert told[-1].endswith(f"{cell.source} (not run)")
    assert "error" not in (await mcp_agent.run(cells="all")).text
    assert await install(mcp_agent, "no-such-thing-anywhere", record=True)
    assert len(mcp_agent.peer().view.cells) == 2


async def test_a_failing_install_says_why_in_three_lines(
    mcp_agent: McpAgent, own_notebook: Notebook, wheels: Wheels
) -> None:
    await opened(mcp_agent, own_notebook, wheels.setting())

    state, head, *why = await install(mcp_agent, f"{wheels.name}>=9")

    assert (state, head) == ("error", "not installed:")
    assert 1 <= len(why) <= 3
    assert f"{wheels.name}>=9" in "\n".join(why)


async def test_says_what_to_do_where_there_is_no_pip(
    mcp_agent: McpAgent, own_notebook: Notebook, wheels: Wheels, tmp_path: Path
) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    await opened(mcp_agent, own_notebook, f"{wheels.setting()}\nimport sys\nsys.executable = {str(python)!r}")

    told = await install(mcp_agent, wheels.name)

    assert told[:2] == ["error", "not installed:"]
    assert told[2].endswith("has no pip, and there is no uv")
    assert told[3] == f"ask the human to run: {python} -m ensurepip --upgrade"


async def test_takes_uv_where_the_machine_has_it(
    mcp_agent: McpAgent, own_notebook: Notebook, wheels: Wheels, tmp_path: Path
) -> None:
    real, log = find_uv_bin(), tmp_path / "log"
    offline = wheels.setting()
    uv = wheels.folder / "bin" / "uv"  # the real one; only that it was called is noted
    uv.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {log}\nexec {real} "$@"\n')
    uv.chmod(uv.stat().st_mode | stat.S_IEXEC)
    where = {"UV_FIND_LINKS": str(wheels.folder), "UV_NO_INDEX": "1", "UV_NO_CONFIG": "1"}
    await opened(mcp_agent, own_notebook, f"{offline}\nimport os\nos.environ.update({where!r})")

    assert (await install(mcp_agent, f"{wheels.name}>=1"))[1] == f"{wheels.name} 1.0 (installed, verified)"
    called = log.read_text().splitlines()
    assert called[:2] == ["pip", "install"]
    assert called[-3:] == ["--python", sys.executable, f"{wheels.name}>=1"]

    state, head, *why = await install(mcp_agent, f"{wheels.name}>=9")
    assert (state, head) == ("error", "not installed:")
    assert 1 <= len(why) <= 3
    assert wheels.name in "\n".join(why)


@pytest.mark.parametrize(
    "package",
    [
        "--index-url=http://evil.example",
        "-r requirements.txt",
        "https://evil.example/x.whl",
        "six @ https://evil.example/six.whl",
        "git+https://evil.example/six",
        "./six",
        "/tmp/six.whl",
        "six; touch /tmp/pwned",
        "six && touch /tmp/pwned",
        "$(touch /tmp/pwned)",
        "six six",
        "six\n--pre",
        "",
        7,
    ],
)
async def test_refuses_all_but_names_and_versions(mcp_agent: McpAgent, own_notebook: Notebook, package: object) -> None:
    await mcp_agent.setup(await own_notebook())

    refused = await mcp_agent.refused("execute_notebook_code", action="install", packages=["six", package])

    assert "Nothing was installed." in refused.text
    assert mcp_agent.peer().runs.all == []
