"""``collab-agent demo``: a scripted agent and a scripted human share a notebook, and every replica is compared.

The notebook is a real analysis of real data.  The agent is an MCP client that starts ``collab-agent`` on stdio, as
Goose does; the human is a second Yjs peer on the same server (``collab_agent.testing``).  What must come out is kept in
a ledger of plain strings (``ledger.py``), so that agreement alone is not taken for correctness.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

import anyio

from ..errors import CollabAgentError, sole_cause
from ..testing import Human
from .goose import ScriptedAgent, mcp_client
from .ledger import Ledger, texts_of
from .report import Report
from .script import Script
from .stage import NOTEBOOK, Stage, judge, stage
from .tempo import FAST, WATCHED, Tempo
from .typist import Typist

__all__ = ["run_demo"]

HUMAN = "Ada"
_PAGE_S = 30.0


async def run_demo(open_browser: bool, env: Mapping[str, str]) -> int:
    """Show the demo on stdout; 0 only if agent, human, server and file agree and no keystroke was lost.

    ``open_browser``: opens the page, goes slowly enough to watch, and keeps the page until Ctrl-C.
    """
    report = Report(sys.stdout, color=sys.stdout.isatty() and not env.get("NO_COLOR"))
    try:
        return await show(report, env, WATCHED if open_browser else FAST, open_browser=open_browser)
    except BrokenPipeError:  # nobody reads on, as behind `| head`; Python itself would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


async def show(
    report: Report, env: Mapping[str, str], tempo: Tempo, *, open_browser: bool = False, human: type[Typist] = Typist
) -> int:
    """The exit status of one performance.  Whatever goes wrong is told in a line or two, never by a traceback."""
    report.plain("collab-agent demo: an agent and a human work in one notebook at the same time.")
    report.plain(f"{HUMAN} is a scripted human, who types key by key; Goose is a scripted agent on the four MCP tools.")
    report.plain("a1f9 and the like are cells, by their short ids.")
    report.title("Before")
    report.line("", "starting JupyterLab in a temporary folder")
    try:
        async with stage(env, open_browser=open_browser) as at:
            with anyio.fail_after(tempo.deadline_s):
                ok = await _perform(at, report, tempo, human, open_browser=open_browser)
            if open_browser:
                await _keep_open(at, report)
            return 0 if ok else 1
    except Exception as exc:
        cause = sole_cause(exc)
        if isinstance(cause, BrokenPipeError):
            raise cause from None
        told = str(cause) if isinstance(cause, CollabAgentError) else f"{type(cause).__name__}: {cause}"
        if isinstance(cause, TimeoutError):
            told = f"The demo did not get on in time. {cause}".strip()
        report.verdict(False, f"The demo broke off: {told}")
        return 1


async def _perform(at: Stage, report: Report, tempo: Tempo, human: type[Typist], *, open_browser: bool) -> bool:
    """Both join, play the script and are compared."""
    ledger = Ledger(texts_of(json.loads(at.file.read_text("utf-8"))))
    report.line("", f"JupyterLab is up at {at.server.url} with a copy of {NOTEBOOK}: {len(ledger.cells)} cells")
    async with AsyncExitStack() as stack:
        ada = human(
            await stack.enter_async_context(Human.join_server(at.server, NOTEBOOK, HUMAN)), ledger, report, tempo
        )
        report.line(HUMAN, "joins the notebook's room, as a browser would")
        if open_browser:
            await _wait_for_page(ada, report)
        client = await stack.enter_async_context(mcp_client(at.server, at.env, at.folder, at.agent_log))
        goose = ScriptedAgent(client, ledger, report, tempo, beside=ada)
        await goose.opens(NOTEBOOK)
        await goose.reads()
        script = Script(ada, goose, report, tempo)
        await script.play()
        report.title("Verdict")
        await goose.saves()
        ok = await judge(at, ledger, ada, goose, report)
        ok = _played_in_full(goose, report) and ok
        await goose.leaves()
        await ada.sees_no(goose.name)
        report.line(HUMAN, "sees that Goose is gone")
    _last_word(ok, report, watched=open_browser)
    return ok


def _played_in_full(goose: ScriptedAgent, report: Report) -> bool:
    """Agreement proves little unless the two really worked at the same time."""
    did = goose.count
    full = did.edits >= 12 and did.between >= 10 and did.refused > 0 and did.pictures > 0 and bool(did.failed)
    report.check(
        full,
        f"deeds    Goose: {did.edits} edits, {did.between} of them amid Ada's typing; {did.refused} refused; "
        f"{did.runs} runs, {len(did.failed)} failed and mended; {did.pictures} figure",
    )
    return full


def _last_word(ok: bool, report: Report, *, watched: bool) -> None:
    if ok:
        report.verdict(True, "Agent, human, server and file agree character by character. No keystroke was lost.")
        return
    report.verdict(False, "They do not agree: see the lines marked BAD.")
    if watched:
        report.plain("(What you typed into the page yourself is not in the script, and counts as a difference.)")


async def _wait_for_page(ada: Typist, report: Report) -> None:
    """Give the browser time to show the notebook."""
    report.line("", "the page is being opened in your browser")
    with suppress(TimeoutError):
        await ada.human.wait_for(lambda: bool(ada.human.peers()), _PAGE_S)
        report.line("", "the page has joined the room, too: watch the carets of Ada and Goose")
        return
    report.line("", "no page has joined yet: `jupyter server list` shows the address to open; going on")


async def _keep_open(at: Stage, report: Report) -> None:
    """Until Ctrl-C."""
    report.plain(f"\nThe page stays open: {at.server.url}lab/tree/{NOTEBOOK}. Type in it as you like.")
    report.plain("Ctrl-C here ends JupyterLab and removes the temporary folder.")
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return
