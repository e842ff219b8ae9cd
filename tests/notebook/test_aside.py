"""Code run aside: the last expression is split off, so that its value can be shown without leaving a trace."""

from __future__ import annotations

import pytest

from collab_agent.notebook.aside import split_value


@pytest.mark.parametrize(
    ("code", "body", "value"),
    [
        ("1 + 1", "", "(1 + 1)"),
        ("x = 1\nx", "x = 1", "(x)"),
        ("x = 1; x", "x = 1", "(x)"),
        ("é = '😀'; é + 'ü'", "é = '😀'", "(é + 'ü')"),
        ("f(\n  1,\n  2,\n)", "", "(f(\n  1,\n  2,\n))"),
        ("x = 1", "x = 1", None),
        ("x;", "x;", None),
        ("%time x", "%time x", None),
        ("await f()", "await f()", None),
        ("(y := 3)", "(y := 3)", None),
        ("", "", None),
        ("for i in x:\n    i", "for i in x:\n    i", None),
        ("def broken(", "def broken(", None),
    ],
)
def test_split(code: str, body: str, value: str | None) -> None:
    assert split_value(code) == (body, value)


def test_the_parts_compute_what_the_whole_does() -> None:
    code = "total = sum(range(5))\nname = 'ü'; (total,\n name)"
    body, value = split_value(code)
    names: dict[str, object] = {}
    exec(body, names)
    assert value is not None
    assert eval(value, names) == (10, "ü")
