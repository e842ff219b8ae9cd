"""``query="variables"`` and ``query="inspect"``: what the kernel knows, as text for a model."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InvalidEdit
from ..kernel import introspection
from ..kernel.client import KernelClient
from ..kernel.introspection import Names, Variable
from ..notebook.budget import clip_lines, query
from ..notebook.display import fenced
from ..notebook.pattern import compile_pattern
from ..notebook.plain import clean, clip, count, cut, inline, size
from ..peer import NotebookPeer

_PAGE = 50
_OTHERS_CHARS = 300
_NAME_CHARS = 60


async def variables(peer: NotebookPeer, *, pattern: str | None, offset: int, limit: int | None, budget: int) -> str:
    """A line per variable, in the order of their making; modules, functions and classes by name only."""
    wanted = None if pattern is None else compile_pattern(pattern)
    client = await peer.ensure_kernel()
    runs = _who_runs(peer, client)
    names = await introspection.names(client, busy=bool(runs))
    if names is None:
        return _busy(runs)
    if wanted is not None:
        names = _only(names, [name for name in _all(names) if wanted.search(name)])
    page = names.data[offset : offset + (limit or _PAGE)]
    rows = await introspection.variables(client, page, busy=bool(runs)) if page else []
    if rows is None:
        return _busy(runs)
    lines = [f"{count(len(names.data), 'variable')}{_matching(pattern)}{_while(runs)}"]
    lines += [line(row) for row in rows]
    left = len(names.data) - offset - len(page)
    if left > 0 or offset:
        more = query("variables", pattern=pattern, offset=offset + len(page), limit=limit)
        lines.append(f"… {left:,} more; {more}" if left > 0 else "these are the last")
    for kind, group in (("modules", names.modules), ("functions", names.functions), ("classes", names.classes)):
        if group:
            lines.append(cut(f"{kind}: {', '.join(inline(name, _NAME_CHARS) for name in group[:100])}", _OTHERS_CHARS))
    return clip_lines(
        lines, budget, lambda first, n: query("variables", pattern=pattern, offset=offset + first - 1, limit=n)
    )


def line(variable: Variable) -> str:
    """``sales: pandas.DataFrame 12 x 3, 420 B: month str, region str, revenue int64``."""
    parts = [inline(variable.type, 80)]
    if variable.shape is not None:
        parts[0] += " " + (
            " x ".join(f"{n:,}" for n in variable.shape) if len(variable.shape) != 1 else f"{variable.shape[0]:,}"
        )
    if variable.dtype:
        parts[0] += f" {inline(variable.dtype, 40)}"
    if variable.length is not None:
        parts.append(f"{variable.length:,} long")
    if variable.bytes is not None:
        parts.append(size(variable.bytes))
    preview = f": {inline(variable.preview, 400)}" if variable.preview else ""
    name = variable.name if variable.name.isidentifier() else repr(variable.name)  # ``globals()["any thing"] = 1``
    return f"{inline(name, _NAME_CHARS)}: {', '.join(parts)}{preview}"


async def inspect(peer: NotebookPeer, name: str | None, budget: int) -> str:
    """Type, signature and documentation of a name."""
    if not name or len(name) > 500:
        raise InvalidEdit("query=inspect needs pattern, the name to look up. Nothing was asked.")
    client = await peer.ensure_kernel()
    runs = _who_runs(peer, client)
    found = await introspection.inspect(client, name.strip(), busy=bool(runs))
    if found is None:
        return _busy(runs)
    if found.text:
        return _fenced(found.text, budget)
    if not found.type:
        return (
            f"the kernel knows nothing of {inline(name, 80)!r}; attributes that only code could find were not computed"
        )
    lines = [f"{inline(name, 80)}: {inline(found.type, 90)}{_while(runs)}"]
    if found.variable is not None:
        lines = [line(found.variable) + _while(runs)]
    lines += [f"({note})" for note in (found.note, found.file) if note]
    lines += [f"signature: {inline(name, 80)}{found.signature}"] if found.signature else []
    head = clip("\n".join(inline(line, 600) for line in lines), budget // 2, "the rest is in the kernel's own help")
    return f"{head}\n{_fenced(found.doc, budget - len(head) - 1)}" if found.doc else f"{head}\nno documentation"


def _fenced(text: str, budget: int) -> str:
    """The kernel's own words, each line behind a bar."""
    lines = fenced(clean(text).split("\n"))
    return clip_lines(lines, budget, lambda _first, _n: "the rest is in the kernel's own help")


def _who_runs(peer: NotebookPeer, client: KernelClient) -> str:
    """Whose code the kernel runs; empty where it is idle."""
    foreign, own = client.foreign_busy, peer.runs.current
    if foreign is not None and not foreign.msg_id:
        return "something that began before you came"
    if foreign is not None:
        return f"code of {inline(peer.who_runs(foreign), 80)}"
    return "" if own is None else f"your run {own.id}"


def _busy(runs: str) -> str:
    return (
        f"the kernel is busy with {runs or 'something'} and cannot be asked meanwhile: it answers only between runs. "
        "Nothing was asked. The notebook and its outputs can be read."
    )


def _while(runs: str) -> str:
    return f" (while the kernel runs {runs})" if runs else ""


def _matching(pattern: str | None) -> str:
    return "" if pattern is None else f" matching {inline(pattern, 60)!r}"


def _all(names: Names) -> Sequence[str]:
    return [*names.data, *names.modules, *names.functions, *names.classes]


def _only(names: Names, kept: Sequence[str]) -> Names:
    wanted = set(kept)
    groups = (names.data, names.modules, names.functions, names.classes)
    data, modules, functions, classes = (tuple(name for name in group if name in wanted) for group in groups)
    return Names(data, modules, functions, classes, names.total)
