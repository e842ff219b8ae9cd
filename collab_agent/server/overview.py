"""The answer to ``query="server"``: notebooks, running sessions, kernelspecs, versions."""

from __future__ import annotations

from collections.abc import Sequence

from ..jupyter.api import JupyterApi
from ..notebook.budget import clip_lines, query, shares
from ..notebook.pattern import compile_pattern
from ..notebook.plain import inline


async def overview(api: JupyterApi, open_paths: Sequence[str], budget: int, pattern: str | None = None) -> str:
    """What the server has, in at most ``budget`` characters; ``pattern`` chooses among sessions and notebooks.

    The agent's own notebooks come first: they are not lost where a server has hundreds.
    """
    wanted = compile_pattern(pattern) if pattern else None
    chosen = wanted.search if wanted is not None else lambda _path: True
    listing = await api.contents_listing(wanted=chosen)
    sessions = [each for each in await api.sessions() if chosen(each.path)]
    files = list(listing.notebooks)
    sessions.sort(key=lambda each: each.path not in open_paths)
    files.sort(key=lambda each: each.path not in open_paths)
    specs = await api.kernelspecs()
    head = [
        f"jupyter_server {await api.version()}, collaboration {await api.collaboration_version() or 'missing'}",
        "kernelspecs: "
        + ", ".join(f"{inline(spec.name, 60)} ({inline(spec.language, 20)})" for spec in specs.specs)
        + f"; default {inline(specs.default, 60)}",
        f"open by you: {', '.join(inline(path, 120) for path in open_paths) or 'none'}",
    ]
    running = [
        f"  {inline(each.path, 120)}: {inline(each.kernel.name, 60)}, {inline(each.kernel.state, 20)}"
        for each in sessions
    ]
    notebooks = [f"  {inline(each.path, 200)}  {each.size:,} bytes" for each in files]
    if not listing.complete:
        notebooks.append("  … there are more")
    room = budget - sum(map(len, head)) - len(head) - 60
    given = shares([sum(map(len, part)) + len(part) for part in (running, notebooks)], room)
    for title, part, most in (("running sessions:", running, given[0]), ("notebooks:", notebooks, given[1])):
        head.append(title if part else f"{title} none")
        if part:
            head.append(clip_lines(part, most, lambda _first, _n: query("server", pattern="NAME"), tail=0))
    return "\n".join(head)
