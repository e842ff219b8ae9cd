"""What the library exports is a decision: a new name has to be written down here too."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import collab_agent

EXPORTS = {
    "collab_agent": {"CollabAgentError", "join"},
    "collab_agent.testing": {
        "CellSpec",
        "Human",
        "InProcessChannel",
        "InProcessRoom",
        "RoomHost",
        "converged",
        "human_channel",
        "notebook_of",
    },
}


@pytest.mark.parametrize("module", sorted(EXPORTS))
def test_exports_are_what_was_decided(module: str) -> None:
    found = importlib.import_module(module)
    assert set(found.__all__) == EXPORTS[module]
    assert all(inspect.getdoc(getattr(found, name)) for name in found.__all__)


def test_join_takes_what_the_usage_page_says() -> None:
    signature = inspect.signature(collab_agent.join)
    assert [str(parameter) for parameter in signature.parameters.values()] == [
        "url: 'str'",
        "token: 'str'",
        "path: 'str'",
        "name: 'str' = 'Agent'",
        "mark_cells: 'bool' = False",
        "ca_file: 'str | PathLike[str] | None' = None",
    ]
    assert signature.parameters["name"].kind is inspect.Parameter.KEYWORD_ONLY


def test_every_error_is_a_collab_agent_error() -> None:
    errors = importlib.import_module("collab_agent.errors")
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if error.__module__ == errors.__name__:
            assert issubclass(error, collab_agent.CollabAgentError), name
            assert inspect.getdoc(error)
    assert str(errors.RoomClosed("The room is away.", "Call again.")) == "The room is away.\nCall again."
    assert str(errors.RoomClosed("The room is away.")) == "The room is away."


def test_importing_the_package_imports_no_third_party() -> None:
    code = (
        "import sys; before = set(sys.modules); import collab_agent;"
        "print(*({name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["collab_agent"]
