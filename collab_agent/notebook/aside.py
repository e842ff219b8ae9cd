"""Code that is run aside: what of it is executed, and what is shown as its value.

A silent ``execute_request`` leaves the count, the history, ``In``, ``Out`` and ``_`` as they were, but shows no value;
so the last expression is split off and asked for as a user expression (``facts/kernel.md``, section 5).
"""

from __future__ import annotations

import ast


def split_value(code: str) -> tuple[str, str | None]:
    """Python code as (what to execute, the last expression or None).

    Not split: code that ends in ``;``, that ``ast`` cannot read (magics), or whose last expression awaits.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code, None
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr) or code.rstrip().endswith(";"):
        return code, None
    if any(isinstance(node, ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr) for node in ast.walk(last)):
        return code, None
    value = ast.get_source_segment(code, last.value)
    if value is None:
        return code, None
    lines = code.split("\n")
    before = lines[: last.lineno - 1]
    head = lines[last.lineno - 1].encode()[: last.col_offset].decode()
    return "\n".join([*before, head]).rstrip().removesuffix(";"), f"({value})"
