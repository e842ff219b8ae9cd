"""Who may import whom (design, section 2), read off the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "collab_agent"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"audit", "policy"}),
    frozenset({"config"}),
    frozenset({"notebook", "clients", "tls", "websocket"}),
    frozenset({"room", "kernel", "jupyter"}),
    frozenset({"authorship", "nameplate"}),
    frozenset({"host"}),
    frozenset({"appearance", "kernel_holder", "people", "run", "saving", "shelf", "whereabouts"}),
    frozenset({"disk", "losses", "news", "run_writer", "widgets"}),
    frozenset({"journal", "runs"}),
    frozenset({"editing"}),
    frozenset({"peer"}),
    frozenset({"suggestions", "review", "doctor"}),
    frozenset({"agent", "library"}),
    frozenset({"ending"}),
    frozenset({"server", "testing", PACKAGE}),  # PACKAGE: what __init__ exports
    frozenset({"demo", "terminal"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""Imports point up: a part imports itself and parts of earlier layers; parts of one layer do not know each other."""

ONLY_IMPORTERS = {
    "pycrdt": {"room", "testing"},
    "jupyter_ydoc": {"room", "testing"},
    "jupyter_client": {"kernel"},
    "mcp": {"server", "demo"},
    "mcp_types": {"server", "demo"},
    "PIL": {"server"},
    "zmq": {"kernel"},
}
STDLIB_ONLY = {"errors", "audit", "policy", "config", "notebook", "clients"}
READS_THE_ENVIRONMENT = {"cli"}

MUTABLE = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict", "ContextVar", "count"}
"""Calls of these make something that changes; at module level it would outlive whoever made it."""
CHANGES = {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}


@dataclass(frozen=True)
class Module:
    """One source file.  ``part`` is the package or module right below ``collab_agent`` that it belongs to."""

    path: Path
    name: str
    tree: ast.Module

    @property
    def part(self) -> str:
        return part_of(self.name)

    @property
    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, absolute dotted name) of every import, wherever it stands; names are given with their module."""
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*above, *filter(None, [node.module])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)

    def at(self, line: int, what: str) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}: {what}"


def part_of(name: str) -> str:
    """``collab_agent.room.codec`` is of ``room``; a name that is no module is exported by ``collab_agent`` itself."""
    first = name.split(".")[1:2]
    if first and any((ROOT / PACKAGE / place).exists() for place in (first[0], f"{first[0]}.py")):
        return first[0]
    return PACKAGE


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(path, name, ast.parse(path.read_text("utf-8"))))
    return tuple(found)


def rank(part: str) -> int:
    return next((number for number, layer in enumerate(LAYERS) if part in layer), len(LAYERS))


def third_party(name: str) -> str | None:
    top = name.split(".")[0]
    return None if top == PACKAGE or top in sys.stdlib_module_names else top


def test_every_part_has_its_layer() -> None:
    unplaced = {module.part for module in modules()} - frozenset().union(*LAYERS)
    assert unplaced == set(), "say in LAYERS where these belong"


def test_imports_point_up_only() -> None:
    wrong = [
        module.at(line, f"{module.part} imports {name}")
        for module in modules()
        for line, name in module.imports
        if name.split(".")[0] == PACKAGE and part_of(name) != module.part and rank(part_of(name)) >= rank(module.part)
    ]
    assert wrong == []


def test_nothing_but_the_demo_and_the_command_line_imports_the_test_helpers() -> None:
    importers = {
        module.part for module in modules() for _, name in module.imports if name.startswith(f"{PACKAGE}.testing")
    }
    assert importers <= {"testing", "demo", "cli"}


@pytest.mark.parametrize("library", sorted(ONLY_IMPORTERS))
def test_a_library_stays_behind_its_part(library: str) -> None:
    wrong = [
        module.at(line, f"imports {name}")
        for module in modules()
        for line, name in module.imports
        if third_party(name) == library and module.part not in ONLY_IMPORTERS[library]
    ]
    assert wrong == []


def test_the_core_needs_the_standard_library_only() -> None:
    wrong = [
        module.at(line, f"imports {name}")
        for module in modules()
        for line, name in module.imports
        if module.part in STDLIB_ONLY and third_party(name) is not None
    ]
    assert wrong == []


def test_only_the_command_line_reads_the_environment() -> None:
    wrong = []
    for module in modules():
        if module.part in READS_THE_ENVIRONMENT:
            continue
        for node in ast.walk(module.tree):
            match node:
                case ast.Attribute(attr="environ" | "environb" | "getenv" | "getenvb"):
                    wrong.append(module.at(node.lineno, f"reads {node.attr}"))
                case ast.ImportFrom(module="os", names=names) if {n.name for n in names} & {"environ", "getenv"}:
                    wrong.append(module.at(node.lineno, "imports the environment"))
    assert wrong == []


def test_no_module_keeps_state() -> None:
    wrong = []
    for module in modules():
        changed = changed_names(module.tree)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Global):
                wrong.append(module.at(node.lineno, f"global {', '.join(node.names)}"))
        for line, name, value in module_level_values(module.tree):
            if is_fillable(value) or (name in changed and name != "__all__"):
                wrong.append(module.at(line, f"{name} is state"))
    assert wrong == []


def module_level_values(tree: ast.Module) -> Iterator[tuple[int, str, ast.expr]]:
    """(line, name, value) of the assignments outside of functions and classes."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield node.lineno, ast.unparse(target), node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node.lineno, ast.unparse(node.target), node.value


def is_fillable(value: ast.expr) -> bool:
    """Whether this makes an empty container, or another thing that is of use only if it changes."""
    match value:
        case ast.List(elts=[]) | ast.Dict(keys=[]):
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in MUTABLE
    return False


def changed_names(tree: ast.Module) -> set[str]:
    """Names whose value is changed in place somewhere: by item, by attribute, or by a method of containers."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del())
                | ast.Attribute(value=ast.Name(id=name), ctx=ast.Store() | ast.Del())
                | ast.AugAssign(target=ast.Name(id=name))
            ):
                names.add(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in CHANGES:
                names.add(name)
    return names
