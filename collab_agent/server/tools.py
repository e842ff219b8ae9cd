"""The four tools: arguments in, text and pictures out.

Each call answers with what it did, and ends with what others did since this agent's last call.  Calls that change
something are serialised per notebook; waiting for a run holds nobody up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
from mcp_types import Tool

from ..agent import Agent
from ..errors import CollabAgentError, InvalidEdit
from .arguments import Arguments
from .progress import Report, reporting
from .schema import EXECUTE, MODIFY, QUERY, SETUP

if TYPE_CHECKING:
    from ..notebook.render import Rendered
    from ..peer import NotebookPeer
    from ..run import Run

SINCE = "since your last call: "
SINCE_CHARS = 600
"""Kept free for the closing line."""
LEAST_CHARS = 150
"""What a notebook needs of them: it is told next time if there is less."""
MOST_CHARS = 40_000
"""At most so much where the call names a ``limit``."""
SEE_END_S = 0.6
"""How long a cancelled call waits for what the run that it interrupted says last."""
PEOPLE_S = 18.0
"""An idle page announces itself only so often: y-protocols looks every 3 s whether 15 s have passed."""


class Tools:
    """The tools of one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._limits = agent.settings.limits
        self._budget = self._limits.result_chars - SINCE_CHARS
        self._parting: list[str] = []

    async def call(self, tool: Tool, given: Mapping[str, Any], report: Report | None = None) -> Rendered:
        """Do one call; a ``CollabAgentError`` carries the closing line, too.  ``report`` hears what it waits for."""
        from ..notebook.render import Rendered

        handlers: dict[str, Callable[[Arguments], Awaitable[Rendered]]] = {
            SETUP.name: self._setup,
            QUERY.name: self._query,
            MODIFY.name: self._modify,
            EXECUTE.name: self._execute,
        }
        arguments = Arguments(tool, given, report)
        try:
            rendered = await handlers[tool.name](arguments)
        except CollabAgentError as exc:
            raise type(exc)(exc.message, "\n".join(filter(None, (exc.hint, await self._closing(given))))) from exc
        text = "\n".join(filter(None, (rendered.text, await self._closing(given))))
        return Rendered(text, rendered.images)

    async def _closing(self, given: Mapping[str, Any]) -> str:
        """The closing line: what became of the agent's suggestions, then what others did."""
        from ..notebook.plain import inline

        meant, decided = given.get("notebook_path"), []
        for path in self._agent.open_paths:
            where = "" if meant == path or len(self._agent.open_paths) == 1 else f"in {inline(path, 80)}: "
            with suppress(CollabAgentError):  # left meanwhile
                decided += [where + each for each in await self._agent.suggestions(self._agent.get(path)).news()]
        trouble = self._agent.audit.take_trouble()
        return self._since(given, [trouble, *decided] if trouble else decided)

    def _since(self, given: Mapping[str, Any], decided: Sequence[str]) -> str:
        """What others did since the last call, in one line: where the call was meant, then in other open notebooks."""
        from ..notebook.plain import cut, inline
        from . import others

        path = given.get("notebook_path")
        try:
            meant = self._agent.get(path if isinstance(path, str) else None)
        except CollabAgentError:
            meant = None
        told, self._parting = [*decided, *self._parting], []
        peers = self._agent.peers
        for peer in sorted(peers, key=lambda peer: peer is not meant):
            where = "" if peer is meant else f"in {inline(peer.path, 80)}: "
            left = SINCE_CHARS - len(SINCE) - sum(map(len, told)) - 2 * len(told) - len(where)
            try:
                text = others.since(peer, left) if left > LEAST_CHARS else ""
            except CollabAgentError:
                continue  # the room is away: told next time
            told += [where + text] if text else []
        return cut(SINCE + "; ".join(told), SINCE_CHARS) if told else ""

    def _part_from(self, peer: NotebookPeer) -> None:
        """We are about to leave: what others did there so far is told now or never."""
        from . import others

        with suppress(CollabAgentError):
            self._parting += filter(None, [others.since(peer, SINCE_CHARS - len(SINCE))])

    def _peer(self, arguments: Arguments) -> NotebookPeer:
        return self._agent.get(arguments.text("notebook_path"))

    # setup_notebook

    async def _setup(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered

        path, action = arguments.text("notebook_path"), arguments.choice("action")
        if action == "save":
            peer = self._peer(arguments)
            await peer.save()
            return Rendered(f"saved: {peer.path} on disk holds what the room holds (read back)")
        if action == "leave":
            self._part_from(peer := self._peer(arguments))
            left = f"left {await self._agent.leave(path)}; its kernel goes on"
            calls = peer.journal.unsaved()
            unsaved = f"\nthe room holds what {calls} of your calls wrote, but it is not known to be on disk yet: "
            return Rendered(left + (unsaved + "the human has autosave off, or the file is gone" if calls else ""))
        if path is None:
            if not self._agent.open_paths:
                raise InvalidEdit("setup_notebook needs notebook_path. Nothing was opened.", 'E.g. "analysis.ipynb".')
            path = self._peer(arguments).path
        return await self._open(path, arguments.text("kernel"))

    async def _open(self, path: str, kernel: str | None) -> Rendered:
        from ..notebook import render
        from . import others

        peer = await self._agent.open(path, kernel)
        try:
            client = await peer.ensure_kernel(kernel)
            busy = client.foreign_busy
            state = "idle"
            if busy is not None:
                unknown = "starting, or busy with what began before you came"
                state = f"busy with code of {peer.who_runs(busy)}" if busy.msg_id else unknown
        except CollabAgentError as exc:
            state = f"none ({exc.message})"
        here = others.here(peer) or "nobody else has shown up yet (an idle page does so every 15 s)"
        outline = render.outline(peer.view, peer.outputs, peer.seen, budget=self._budget - others.HERE_CHARS - 400)
        return render.Rendered(f"{outline}\nhere: {here}\nkernel: {state}\nyou are: {peer.identity.name}")

    # query_notebook

    async def _query(self, arguments: Arguments) -> Rendered:
        handlers: dict[str, Callable[[Arguments], Awaitable[Rendered]]] = {
            "outline": self._read,
            "cells": self._read,
            "outputs": self._read,
            "search": self._read,
            "changes": self._changes,
            "people": self._people,
            "variables": self._variables,
            "inspect": self._inspect,
            "runs": self._runs,
            "suggestions": self._suggestions,
            "server": self._server,
        }
        return await handlers[arguments.choice("query")](arguments)

    async def _read(self, arguments: Arguments) -> Rendered:
        from ..notebook import render

        peer, what = self._peer(arguments), arguments.choice("query")
        offset, limit = arguments.integer("offset", 0) or 0, arguments.integer("limit", 1)
        view, load, seen = peer.view, peer.outputs, peer.seen
        # Who says how much, gets more than the default: a long cell must be readable in full to be rewritten.
        budget = self._budget if limit is None else MOST_CHARS
        pattern = arguments.text("pattern")
        if what == "outline":
            return render.Rendered(render.outline(view, load, seen, offset=offset, limit=limit, budget=budget))
        if what == "search":
            if pattern is None:
                raise InvalidEdit("query=search needs pattern, a regular expression. Nothing was searched.")
            return render.Rendered(render.search(view, load, seen, pattern, offset=offset, limit=limit, budget=budget))
        ids = peer.resolve(arguments.refs("cells") or ["all"]) if view.cells else []
        if what == "cells":
            return render.Rendered(render.cells(view, ids, load, seen, offset=offset, limit=limit, budget=budget))
        return render.outputs(
            view,
            ids,
            load,
            seen,
            offset=offset,
            limit=limit,
            pattern=pattern,
            budget=budget,
            images=self._limits.images,
        )

    async def _changes(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered
        from . import others

        peer, wait_s = self._peer(arguments), arguments.number("wait_s", 0)
        finished = await peer.news.wait(wait_s) if wait_s else []
        found = [change for change in peer.news.give() if not peer.journal.losses.explains(change)]
        lost = peer.journal.losses.show(self._budget // 2)
        if lost and not found and not finished:
            return Rendered(lost)
        text = others.changes(peer, found, finished, wait_s, self._budget - len(lost))
        return Rendered("\n".join(filter(None, (lost, text))))

    async def _people(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered
        from . import others

        peer = self._peer(arguments)
        await peer.people.wait_for_all(PEOPLE_S)
        return Rendered(others.everybody(peer, self._budget))

    async def _variables(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered
        from . import looking

        limit = arguments.integer("limit", 1)
        text = await looking.variables(
            self._peer(arguments),
            pattern=arguments.text("pattern"),
            offset=arguments.integer("offset", 0) or 0,
            limit=limit,
            budget=self._budget if limit is None else MOST_CHARS,
        )
        return Rendered(text)

    async def _inspect(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered
        from . import looking

        return Rendered(await looking.inspect(self._peer(arguments), arguments.text("pattern"), self._budget))

    async def _runs(self, arguments: Arguments) -> Rendered:
        from . import reports

        peer = self._peer(arguments)
        queue = peer.runs
        open_runs = [run for run in queue.all if not run.over]
        async with reporting(peer, open_runs, arguments.report):
            await queue.wait(open_runs, arguments.number("wait_s", 0))
        listed = open_runs or queue.all[-(arguments.integer("limit", 1) or 10) :]
        return reports.runs(peer, listed, anyio.current_time(), self._budget, self._limits.images)

    async def _suggestions(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered
        from . import suggesting

        peer, limit = self._peer(arguments), arguments.integer("limit", 1)
        found = await self._agent.suggestions(peer).all()
        offset = arguments.integer("offset", 0) or 0
        return Rendered(suggesting.listing(peer, found, offset, limit, self._budget if limit is None else MOST_CHARS))

    async def _server(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered
        from .overview import overview

        api = await self._agent.api()
        return Rendered(await overview(api, self._agent.open_paths, self._budget, arguments.text("pattern")))

    # modify_notebook_cells

    async def _modify(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered
        from . import reports

        peer, title = self._peer(arguments), arguments.text("suggest")
        if title is not None:
            from . import suggesting

            async with peer.lock:
                shown = await self._agent.suggestions(peer).suggest(title, _edits(arguments.raw("edits")))
            return Rendered(suggesting.made(peer, shown, self._budget))
        async with peer.lock:
            report = await peer.edit(_edits(arguments.raw("edits")))
        return Rendered(reports.edited(peer, report, self._budget))

    # execute_notebook_code

    async def _execute(self, arguments: Arguments) -> Rendered:
        handlers: dict[str, Callable[[Arguments], Awaitable[Rendered]]] = {
            "run": self._run,
            "interrupt": self._interrupt,
            "restart": self._restart,
            "reply": self._reply,
            "install": self._install,
        }
        return await handlers[arguments.choice("action")](arguments)

    async def _run(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered
        from . import reports

        peer, code, edits = self._peer(arguments), arguments.text("code"), arguments.raw("edits")
        refs, wait_s = arguments.refs("cells"), arguments.number("wait_s", 30)
        stop_on_error = arguments.flag("stop_on_error", True)
        if code is not None and (edits is not None or refs is not None):
            raise InvalidEdit("code is run aside: it goes with neither cells nor edits. Nothing was done.")
        if code is None and edits is None and refs is None:
            raise InvalidEdit("action=run needs cells, edits or code. Nothing was run.", 'E.g. cells=["a1f9"].')
        report = ""
        async with peer.lock:
            if code is not None:
                started = [await peer.run_aside(code)]
            else:
                await peer.ensure_kernel()  # before anything is written: no kernel, no edit
                touched: tuple[str, ...] = ()
                if edits is not None:
                    done = await peer.edit(_edits(edits))
                    report, touched = reports.edited(peer, done, self._budget // 3) + "\n", done.code
                cells = peer.resolve(refs) if refs is not None else list(touched)
                if refs is not None and any(ref == "all" or ":" in ref for ref in refs):
                    cells = peer.code_cells(cells)
                started = await peer.run_cells(cells, stop_on_error=stop_on_error)
        async with reporting(peer, started, arguments.report):
            await self._wait(peer, started, wait_s)
        shown = reports.runs(peer, started, anyio.current_time(), self._budget - len(report), self._limits.images)
        text = shown.text if started else "nothing to run: the edits touched no code cell"
        return Rendered(report + text, shown.images)

    async def _wait(self, peer: NotebookPeer, started: list[Run], wait_s: float) -> None:
        """Wait for runs; a cancelled call interrupts what it started, and nothing else."""
        try:
            await peer.runs.wait(started, wait_s)
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(5, shield=True):
                if any(run is peer.runs.current for run in started):
                    current, _ = await peer.runs.interrupt("the call was cancelled")
                    ended = [] if current is None else [current]
                    await peer.runs.wait(ended, SEE_END_S, even_for_input=True)  # so that the page shows how
                else:
                    peer.runs.drop(started, "not run: the call was cancelled")
            raise

    async def _interrupt(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered
        from . import reports

        peer = self._peer(arguments)
        run, dropped = await peer.runs.interrupt()
        await peer.runs.wait([run] if run is not None else [], 5, even_for_input=True)
        if run is None and not dropped:
            return Rendered("no run of yours was in progress; nothing was interrupted")
        listed = [*([run] if run is not None else []), *dropped]
        return reports.runs(peer, listed, anyio.current_time(), self._budget, self._limits.images)

    async def _restart(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered

        peer = self._peer(arguments)
        async with peer.lock:
            await peer.restart_kernel()
        return Rendered(
            "restarted the kernel: all variables, imports and definitions are gone, the human's too; "
            'the notebook is as it was. execute_notebook_code(cells="all") runs everything again.'
        )

    async def _reply(self, arguments: Arguments) -> Rendered:
        from ..notebook.render import Rendered
        from . import reports

        peer, text = self._peer(arguments), arguments.text("reply")
        if text is None:
            raise InvalidEdit("action=reply needs reply, the line to answer with. Nothing was sent.")
        run = peer.runs.reply(text)
        if run is None:
            return Rendered("no run of yours asks for input; nothing was sent")
        async with reporting(peer, [run], arguments.report):
            await self._wait(peer, [run], arguments.number("wait_s", 30))
        return reports.runs(peer, [run], anyio.current_time(), self._budget, self._limits.images)

    async def _install(self, arguments: Arguments) -> Rendered:
        from ..kernel import packages
        from . import installing

        peer, requirements = self._peer(arguments), packages.parse(arguments.raw("packages"))
        run = await installing.begin(peer, requirements)
        async with reporting(peer, [run], arguments.report):
            await self._wait(peer, [run], arguments.number("wait_s", 30))
        return await installing.report(
            peer, run, requirements, record=arguments.flag("record", False), budget=self._budget
        )


def _edits(value: Any) -> Any:
    """Edits as a list: some models send the list as JSON text."""
    import json

    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidEdit("edits must be a list of objects. Nothing was written.") from None
    return value
