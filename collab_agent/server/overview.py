"""The answer to ``query="server"``: notebooks, running sessions, kernelspecs, versions."""

from __future__ import annotations

from collections.abc import Sequence

from ..jupyter.api import JupyterApi
from ..notebook.budget import clip_lines
from ..notebook.plain import inline


async def overview(api: JupyterApi, open_paths: Sequence[str], budget: int) -> str:
    """What the server has, in at most ``budget`` characters."""
    listing = await api.contents_listing()
    sessions = await api.sessions()
    specs = await api.kernelspecs()
    head = [
        f"jupyter_server {await api.version()}, collaboration {await api.collaboration_version() or 'missing'}",
        "kernelspecs: "
        + ", ".join(f"{spec.name} ({inline(spec.language, 20)})" for spec in specs.specs)
        + f"; default {specs.default}",
        f"open by you: {', '.join(open_paths) or 'none'}",
        "running sessions:" if sessions else "running sessions: none",
    ]
    head += [f"  {inline(each.path, 120)}: {each.kernel.name}, {each.kernel.state}" for each in sessions]
    notebooks = [f"  {inline(each.path, 200)}  {each.size:,} bytes" for each in listing.notebooks]
    head.append("notebooks:" if notebooks else "notebooks: none")
    if not listing.complete:
        notebooks.append("  … there are more")
    return clip_lines([*head, *notebooks], budget, lambda _first, _n: "they are not all listed here")
