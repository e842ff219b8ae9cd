"""What runs inside a kernel, tried here: it must do with anything that a user may have."""

from __future__ import annotations

import ast
import collections
import datetime
import decimal
import enum
import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.kernel.inside import answer, install, look
from collab_agent.kernel.introspection import inside, python_call

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.datetimes(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.builds(collections.deque, st.lists(inner))
    ),
    max_leaves=30,
)


class Untouchable:
    """Nothing of it may be called."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)

    def __repr__(self) -> str:
        raise SystemExit("repr")

    def __eq__(self, other: object) -> bool:
        raise SystemExit("eq")

    __hash__ = None  # type: ignore[assignment]


@given(VALUES)
def test_a_row_is_short_and_json_whatever_the_value(value: Any) -> None:
    row = look.row("x", value)
    assert json.loads(answer.Answer(row).text) == row
    assert len(row.get("preview", "")) <= look.WIDTH


@given(VALUES)
def test_untouchable_values_are_told_by_their_type_wherever_they_are(value: Any) -> None:
    hidden = object.__new__(Untouchable)
    for each in (hidden, [value, hidden], {"key": hidden}, (hidden, value), collections.deque([hidden])):
        assert json.dumps(look.row("x", each))
    assert look.row("x", [hidden])["preview"] == f"[<{look.type_name(Untouchable)}>]"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, {"type": "int", "preview": "3"}),
        (10**5000, {"type": "int", "preview": "about 2**16610"}),
        (decimal.Decimal("1.50"), {"type": "decimal.Decimal", "preview": "1.50"}),
        (Path("/tmp"), {"type": "pathlib.PosixPath", "preview": "/tmp"}),
        (datetime.date(2026, 1, 2), {"type": "datetime.date", "preview": "2026-01-02"}),
        (range(3), {"type": "range", "preview": "range(0, 3)"}),
        (np.float64(0.5), {"type": "numpy.float64", "preview": "0.5"}),
        (np.zeros(2), {"type": "numpy.ndarray", "shape": [2], "dtype": "float64", "bytes": 16, "preview": "0.0, 0.0"}),
        (np.empty((2, 2), object), {"type": "numpy.ndarray", "shape": [2, 2], "dtype": "object", "bytes": 32}),
        (np.zeros((0, 3)), {"type": "numpy.ndarray", "shape": [0, 3], "dtype": "float64", "bytes": 0, "preview": ""}),
        (pd.DataFrame(), {"type": "pandas.DataFrame", "shape": [0, 0], "bytes": 0, "preview": ""}),
        (pd.Series(["a"], dtype="category"), {"type": "pandas.Series", "shape": [1], "dtype": "category"}),
        (pl.DataFrame(), {"type": "polars.DataFrame", "shape": [0, 0], "bytes": 0, "preview": ""}),
        (collections.Counter("aab"), {"type": "collections.Counter", "length": 2, "preview": ""}),
        (types.SimpleNamespace(a=1), {"type": "types.SimpleNamespace"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_said_of_a_value(value: Any, expected: dict[str, Any]) -> None:
    assert look.row("x", value) == {"name": "x", **expected}


def test_a_subclass_of_a_known_class_is_not_asked_by_its_own_methods() -> None:
    class Frame(pd.DataFrame):
        @property
        def shape(self) -> Any:
            raise SystemExit("shape")

    class Array(np.ndarray):
        @property
        def shape(self) -> Any:
            raise SystemExit("shape")

    class Colour(enum.StrEnum):
        RED = "red"

    assert look.row("x", Frame({"a": [1]})).keys() == {"name", "type"}
    assert look.row("x", np.zeros((2, 3)).view(Array))["shape"] == [2, 3]
    assert look.row("x", Colour.RED)["length"] == 3


def test_names_are_grouped_and_bounded() -> None:
    namespace = {"x": 1, "_hidden": 2, "f": len, "C": int, "m": json, 3: "no name", "y" * 300: 4}
    found = look.names(namespace)
    assert found["data"] == ["x", "y" * 199 + "…"]
    assert (found["function"], found["class"], found["module"], found["total"]) == (["f"], ["C"], ["m"], 5)


def test_a_signature_computes_no_repr_of_a_default() -> None:
    hidden = object.__new__(Untouchable)

    def function(a: int, *rest: Any, c: Any = hidden, **more: Any) -> None:
        """Does."""

    found = look.inspected({"f": function}, "f")
    assert found["signature"].startswith("(a: 'int', *rest: 'Any', c: 'Any' = <")
    assert found["signature"].endswith(">, **more: 'Any') -> 'None'")
    assert found["doc"] == "Does."


def test_a_name_that_only_a_getter_knows_is_not_found() -> None:
    class Lazy:
        def __getattr__(self, name: str) -> Any:
            raise SystemExit(name)

    assert look.inspected({"lazy": Lazy()}, "lazy.value") == {"found": False, "safe": False}
    assert look.inspected({}, "nothing.at.all") == {"found": False, "safe": False}
    assert look.inspected({"json": json}, "json.nope") == {"found": False, "safe": True}


def test_the_call_is_one_expression_that_needs_no_name_of_the_users() -> None:
    code, expression = python_call("look.py", {"ask": "rows", "names": ["x"]})
    user: dict[str, Any] = {
        "x": 3,
        **dict.fromkeys(["exec", "eval", "type", "list", "dict", "len", "str", "__import__"]),
    }
    before = set(user)
    exec(code, user)
    shown = eval(ast.unparse(ast.parse(expression, mode="eval")), user)
    assert json.loads(shown.text) == {"rows": [{"name": "x", "type": "int", "preview": "3"}]}
    assert set(user) - before == {"__builtins__"}


@pytest.mark.parametrize("file", ["guard.py", "answer.py", "look.py", "install.py"])
def test_the_files_are_whole_in_themselves(file: str) -> None:
    tree = ast.parse(inside(file), feature_version=(3, 9))
    relative = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert relative == []


def test_an_installer_that_fails_gives_its_reasons() -> None:
    script = "print('Collecting x'); print('ERROR: one'); print('[notice] news'); raise SystemExit(2)"
    with pytest.raises(install.InstallFailed, match=r"\AERROR: one\Z"):
        install.run(["python3", "-c", script])
