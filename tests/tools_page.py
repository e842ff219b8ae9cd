"""Writes ``docs/tools.md``, what a client gives a model of our tools, from the code that serves it.

python tests/tools_page.py
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from mcp_types import Tool

from collab_agent.server.schema import INSTRUCTIONS, TOOLS, properties

PAGE = Path(__file__).parents[1] / "docs" / "tools.md"
INTRODUCTION = """\
# Tool definitions

What a client puts before the model, word for word: the server's instructions, and of each of the four tools its name,
description and arguments. The page is written from the code by `python tests/tools_page.py`, and a test holds it to
that. What the tools do in detail, with every error and limit, is in the [reference](reference.md); sessions are on the
page [Using it](usage.md).
"""


def page() -> str:
    """The whole page as Markdown."""
    size = len((INSTRUCTIONS + json.dumps([definition(tool) for tool in TOOLS], separators=(",", ":"))).encode())
    edit = properties(next(tool for tool in TOOLS if tool.name == "modify_notebook_cells"))["edits"]["items"]
    parts = [
        INTRODUCTION,
        f"Together they are {size:,} bytes as JSON.",
        "## Instructions\n\nTold once, when the client connects:",
        quoted(INSTRUCTIONS),
        *(section(tool) for tool in TOOLS),
        "## An edit",
        "Each object of `edits`. Only `op` is always needed; [which fields go with which op](reference.md#edits).",
        arguments(edit["properties"], edit["required"], "field"),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def definition(tool: Tool) -> dict[str, Any]:
    """What a model sees of a tool."""
    return {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}


def section(tool: Tool) -> str:
    """A tool: its title, description, annotations and arguments."""
    hints = tool.annotations
    assert hints is not None
    told = {
        "read-only": hints.read_only_hint,
        "destructive": hints.destructive_hint,
        "idempotent": hints.idempotent_hint,
        "open world": hints.open_world_hint,
    }
    marks = ", ".join(f"{name}: {'yes' if value else 'no'}" for name, value in told.items())
    return "\n\n".join(
        [
            f"## `{tool.name}`",
            quoted(tool.description or ""),
            f"Title: *{hints.title}*. Annotations: {marks}.",
            arguments(properties(tool), tool.input_schema.get("required", []), "argument"),
        ]
    )


def arguments(schemas: dict[str, Any], required: list[str], heading: str) -> str:
    """A table of arguments or fields."""
    lines = [f"| {heading} | type | default | description |", "|---|---|---|---|"]
    for name, schema in schemas.items():
        default = "required" if name in required else ""
        if "default" in schema:
            default = f"`{json.dumps(schema['default']).strip(chr(34))}`"
        description = schema.get("description", "").replace("|", "\\|")
        lines.append(f"| `{name}` | {kind(schema)} | {default} | {description} |")
    return "\n".join(lines)


def kind(schema: dict[str, Any]) -> str:
    """A schema's type in words."""
    if "anyOf" in schema:
        return " or ".join(kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        inner = schema["items"]
        return "list of [edits](#an-edit)" if inner["type"] == "object" else f"list of {kind(inner)}s"
    least = f", at least {schema['minimum']}" if "minimum" in schema else ""
    return f"{schema['type']}{least}"


def quoted(text: str) -> str:
    """A text of the code as a quotation, wrapped."""
    return "\n".join(f"> {line}" for line in textwrap.wrap(text, 118, break_on_hyphens=False))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
