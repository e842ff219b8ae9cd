"""Real notebooks, run through the tools on the real server: the saved file has the outputs that nbclient gets.

The notebooks are what others ship (``tests/fetch_notebooks.py``).  Taken are those that run offline within seconds on
what the test extra installs, and give the same outputs whenever they are run:

* nbclient's and nbconvert's own test files are about the protocol: cleared outputs, updated displays, errors, widgets,
  SVG and PNG and JPEG, raw cells, Unicode, cells without code.  Left out are those that ask for input, kill or
  interrupt their kernel, need another notebook at their side, or look for the switches that nbclient gives its kernel.
  ``Output`` is held against what nbclient has stored in it, because nbclient itself often does not come to the end of
  it (https://github.com/jupyter/nbclient/issues/312; seen here without any of our code at work).
* statsmodels' examples are analyses as people write them: tables as HTML and as text, figures, warnings, tracebacks
  where this pandas or this statsmodels is newer than the notebook.  Left out are those that draw without a seed, and
  all that need the network or take longer than some seconds.

Both kernels run at the same time, in the same folder, with the same environment.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import anyio
import nbformat
import pytest
from nbclient import NotebookClient

from collab_agent.config import Server

from ..property.test_outputs import jupyterlab_text
from .conftest import McpAgent, Rest

TESTS = Path(__file__).parents[1]
REAL = TESTS.parent / "fixtures" / "real"
DEADLINE_S = 120

NOTEBOOKS = (
    "nbclient/Clear Output",
    "nbclient/Empty Cell",
    "nbclient/Error",
    "nbclient/Factorials",
    "nbclient/Inline Image",
    "nbclient/JupyterWidgets",
    "nbclient/Other Comms",
    "nbclient/SVG",
    "nbclient/Skip Exceptions with Cell Tags",
    "nbclient/Unicode",
    "nbclient/update-display-id",
    "nbconvert/notebook1",
    "nbconvert/notebook3_with_errors",
    "nbconvert/notebook4_jpeg",
    "nbconvert/notebook_inject",
    "nbconvert/notebook_jl",
    "nbconvert/notebook_tags",
    "nbconvert/pngmetadata",
    "nbconvert/prompt_numbers",
    "nbconvert/rawtest",
    "nbconvert/rst_output",
    "nbconvert/svg",
    "statsmodels/categorical_interaction_plot",
    "statsmodels/gls",
    "statsmodels/ols",
    "statsmodels/quantile_regression",
    "statsmodels/quasibinomial",
    "statsmodels/tsa_dates",
    "statsmodels/wls",
)

_CHANGING = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b0x[0-9a-f]{6,}", "0xADDRESS"),
        (r"/ipykernel_\d+/\d+\.py", "/ipykernel/CELL.py"),
        (r"(?m)^(CPU times: |Wall time: ).*$", r"\1TIME"),
        (r"(?<!\d)\d\d:\d\d:\d\d(\.\d+)?", "hh:mm:ss"),
        (r"(?<=[\"#])[a-z][0-9a-f]{10}\b", "MARK"),  # in matplotlib's SVG
        (r"\b[0-9a-f]{32}\b", "MODEL"),
    )
)


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of the real notebooks, fetched if it is not there."""
    subprocess.run([sys.executable, TESTS / "fetch_notebooks.py"], check=True)
    return REAL


@pytest.mark.parametrize("name", NOTEBOOKS)
async def test_the_saved_outputs_are_those_that_nbclient_gets(
    name: str, mcp_agent: McpAgent, jupyter: Server, jupyter_env: dict[str, str], page: Rest, real: Path
) -> None:
    assert jupyter.root_dir is not None
    notebook = _runnable(real / f"{name}.ipynb")
    saved = Path(jupyter.root_dir) / "real" / f"{name}.ipynb"
    saved.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, saved)
    judge = NotebookClient(
        notebook,
        allow_errors=True,
        record_timing=False,
        skip_cells_with_tag="no page knows such a tag",
        resources={"metadata": {"path": str(saved.parent)}},
    )
    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: judge.async_execute(env=jupyter_env))
            tasks.start_soon(_run_with_the_tools, mcp_agent, f"real/{name}.ipynb")
    for session in await page.sessions(f"real/{name}.ipynb"):
        await page.send("DELETE", f"api/sessions/{session['id']}")
    expected = nbformat.reads(nbformat.writes(notebook), as_version=4)
    found = nbformat.read(saved, as_version=4)
    nbformat.validate(found)
    assert list(_results(found)) == list(_results(expected))


