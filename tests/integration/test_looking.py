"""Looking at a kernel that is somebody else's: what a model is told, and that nothing is left behind or disturbed."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from collab_agent.config import Server
from collab_agent.kernel.client import KernelClient

from .conftest import DEADLINE_S, McpAgent, Notebook, Rest

FRAMES = """
import numpy as np, pandas as pd, polars as pl
sales = pd.DataFrame({"month": ["2025-01", "2025-02"], "revenue": [900, 935]})
revenue = sales["revenue"]
wide = pd.DataFrame(np.zeros((2, 300)))
grid = np.arange(12.0).reshape(3, 4)
tall = pl.DataFrame({"a": [1, 2, 3], "b": [[1], [2], [3]]})
column = pl.Series("c", ["x", "y"])
lazy = tall.lazy()
text, number, nothing, big = "hello " * 100, 42, None, 10**5000
items, table = list(range(10_000)), {"a": 1, "b": [1, 2]}
def clean(frame, default=sales):
    "Cleans a frame."
class Model:
    "A model."
    @property
    def score(self):
        "How good."
        raise SystemExit("a getter was run")
model = Model()
"""
HOSTILE = """
calls = []
class Meta(type):
    def __getattribute__(cls, name):
        calls.append(("meta", name)); raise RuntimeError(name)
    def __eq__(cls, other):
        calls.append("eq"); raise RuntimeError("eq")
    __hash__ = None
class Hostile(metaclass=Meta):
    def __getattribute__(self, name):
        calls.append(name); raise RuntimeError(name)
    def __repr__(self):
        calls.append("repr"); raise RuntimeError("repr")
    __str__ = __len__ = __iter__ = __bool__ = __hash__ = __repr__
    def __eq__(self, other):
        calls.append("eq"); raise RuntimeError("eq")
class Rows(list):
    def __len__(self):
        calls.append("len"); return 1
    def __iter__(self):
        calls.append("iter"); return iter(())
    def __repr__(self):
        calls.append("repr"); return "!"
hostile = object.__new__(Hostile)
rows = Rows([1, 2, 3])
nested = [hostile, {"key": hostile}, (hostile,)]
def takes(what=hostile): pass
len = list = dict = type = str = isinstance = repr = exec = eval = json = sys = None
calls.clear()
"""


class Person:
    """A human on the kernel: what they run, what came of it, and what the kernel holds of the past."""

    def __init__(self, client: KernelClient) -> None:
        self.client = client

    async def run(self, code: str, *, answer: str | None = None, until: str | None = None) -> Heard:
        """Run a cell to its end, or until it has printed ``until``."""
        heard = Heard()
        changed = anyio.Event()

        def receive(event: Any) -> None:
            nonlocal changed
            heard.take(event)
            changed.set()
            changed = anyio.Event()

        heard.msg_id = self.client.send_execute(code, on_message=receive)
        heard.wait_for = lambda reached: self._wait(reached, lambda: changed)
        execution = self.client.execution(heard.msg_id)
        await heard.wait_for(lambda: execution.over if until is None else until in heard.text)
        return heard

    async def _wait(self, reached: Callable[[], bool], changed: Callable[[], anyio.Event]) -> None:
        with anyio.fail_after(DEADLINE_S):
            while not reached():
                await changed().wait()

    async def past(self) -> dict[str, Any]:
        """Count, history, ``In``, ``Out``, ``_``, and the names in the namespace."""
        asked = {
            "count": "get_ipython().execution_count",
            "history": "[each for each in get_ipython().history_manager.get_range()]",
            "in": "In",
            "out": "sorted(Out)",
            "last": "id(_)",
            "names": "sorted(globals())",
        }
        over = anyio.Event()
        msg_id = self.client.send_execute(
            "",
            silent=True,
            user_expressions=asked,
            on_message=lambda _event: over.set() if self.client.execution(msg_id).over else None,
        )
        with anyio.fail_after(DEADLINE_S):
            await over.wait()
        reply = self.client.execution(msg_id).reply
        assert reply is not None
        return {name: ast.literal_eval(each["data"]["text/plain"]) for name, each in reply["user_expressions"].items()}


@dataclass
class Heard:
    """What came of a cell: its text, its pictures, its error."""

    msg_id: str = ""
    text: str = ""
    displays: int = 0
    error: str = ""
    wait_for: Any = field(default=None, repr=False)

    def take(self, event: Any) -> None:
        match getattr(event, "msg_type", ""), getattr(event, "content", {}):
            case "stream", content:
                self.text += content["text"]
            case "display_data", _:
                self.displays += 1
            case "error", content:
                self.error = content["evalue"]


@pytest.fixture
def person(jupyter: Server, page: Rest) -> Callable[[str], Any]:
    """``async with person(path) as ada``: somebody else on the notebook's kernel."""

    @asynccontextmanager
    async def come(path: str) -> AsyncIterator[Person]:
        (session,) = await page.sessions(path)
        async with KernelClient.connect(jupyter, session["kernel"]["id"], username="Ada") as client:
            yield Person(client)

    return come


