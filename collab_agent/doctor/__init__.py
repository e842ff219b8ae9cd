"""What would be joined and what is missing: one ``Finding`` a line, each with the command or setting that mends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio.to_thread

from collab_agent.config import Server, Settings
from collab_agent.doctor.finding import Finding
from collab_agent.doctor.kernels import kernels
from collab_agent.doctor.notebooks import LISTEN_S, as_text, open_paths, rooms, trust
from collab_agent.doctor.process import process_of
from collab_agent.doctor.server import (
    SERVER_DOCUMENTS,
    START,
    Patient,
    accepts,
    answers,
    collaboration,
    judge_pages,
    mends,
    passed_over,
    rivals,
)
from collab_agent.doctor.settings import settings as settings_of
from collab_agent.errors import CollabAgentError, ConfigError
from collab_agent.jupyter.address import same_server
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.discovery import find_server, running_servers, runtime_dir
from collab_agent.jupyter.embedded import INSTALL_LAB, require_lab

__all__ = ["Finding", "diagnose", "examine"]

_PROBE_S = 5.0


async def diagnose(
    settings: Settings, env: Mapping[str, str], cwd: Path, *, listen_s: float = LISTEN_S
) -> list[Finding]:
    """All findings; see ``examine``."""
    return [finding async for finding in examine(settings, env, cwd, listen_s=listen_s)]


async def examine(
    settings: Settings, env: Mapping[str, str], cwd: Path, *, listen_s: float = LISTEN_S
) -> AsyncIterator[Finding]:
    """The findings, in the order in which things are needed; what cannot be asked after a failure is left out.

    ``cwd``: an absolute path.  ``listen_s``: for how long to listen, where a notebook has a kernel, to who has what
    open as text.  Changes nothing anywhere; no finding holds a token.
    """
    try:
        server = await find_server(settings, env, cwd)
    except ConfigError as error:
        yield Finding(
            "BAD", error.message, "export JUPYTER_URL=…   # or --url; or start the client in the right folder"
        )
        return
    running = running_servers(runtime_dir(env))
    if settings.server is None:
        for finding in await passed_over([each.server for each in running], settings.ca_file):
            yield finding
    if server is None:
        yield _without_server(settings)
        return
    here = next((each for each in running if same_server(each.server.url, server.url)), None)
    yield _found(server, settings)
    async with JupyterApi(server, timeout_s=_PROBE_S) as api:
        patient = Patient(api, server, here, None if here is None else process_of(here.pid))
        for question in (answers, accepts):
            yield (finding := await question(patient))
            if not finding.ok:
                return
        async for finding in _examined(patient, listen_s):
            yield finding
        for finding in await rivals(server, running):
            yield finding
        for finding in await anyio.to_thread.run_sync(settings_of, patient, env):
            yield finding


async def _examined(patient: Patient, listen_s: float) -> AsyncIterator[Finding]:
    """What a server that lets us in tells of itself."""
    try:
        pages = await patient.api.pages()
    except CollabAgentError:  # another front end than JupyterLab
        pages = None
    try:
        present = await patient.api.has_collaboration()
        joinable = present and not (pages is not None and pages.load(SERVER_DOCUMENTS))
        async for finding in collaboration(patient, pages, present):
            yield finding
        paths = await open_paths(patient)
        if joinable:
            for finding in judge_pages(pages, patient):
                yield finding
            finding, editors = await rooms(patient, listen_s if paths else 0.0)
            yield finding
            for finding in as_text(paths, editors):
                yield finding
        for finding in [*await trust(patient, paths), *await kernels(patient)]:
            yield finding
    except CollabAgentError as error:
        yield Finding("BAD", error.message, mends(error))


def _without_server(settings: Settings) -> Finding:
    if not settings.embedded:
        return Finding("BAD", "No Jupyter server of yours is running, and --no-embedded is set.", START)
    try:
        require_lab()
    except ConfigError as error:
        return Finding("BAD", f"No Jupyter server of yours is running. {error.message}", INSTALL_LAB)
    text = "No Jupyter server of yours is running: an embedded JupyterLab will be started when a notebook is opened."
    return Finding("ok", text, f"{START}   # if you want one that stays")


def _found(server: Server, settings: Settings) -> Finding:
    source = "configured" if settings.server is not None else "running"
    root = f", root folder {server.root_dir}" if server.root_dir else ""
    return Finding("ok", f"Server: {server.url} ({source}{root}).")
