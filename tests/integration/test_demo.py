"""``collab-agent demo``: that it proves what it says, and that it notices when it cannot."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.resources import files
from itertools import count
from pathlib import Path

import anyio
import nbformat
import pytest

from collab_agent.demo import show
from collab_agent.demo.ledger import CellText, Ledger, texts_of
from collab_agent.demo.report import WIDTH, Report, clipped, columns, wrapped
from collab_agent.demo.stage import secluded
from collab_agent.demo.tempo import FAST
from collab_agent.demo.typist import Typist
from collab_agent.demo.verdict import differences, misplaced, output_differences
from collab_agent.errors import CellNotFound, TextNotFound

REPLICAS = ("agent", "human", "server", "file")
DEADLINE_S = 240


async def test_the_command_ends_with_0_and_tells_who_did_what(jupyter_env: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "collab_agent", "demo", "--no-browser"]
    with anyio.fail_after(DEADLINE_S):
        ran = await anyio.run_process(command, env=dict(jupyter_env), check=False)
    out = ran.stdout.decode()
    assert ran.returncode == 0, out
    assert ran.stderr.decode() == ""
    assert "\x1b" not in out
    for replica in (*REPLICAS, "outputs", "typing", "deeds"):
        assert re.search(rf"^  ok   {replica} ", out, re.MULTILINE), replica
    assert out.endswith("Agent, human, server and file agree character by character. No keystroke was lost.\n")
    assert int(found(r"(\d+) keystrokes in", out)) >= 150
    assert int(found(r"Goose: (\d+) edits", out)) >= 12
    assert int(found(r"(\d+) of them amid Ada's typing", out)) >= 10
    for deed in (
        r"Ada +types “.*” in a1f9",
        r"Goose +inserts a markdown cell above 70b5",
        r"Ada +inserts a cell at #2",
        r"Goose +means 58c6 by #9",
        r"Goose +sees KeyError: .*flavonoids",
        r"Goose +replaces “flavonoids” by “flavanoids” in f48d",
        r"is refused: .*58c6",
        r"Goose +gets the figure \(image/png",
        r"Goose +writes the whole of b73f anew",
        r"# X: 化学 🧪, treize mesures; y: le cépage$",
        r"Goose +leaves",
        r"Ada +sees that Goose is gone",
    ):
        assert re.search(rf"{deed}", out, re.MULTILINE), deed


async def test_a_swallowed_keystroke_is_noticed_in_every_replica(jupyter_env: Mapping[str, str]) -> None:
    class LosesOne(Typist):
        async def press(self, cell: str, character: str) -> None:
            if self.pressed != 20:
                await super().press(cell, character)

    status, out = await performed(jupyter_env, LosesOne)
    assert status == 1, out
    for replica in (*REPLICAS, "typing"):
        assert re.search(rf"^  BAD  {replica} ", out, re.MULTILINE), out
    assert out.count("#5 a1f9 differs at character") == len(REPLICAS)
    assert "agree character by character" not in out
    assert "does not stand whole behind" in out


async def test_an_agent_that_does_not_start_is_told_in_a_line(jupyter_env: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "mcp_types.py").write_text("raise SystemExit('no such luck')", "utf-8")
    status, out = await performed({**jupyter_env, "PYTHONPATH": str(tmp_path)}, Typist)
    assert status == 1
    assert out.splitlines()[-1].startswith("The demo broke off: collab-agent on stdio: ")
    assert out.endswith("no such luck\n")


async def performed(env: Mapping[str, str], human: type[Typist]) -> tuple[int, str]:
    out = io.StringIO()
    with anyio.fail_after(DEADLINE_S):
        return await show(Report(out), env, FAST, human=human), out.getvalue()


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, f"{pattern!r} is not in:\n{text}"
    return match[1]


# What must come out.


def test_the_sample_is_a_valid_notebook_with_headings_text_of_all_kinds_and_one_bug() -> None:
    sample = files("collab_agent.demo").joinpath("wine.ipynb").read_text("utf-8")
    notebook = nbformat.reads(sample, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert 8 <= len(notebook.cells) <= 12
    assert all(text in sample for text in ("# 🍷", "誰のワイン", "é"))
    assert sample.count("flavonoids") == 1  # the data set writes flavanoids
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_the_ledger_keeps_what_was_typed_through_edits_and_a_rewrite() -> None:
    ledger = Ledger([CellText("aaaa0000", "x = 1\ny = 2"), CellText("bbbb0000", "")])
    ledger.type("aaaa", "x = 1", "  # é😀")
    ledger.replace("aaaa", "y = 2", "y = 3")
    ledger.write("aaaa0000", "# new\nx = 1\nz = 4")
    ledger.enter([{"op": "insert", "source": "n", "before": "bbbb"}], ["cccc"])
    ledger.enter([{"op": "insert", "source": "m", "after": "bbbb"}, {"op": "insert", "source": "e"}], ["dddd", "eeee"])
    assert [cell.source for cell in ledger.cells] == ["# new\nx = 1  # é😀\nz = 4", "n", "", "m", "e"]
    assert ledger.keystrokes == 6
    with pytest.raises(TextNotFound):
        ledger.replace("aaaa", "gone", "")
    with pytest.raises(CellNotFound):
        ledger.source("ffff")


def test_texts_are_read_from_a_file_and_from_a_page_alike() -> None:
    page = {"cells": [{"id": "aaaa", "source": "x\ny"}]}
    file = {"cells": [{"id": "aaaa", "source": ["x\n", "y"]}]}
    assert texts_of(page) == texts_of(file) == (CellText("aaaa", "x\ny"),)


WANTED = (CellText("aaaa0000", "x = 1\ny = 葡萄 🍇 2"), CellText("bbbb0000", "z"))


@pytest.mark.parametrize(
    ("replica", "told"),
    [
        (WANTED, []),
        ((CellText("aaaa", WANTED[0].source), WANTED[1]), []),  # the agent is shown short ids
        (
            (CellText("aaaa0000", "x = 1\ny = 葡 🍇 2"), WANTED[1]),
            ["#1 aaaa differs at character 12 (line 2), behind “x = 1⏎y = 葡”: “ 🍇 2” for “萄 🍇 2”"],
        ),
        (
            (CellText("aaaa0000", "x = 1\ny = 葡萄 🍇"), WANTED[1]),
            ["#1 aaaa differs at character 15 (line 2), behind “= 1⏎y = 葡萄 🍇”: nothing more for “ 2”"],
        ),
        (WANTED[:1], ["#2 bbbb is missing: “z”"]),
        ((*WANTED, CellText("cccc0000", "q")), ["#3 cccc should not be there: “q”"]),
        (WANTED[::-1], ["#1 should be aaaa, but is bbbb", "#2 should be bbbb, but is aaaa"]),
    ],
)
def test_a_difference_is_told_with_its_place(replica: tuple[CellText, ...], told: list[str]) -> None:
    assert differences(WANTED, replica) == told


def test_a_burst_must_stand_whole_once_and_where_it_was_begun() -> None:
    typed = [("aaaa0000", "y = ", "葡萄")]
    assert misplaced(typed, WANTED) == []
    for source in ("y = 葡 萄", "y = 萄葡", "葡萄y = ", "y = 葡萄\ny = 葡萄", ""):
        assert misplaced(typed, [CellText("aaaa0000", source)]), source


def test_outputs_are_compared_as_a_file_and_a_page_hold_them() -> None:
    page = {"id": "aaaa", "cell_type": "code", "source": "x\ny", "metadata": {"trusted": True}, "execution_count": 1.0}
    file = {**page, "source": ["x\n", "y"], "metadata": {}, "execution_count": 1}
    assert output_differences({"cells": [page]}, {"cells": [file]}) == []
    assert output_differences({"cells": [page]}, {"cells": [{**file, "execution_count": 2}]}) == [
        "#1 aaaa differs in execution_count"
    ]
    assert output_differences({"cells": [page]}, {"cells": []}) == ["1 cells against 0"]


def test_the_stage_knows_nothing_of_this_users_jupyter(tmp_path: Path) -> None:
    env = {"HOME": "/home/ada", "JUPYTER_CONFIG_PATH": "/etc/x", "JUPYTER_RUNTIME_DIR": "/run/x", "MPLBACKEND": "Agg"}
    hidden = secluded(env, tmp_path / "one", keep_runtime=False)
    assert hidden["HOME"] == "/home/ada"
    assert not {"JUPYTER_CONFIG_PATH", "MPLBACKEND"} & hidden.keys()
    assert all(value.startswith(str(tmp_path)) for name, value in hidden.items() if name.startswith("JUPYTER"))
    assert secluded(env, tmp_path / "two", keep_runtime=True)["JUPYTER_RUNTIME_DIR"] == "/run/x"
    (news,) = (tmp_path / "one").rglob("notification.jupyterlab-settings")
    assert json.loads(news.read_text("utf-8"))["fetchNews"] == "false"


# How it is printed.


def test_keystrokes_that_follow_each_other_are_one_line() -> None:
    ticks = count()
    out = io.StringIO()
    report = Report(out, clock=lambda: float(next(ticks)))
    for character in "a葡\n":
        report.key("Ada", "a1f9", character)
    report.line("Goose", "leaves")
    report.key("Ada", "b73f", "z")
    report.flush()
    assert out.getvalue().splitlines() == [
        "   3.0 s  Ada    types “a葡⏎” in a1f9",
        "   4.0 s  Goose  leaves",
        "   5.0 s  Ada    types “z” in b73f",
    ]


def test_colour_is_used_only_if_asked_for() -> None:
    for color in (True, False):
        out = io.StringIO()
        report = Report(out, color=color)
        report.title("t")
        report.line("Ada", "x")
        report.check(False, "c")
        report.verdict(True, "v")
        assert ("\x1b[" in out.getvalue()) is color


def test_lines_fit_and_what_the_terminal_cannot_write_is_replaced() -> None:
    assert columns("a葡🍇") == 5
    assert clipped("葡" * 10, 5) == "葡葡…"
    assert all(columns(line) <= 20 for line in wrapped("a word and 葡萄葡萄葡萄葡萄葡萄葡萄葡萄 and so on", 20))
    raw = io.BytesIO()
    report = Report(io.TextIOWrapper(raw, encoding="latin-1"))
    report.line("Ada", "é 葡 " + "x" * 2 * WIDTH)
    lines = raw.getvalue().decode("latin-1").splitlines()
    assert "é ?" in lines[0]
    assert max(map(len, lines)) <= WIDTH


def test_nobody_reading_on_is_no_traceback(jupyter_env: Mapping[str, str]) -> None:
    command = f"'{sys.executable}' -m collab_agent demo --no-browser | head -1"
    ran = subprocess.run(
        command, shell=True, env=dict(jupyter_env), capture_output=True, timeout=DEADLINE_S, check=False
    )
    assert ran.stdout.decode().startswith("collab-agent demo")
    assert ran.stderr == b""
