"""``action="install"``: requirements into the kernel's own environment, as a run like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from ..errors import KernelError
from ..kernel.introspection import language, python_call
from ..kernel.packages import magic
from ..notebook.display import fenced
from ..notebook.plain import clean, cut
from ..notebook.render import Rendered
from . import reports

if TYPE_CHECKING:
    from ..peer import NotebookPeer
    from ..run import Run

_LINE_CHARS = 300


async def begin(peer: NotebookPeer, requirements: list[str]) -> Run:
    """Queue the installation; ``KernelError`` where the kernel's language has none."""
    client = await peer.ensure_kernel()
    spoken = await language(client)
    if spoken is None:
        raise KernelError(
            "The kernel is busy and does not answer. Nothing was installed.", "Try again when it is idle."
        )
    if spoken != "python":
        raise KernelError(
            f"Packages can be installed into Python kernels only; this is a {spoken or 'nameless'} kernel. "
            "Nothing was installed.",
            "Ask the human, or install with the language's own means in a cell that they can see.",
        )
    code, expression = python_call("install.py", requirements)
    return peer.runs.submit_aside(code, {"value": expression})


async def report(peer: NotebookPeer, run: Run, requirements: list[str], *, record: bool, budget: int) -> Rendered:
    """What came of it so far; with ``record`` a cell is added once it is installed."""
    now = anyio.current_time()
    head = reports.run_line(run, "install", now)
    value = run.results.get("value", {})
    if not run.over or not value:
        shown = reports.runs(peer, [run], now, budget - 200, 0)
        later = f"\nnot recorded yet: insert a cell {magic(requirements)!r} when it has ended" if record else ""
        return Rendered(shown.text + (later if not run.over else ""))
    if value.get("status") != "ok":
        why = str(value.get("evalue", "")) if value.get("ename") == "InstallFailed" else str(value.get("ename"))
        lines = fenced(cut(line, _LINE_CHARS) for line in clean(why).splitlines()[:3])
        return Rendered("\n".join([head, "not installed:", *lines]))
    told = clean(str(value.get("data", {}).get("text/plain", "")))
    text = "\n".join([head, *fenced(told.splitlines())])
    if record:
        async with peer.lock:
            done = await peer.edit([{"op": "insert", "source": magic(requirements)}])
        text += f"\n{reports.edited(peer, done, 300)}: {magic(requirements)} (not run)"
    return Rendered(text)
