"""Options of the server that endanger a notebook: what its command line and its configuration files set.  Pure.

No Jupyter server tells its options over REST, so they are read where the server got them.  What a Python file
computes is not known without running it, and it is not run.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from collab_agent.doctor.finding import Finding

STORE = ("squash_after_inactivity_of", "document_ttl")
LOADING = "document_load_progressively"
_CLASS = {LOADING: "YDocExtension"} | dict.fromkeys(STORE, "SQLiteYStore")


@dataclass(frozen=True, slots=True)
class Option:
    """``name`` (without its class) is set to ``value``: a literal's repr, or ``an expression``."""

    name: str
    value: str

    @property
    def judged(self) -> bool:
        """Whether it is set to what it should not be."""
        harmless = ("False", "0") if self.name == LOADING else ("None",)
        return self.value not in harmless


def on_command_line(argv: Sequence[str]) -> dict[str, Option]:
    """The options that a command line sets, by the words that set them; of two the last counts, as for the server."""
    found: dict[str, tuple[str, Option]] = {}
    for number, word in enumerate(argv):
        key, equals, value = word.partition("=")
        name = key.rpartition(".")[2]
        if key.startswith("-") and name in _CLASS and "." in key:
            following = argv[number + 1] if number + 1 < len(argv) else ""
            words = word if equals else f"{word} {following}".strip()
            found[name] = words, Option(name, _literal(value if equals else following))
    return dict(found.values())


def config_files_on(argv: Sequence[str]) -> list[str]:
    """The configuration files that a command line names."""
    files = []
    for number, word in enumerate(argv):
        key, equals, value = word.partition("=")
        if key in ("--config", "-f") or (key.startswith("--") and key.endswith("App.config_file")):
            files.append(value if equals else (argv[number + 1] if number + 1 < len(argv) else ""))
    return [file for file in files if file]


def in_file(text: str, *, is_json: bool) -> list[Option]:
    """The options that a configuration file sets, each once, sorted; none where it cannot be read as what it is."""
    with suppress(ValueError, RecursionError, SyntaxError):
        found = _in_json(json.loads(text)) if is_json else _in_python(ast.parse(text))
        return [option for _, option in sorted({option.name: option for option in found}.items())]
    return []


def _in_json(config: object) -> Iterator[Option]:
    for section in config.values() if isinstance(config, dict) else ():
        for name, value in section.items() if isinstance(section, dict) else ():
            if name in _CLASS:
                yield Option(name, repr(value))


def _in_python(tree: ast.Module) -> Iterator[Option]:
    for node in ast.walk(tree):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Attribute) and target.attr in _CLASS and isinstance(node, ast.Assign):
                yield Option(target.attr, _value(node.value))


def _value(node: ast.expr) -> str:
    try:
        return repr(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return "an expression"


def _literal(word: str) -> str:
    """A word of a command line, as Python writes its value."""
    return {"true": "True", "false": "False", "none": "None"}.get(word.lower(), word)


def finding_of(option: Option, where: str, remedy: str) -> Finding:
    """What an option does.  ``where``: who sets it.  (Fault facts, section 2; rtc facts, section 2.)"""
    name = f"{_CLASS[option.name]}.{option.name}"
    text = f"{where} sets {name} to {option.value}"
    if option.value == "an expression":
        text += " that is not known here"
    if option.name == LOADING:
        return Finding(
            "note",
            f"{text}: a notebook comes cell by cell after it was opened. It can be read, edited and run; saves are "
            "skipped until all of it is there, and what a restart has lost of a human's is not found.",
            remedy,
        )
    return Finding(
        "BAD",
        f"{text}: after so many seconds of quiet the server replaces a notebook's history by an empty one, and a page "
        "that comes back then may bring every cell a second time. Until then all works.",
        remedy,
    )