def lines_of(text: str) -> dict[str, str]:
    """Name -> what is said of it."""
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


async def test_says_name_type_shape_dtype_size_and_a_preview(mcp_agent: McpAgent, own_notebook: Notebook) -> None:
    path = await own_notebook([FRAMES])
    await mcp_agent.setup(path)
    await mcp_agent.run(cells="all")

    told = await mcp_agent.query("variables")

    assert told.text.startswith("14 variables\n")
    assert lines_of(told.text) == {
        "sales": "pandas.DataFrame 2 x 2, 32 B: month str, revenue int64",
        "revenue": "pandas.Series 2 int64, 16 B: 900, 935",
        "wide": "pandas.DataFrame 2 x 300: " + ", ".join(f"{n} float64" for n in range(8)) + ", …",
        "grid": "numpy.ndarray 3 x 4 float64, 96 B: 0.0, 1.0, 2.0, 3.0, 4.0, …",
        "tall": "polars.DataFrame 3 x 2, " + lines_of(told.text)["tall"].split(", ", 1)[1],
        "column": "polars.Series 2 String, 2 B: 'x', 'y'",
        "lazy": "polars.LazyFrame",
        "text": "str, 600 long: '" + "hello " * 9 + "hell…",
        "number": "int: 42",
        "nothing": "NoneType: None",
        "big": "int: about 2**16610",
        "items": "list, 10,000 long: [0, 1, 2, 3, 4, …]",
        "table": "dict, 2 long: {'a': 1, 'b': [1, 2]}",
        "model": "Model",
        "modules": "np, pd, pl",
        "functions": "clean",
        "classes": "Model",
    }
    assert "a Int64, b List" in lines_of(told.text)["tall"]


async def test_runs_nothing_of_a_hostile_object(
    mcp_agent: McpAgent, own_notebook: Notebook, person: Callable[[str], Any]
) -> None:
    path = await own_notebook()
    await mcp_agent.setup(path)
    async with person(path) as ada:
        assert (await ada.run(HOSTILE)).error == ""

        told = lines_of((await mcp_agent.query("variables")).text)
        for name in ("hostile", "hostile.x", "Hostile", "rows", "takes", "nested"):
            await mcp_agent.query("inspect", pattern=name)

        assert told["hostile"] == "Hostile"
        assert told["rows"] == "Rows, 3 long"
        assert told["nested"] == "list, 3 long: [<Hostile>, {'key': <Hostile>}, (<Hostile>)]"
        assert told["calls"] == "list, 0 long: []"
        assert (await ada.run("print(calls)")).text == "[]\n"


async def test_leaves_no_trace(mcp_agent: McpAgent, own_notebook: Notebook, person: Callable[[str], Any]) -> None:
    path = await own_notebook()
    await mcp_agent.setup(path)
    async with person(path) as ada:
        await ada.run(FRAMES)
        await ada.run("6 * 7")
        before = await ada.past()

        await mcp_agent.query("variables", pattern="a")
        for name in ("sales", "clean", "Model.score", "model.score", "np.linalg", "nope", "%timeit", "pd.options"):
            await mcp_agent.query("inspect", pattern=name)

        assert await ada.past() == before
        assert (before["count"], before["out"]) == (3, [2])
        assert (await ada.run("print(_)")).text == "42\n"


async def test_ten_thousand_variables_are_paged(
    mcp_agent: McpAgent, own_notebook: Notebook, person: Callable[[str], Any]
) -> None:
    path = await own_notebook()
    await mcp_agent.setup(path)
    async with person(path) as ada:
        await ada.run("for n in range(10_000): globals()[f'name_{n}'] = n")

    first = await mcp_agent.query("variables")
    assert first.text.splitlines()[:3] == ["10,001 variables", "n: int: 9999", "name_0: int: 0"]
    assert first.text.splitlines()[-1] == '… 9,951 more; query_notebook(query="variables", offset=50)'
    last = await mcp_agent.query("variables", offset=10_000)
    assert last.text.splitlines() == ["10,001 variables", "name_9999: int: 9999", "these are the last"]
    some = await mcp_agent.query("variables", pattern=r"_99\d$", limit=3)
    assert some.text.splitlines() == [
        "10 variables matching '_99\\\\d$'",
        "name_990: int: 990",
        "name_991: int: 991",
        "name_992: int: 992",
        '… 7 more; query_notebook(query="variables", pattern="_99\\\\d$", offset=3, limit=3)',
    ]
    none = await mcp_agent.query("variables", pattern="nobody")
    assert none.text == "0 variables matching 'nobody'"


