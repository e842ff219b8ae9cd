"""What the documentation says is true: its Python runs, its commands parse, its links lead somewhere.

A ```` ```python ```` block is a whole script.  It is run with ``JUPYTER_URL``, ``JUPYTER_TOKEN`` and ``NOTEBOOK`` (a
new notebook whose one cell is ``x = 1``) set, and nothing is substituted; what it prints is what the ```` ```text
output ```` block behind it says, if there is one.  A fragment is marked ```` ```python no-run ````.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp_types import Tool

from collab_agent import cli
from collab_agent.clients import CLIENTS, Client, snippet
from collab_agent.config import Limits, Server
from collab_agent.errors import InvalidEdit
from collab_agent.notebook.changes import Author, Change
from collab_agent.notebook.edit_ops import parse
from collab_agent.notebook.model import CellView
from collab_agent.notebook.since import TypingNow, summary
from collab_agent.server.arguments import MOST_WAIT_S
from collab_agent.server.schema import TOOLS, properties
from collab_agent.server.tools import MOST_CHARS

from .conftest import NewNotebook
from .test_docs_transcripts import call_of

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
REFERENCE = ROOT / "docs" / "reference.md"
FENCE = re.compile(r"^```(\S*)[ ]?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
ROW = re.compile(r"^\| `([^`]+)` \|(.*)\|$", re.MULTILINE)
SCRIPT_S = 60
MOST_FRAGMENTS = 2


@dataclass(frozen=True)
class Fence:
    """A fenced block: where it stands, its language, what follows that, its text, and the block behind it."""

    page: Path
    line: int
    language: str
    info: str
    text: str
    expected: str | None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def fences() -> Iterator[Fence]:
    """Every fenced block of every page."""
    for page in PAGES:
        whole = page.read_text("utf-8")
        found = list(FENCE.finditer(whole))
        for match, after in zip_longest(found, found[1:]):
            line = whole.count("\n", 0, match.start()) + 1
            expected = after[3] if after is not None and after[2] == "output" else None
            yield Fence(page, line, match[1], match[2], match[3], expected)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


# Python


@pytest.mark.parametrize("block", [each for each in fences() if each.language == "python" and not each.info], ids=str)
async def test_python_runs_and_prints_what_the_page_says(
    block: Fence, jupyter: Server, new_notebook: NewNotebook, tmp_path: Path
) -> None:
    script = tmp_path / "example.py"
    script.write_text("\n" * block.line + block.text, "utf-8")  # a traceback names the page's line
    here = {"JUPYTER_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token, "NOTEBOOK": new_notebook(["x = 1"])}
    with anyio.fail_after(SCRIPT_S):
        done = await anyio.run_process(
            [sys.executable, "-W", "error", str(script)], cwd=tmp_path, env={**os.environ, **here}, check=False
        )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    if block.expected is not None:
        assert done.stdout.decode() == block.expected


def test_hardly_any_python_is_a_fragment() -> None:
    marked = [each for each in fences() if each.language == "python" and each.info]
    assert {each.info for each in marked} <= {"no-run"}
    assert len([each for each in fences() if each.language == "python"]) > 2 * MOST_FRAGMENTS
    assert len(marked) <= MOST_FRAGMENTS


# Commands and configuration


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """(where, arguments) of every ``collab-agent …`` in a shell block or between backticks."""
    for page in PAGES:
        shell = [each.text for each in fences() if each.page == page and each.language in ("sh", "text")]
        lines = [line for text in shell for line in text.splitlines()] + SPAN.findall(prose(page))
        for line in lines:
            for part in re.split(r"&&|\|\||[;|]", line):
                if part.strip().startswith("collab-agent ") or part.strip() == "collab-agent":
                    yield page.name, shlex.split(part, comments=True)[1:]


@pytest.mark.parametrize(("page", "arguments"), list(command_lines()), ids=str)
def test_command_lines_parse(page: str, arguments: list[str]) -> None:
    assert cli.parser().parse_args(arguments).run, page


def test_the_installation_page_and_the_usage_page_name_every_command() -> None:
    named = {arguments[0] for _page, arguments in command_lines() if arguments}
    assert {"clients", "demo", "doctor", "lab", "serve"} <= named


@pytest.mark.parametrize("client", CLIENTS)
def test_the_clients_page_shows_what_the_command_prints(client: Client) -> None:
    blocks = [each.text for each in fences() if each.page.name == "clients.md"]
    assert snippet(client) in blocks


def test_the_clients_page_has_the_annotations_of_every_tool() -> None:
    rows = dict(ROW.findall((ROOT / "docs" / "clients.md").read_text("utf-8")))
    for tool in TOOLS:
        hints = tool.annotations
        assert hints is not None
        values = [hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint]
        assert [part.strip() for part in rows[tool.name].split("|")] == ["yes" if value else "no" for value in values]


@pytest.mark.parametrize("block", [each for each in fences() if each.page.name == "README.md"], ids=str)
def test_the_readme_configures_clients_as_the_command_does(block: Fence) -> None:
    if block.language in ("yaml", "json"):
        assert any(block.text in snippet(client) for client in CLIENTS)


# Links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in map(slug, HEADING.findall(prose(file)))):
            broken.append(target)
    assert broken == []


# The tools


def section_of(name: str) -> str:
    """The section of the reference whose heading is this name in backticks."""
    whole = REFERENCE.read_text("utf-8")
    found = re.search(rf"^## `{name}`$(.*?)(?=^## |\Z)", whole, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no section for {name}"
    return found[1]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_the_reference_has_every_argument_with_its_type_and_default(tool: Tool) -> None:
    arguments = re.search(r"^\| argument .*?(?=\n\n)", section_of(tool.name), re.MULTILINE | re.DOTALL)
    assert arguments is not None
    rows = {name: [part.strip() for part in rest.split("|")] for name, rest in ROW.findall(arguments[0])}
    assert list(rows) == list(properties(tool))
    for name, schema in properties(tool).items():
        kind, default, _meaning = rows[name]
        assert kind == kind_of(schema), name
        assert default == default_of(schema, name in tool.input_schema.get("required", [])), name


def kind_of(schema: dict[str, Any]) -> str:
    """A schema's type in the reference's words."""
    if "anyOf" in schema:
        return " or ".join(kind_of(each) for each in schema["anyOf"])
    if schema["type"] == "array":
        return f"list of {kind_of(schema['items'])}s"
    return str(schema["type"])


def default_of(schema: dict[str, Any], required: bool) -> str:
    """A default as the reference writes it."""
    if "default" not in schema:
        return "required" if required else ""
    default = schema["default"]
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_the_reference_explains_every_value_of_a_choice(tool: Tool) -> None:
    section = section_of(tool.name)
    for name, schema in properties(tool).items():
        if "enum" in schema:
            explained = {row for row, _rest in ROW.findall(section)}
            assert set(schema["enum"]) <= explained, name


def test_the_reference_has_every_edit_with_its_fields() -> None:
    edit = properties(next(tool for tool in TOOLS if tool.name == "modify_notebook_cells"))["edits"]["items"]
    table = re.search(r"^\| op .*?(?=\n\n)", REFERENCE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert table is not None
    rows = dict(ROW.findall(table[0]))
    assert list(rows) == edit["properties"]["op"]["enum"]
    fields = {field for rest in rows.values() for field in SPAN.findall(rest.split("|")[0])}
    assert fields == edit["properties"].keys() - {"op"}
    for op, rest in rows.items():
        check_fields(op, rest.split("|")[0])


def check_fields(op: str, cell: str) -> None:
    """An edit with the fields of the first half is complete; each in brackets is taken too, and no other is."""
    values: dict[str, Any] = {"line": 2, "all": True, "force": True, "cells": ["a1f9"], "type": "raw", "steps": 2}
    needed, _, optional = cell.partition("(")
    edit = {"op": op} | {field: values.get(field, "first") for field in SPAN.findall(needed)}
    choices = SPAN.findall(optional)
    if op == "move":
        edit["after"] = "last"
        choices = [field for field in choices if field not in ("after", "before")]
    parse([edit])
    for field in choices:
        parse([edit | {field: values.get(field, "first")}])
    for field in SPAN.findall(needed):
        with pytest.raises(InvalidEdit):
            parse([{key: value for key, value in edit.items() if key != field}])


def test_calls_in_the_texts_are_calls_that_the_tools_take() -> None:
    by_name = {tool.name: tool for tool in TOOLS}
    seen = 0
    for page in PAGES:
        for span in SPAN.findall(prose(page)):
            if re.match(r"(setup|query|modify|execute)_notebook\w*\(.", span) and "…" not in span:
                name, arguments = call_of(span)
                schemas = properties(by_name[name])
                assert arguments.keys() <= schemas.keys(), span
                for key, value in arguments.items():
                    assert value in schemas[key].get("enum", [value]), span
                seen += 1
    assert seen


@pytest.mark.parametrize("name", ["reference.md", "installation.md", "doctor.md"])
def test_the_errors_that_a_page_explains_are_in_the_code(name: str) -> None:
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "collab_agent").rglob("*.py"))
    tables = re.findall(r"^\| (?:the text says|what you see) .*?(?=\n\n|\Z)", prose(ROOT / "docs" / name), re.M | re.S)
    told = [span for table in tables for row in table.splitlines() for span in SPAN.findall(row.split("|")[1])]
    assert len(told) > 3
    assert [part for span in told for part in span.split("…") if part.strip(" .?") not in code] == []


def test_the_reference_names_the_limits_that_hold() -> None:
    table = re.search(r"^## Limits$(.*?)(?=^## |\Z)", REFERENCE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert table is not None
    limits = Limits()
    for shown in (
        f"{limits.result_chars:,} characters",
        f"{MOST_CHARS:,} where",
        f"{MOST_WAIT_S:,.0f} s",
        f"{limits.images} images",
        f"{limits.image_pixels:,} px",
        f"{limits.image_bytes // 1000} kB",
        f"{limits.typing_s:.0f} s",
        f"{limits.highlight_s:.0f} s",
        f"{limits.save_s:.0f} s",
    ):
        assert shown in table[1], shown


def test_the_page_on_working_together_names_the_limits_that_hold() -> None:
    text = " ".join((ROOT / "docs" / "working-together.md").read_text("utf-8").split())
    limits = Limits()
    for shown in (
        f"tinted for {limits.highlight_s:.0f} s",
        f"stopped typing for {limits.typed_out_s:.0f} s",
        f"typed within the last {limits.line_quiet_s:.0f} s waits up to {limits.line_wait_s:.0f} s",
        f"typed within the last {limits.typing_s:.0f} s",
        f"up to {limits.undo_calls} of them",
    ):
        assert shown in text, shown


def test_the_page_on_working_together_shows_a_line_that_is_really_said() -> None:
    page = ROOT / "docs" / "working-together.md"
    shown = next(each.text for each in fences() if each.page == page and "since your last call" in each.text)
    cells = [CellView("a1f9" + "0" * 28, "code", text) for text in ("a\nb", "a\nc\nd")]
    ran = CellView("c3d4" + "0" * 28, "code", "1", 12)
    ada, bob = Author("Ada"), Author("Bob")
    changes = [
        Change(cells[0].id, *cells, ("Ada",), by={"text": (ada,)}),
        Change(ran.id, ran, ran, ("Bob",), ran=True, by={"ran": (bob,)}),
    ]
    said = summary(changes, lambda cell: cell[:4], [TypingNow(ada, cells[0].id, 3)])
    assert shown == f"since your last call: {said}\n"