async def test_output_widgets_take_in_what_nbclient_has_stored(
    mcp_agent: McpAgent, jupyter: Server, real: Path
) -> None:
    assert jupyter.root_dir is not None
    stored = nbformat.read(real / "nbclient" / "Output.ipynb", as_version=4)
    saved = Path(jupyter.root_dir) / "real" / "Output.ipynb"
    saved.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(_runnable(real / "nbclient" / "Output.ipynb"), saved)

    with anyio.fail_after(DEADLINE_S):
        await _run_with_the_tools(mcp_agent, "real/Output.ipynb")

    found = nbformat.read(saved, as_version=4)
    assert list(_printed(found)) == list(_printed(stored))
    told = await mcp_agent.run(code=_INSIDE)
    assert ast.literal_eval(ast.literal_eval(told.body.splitlines()[-1])) == _inside(stored)


_INSIDE = """
def summary(output):
    return output.get("text") or output.get("ename") or output["data"]["text/plain"]

widgets = [output1, output2, output3, output4, output5, output_outer, output_inner]
repr(sorted([summary(output) for output in widget.outputs] for widget in widgets))
"""


def _printed(notebook: Any) -> Iterator[list[str]]:
    """Of each cell its streams' text; a widget's view is named by a model that each kernel makes up anew."""
    for cell in notebook["cells"]:
        yield [output["text"] if output["output_type"] == "stream" else "a view" for output in cell["outputs"]]


def _inside(notebook: Any) -> list[list[str]]:
    """What the Output widgets hold that the notebook shows, by the widget state in its metadata."""
    models = notebook["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    shown = [output["data"] for cell in notebook["cells"] for output in cell["outputs"] if "data" in output]
    held = [models[data["application/vnd.jupyter.widget-view+json"]["model_id"]]["state"] for data in shown]
    return sorted(
        [
            output.get("text") or output.get("ename") or output["data"]["text/plain"]
            for output in state.get("outputs", [])
        ]
        for state in held
    )


async def _run_with_the_tools(agent: McpAgent, path: str) -> None:
    await agent.setup(path)
    ran = await agent.client.call_tool(
        "execute_notebook_code", {"cells": "all", "stop_on_error": False, "wait_s": DEADLINE_S}
    )
    assert not ran.is_error, ran.content
    assert all(run.over for run in agent.peer().runs.all)
    await agent.setup(path, action="save")


def _runnable(file: Path) -> Any:
    """The notebook in today's format, for the kernel that there is; its old outputs are left for the run to clear."""
    notebook = nbformat.read(file, as_version=4)
    notebook["metadata"] = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook["nbformat_minor"] = 5
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{number}"
        if cell["cell_type"] == "code" and not cell["source"].strip():
            cell["outputs"], cell["execution_count"] = [], None  # nbclient would leave what was there
    return notebook


def _results(notebook: Any) -> Iterator[tuple[str, Any]]:
    """Each code cell's source, its count, and its outputs but for what changes from run to run."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            yield cell["source"], (cell["execution_count"], list(_settled(map(_steady, cell["outputs"]))))


def _steady(value: Any) -> Any:
    """The value without memory addresses, times, and the names that a kernel makes up anew each time."""
    if isinstance(value, str):
        for pattern, replacement in _CHANGING:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items()}
    return [_steady(item) for item in value] if isinstance(value, list) else value


def _settled(outputs: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The outputs with stdout before stderr: which of two pipes a kernel empties first is a matter of chance."""
    streams: dict[str, str] = {}
    for output in outputs:
        if output["output_type"] == "stream":
            streams[output["name"]] = streams.get(output["name"], "") + output["text"]
        else:
            yield from _streams(streams)
            streams = {}
            yield output
    yield from _streams(streams)


def _streams(texts: dict[str, str]) -> Iterator[dict[str, Any]]:
    for name in sorted(texts, reverse=True):
        yield {"output_type": "stream", "name": name, "text": jupyterlab_text(texts[name])}