BUSY = """
import matplotlib.pyplot as plt, pathlib, time
from concurrent.futures import ThreadPoolExecutor
secret = 7
plt.plot([1, 2])
def count(flag):
    print("begun", flush=True)
    while not pathlib.Path(flag).exists():
        time.sleep(0.05)
    print("from the thread", flush=True)
with ThreadPoolExecutor(1) as pool:
    pool.submit(count, FLAG).result()
print(plt.get_fignums(), input("name? "))
"""


async def test_answers_while_a_human_runs_code_and_disturbs_none_of_it(
    mcp_agent: McpAgent, own_notebook: Notebook, person: Callable[[str], Any], tmp_path: Path
) -> None:
    path = await own_notebook()
    await mcp_agent.setup(path)
    flag = tmp_path / "flag"
    async with person(path) as ada:
        await ada.run("%matplotlib inline")
        heard = await ada.run(f"FLAG = {str(flag)!r}\n{BUSY}", until="begun")

        for _ in range(3):
            told = await mcp_agent.query("variables", pattern="secret")
            assert told.text == ("1 variable matching 'secret' (while the kernel runs code of Ada)\nsecret: int: 7")
        counted = await mcp_agent.query("inspect", pattern="count")
        assert "signature: count(flag)" in counted.text
        assert "Type:" in (await mcp_agent.query("inspect", pattern="plt.rcParams")).text

        flag.touch()
        await heard.wait_for(lambda: ada.client.execution(heard.msg_id).prompt is not None)
        ada.client.send_input_reply("Ada", heard.msg_id)
        await heard.wait_for(lambda: ada.client.execution(heard.msg_id).over)
        # Its figure, its threads' output and its input() are still its own.
        assert (heard.text, heard.error, heard.displays) == ("begun\nfrom the thread\n[1] Ada\n", "", 1)


async def test_an_agent_that_comes_while_a_human_runs_code_can_look_too(
    mcp_agent: McpAgent, own_notebook: Notebook, person: Callable[[str], Any], tmp_path: Path
) -> None:
    path = await own_notebook()
    flag = tmp_path / "flag"
    async with person(path) as ada:
        heard = await ada.run(f"FLAG = {str(flag)!r}\n{BUSY.replace('plt.plot', '(lambda _: 0)')}", until="begun")
        await mcp_agent.setup(path)

        assert "secret: int: 7" in (await mcp_agent.query("variables")).text

        flag.touch()
        await heard.wait_for(lambda: ada.client.execution(heard.msg_id).prompt is not None)
        ada.client.send_input_reply("Ada", heard.msg_id)
        await heard.wait_for(lambda: ada.client.execution(heard.msg_id).over)


async def test_looks_while_the_agents_own_run_goes_on(
    mcp_agent: McpAgent, own_notebook: Notebook, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    source = (
        f"import pathlib, time\nstep = 1\nprint('on')\nwhile not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.05)"
    )
    path = await own_notebook([source])
    await mcp_agent.setup(path)
    await mcp_agent.run(cells="all", wait_s=0)
    await mcp_agent.hears(lambda: bool(mcp_agent.peer().outputs(mcp_agent.peer().view.cells[0].id)))

    told = await mcp_agent.query("variables")

    assert told.text.startswith("1 variable (while the kernel runs your run r1)\nstep: int: 1")
    flag.touch()
    assert "ok" in (await mcp_agent.query("runs", wait_s=DEADLINE_S)).text


async def test_inspect_gives_signature_and_documentation_and_runs_no_getter(
    mcp_agent: McpAgent, own_notebook: Notebook
) -> None:
    path = await own_notebook([FRAMES])
    await mcp_agent.setup(path)
    await mcp_agent.run(cells="all")

    async def inspected(name: str) -> str:
        return (await mcp_agent.query("inspect", pattern=name)).body

    clean = (await inspected("clean")).splitlines()
    assert clean[0] == "clean: function"
    assert clean[2:] == ["signature: clean(frame, default=<pandas.DataFrame>)", "Cleans a frame."]
    assert (await inspected("Model")).splitlines() == ["Model: class Model", "signature: Model()", "A model."]
    assert (await inspected("model.score")).splitlines() == [
        "model.score: property",
        "(a property; its value was not computed)",
        "How good.",
    ]
    assert "signature: sales.pivot_table(self, values=None" in await inspected("sales.pivot_table")
    assert "Return a copy of the string converted to uppercase." in await inspected("text.upper")
    assert (await inspected("number")).startswith("number: int: 42\n")
    assert "Time execution" in await inspected("%timeit")
    assert (await inspected("sales.nope")).startswith("the kernel knows nothing of 'sales.nope'")
    assert "needs pattern" in (await mcp_agent.refused("query_notebook", query="inspect")).text
