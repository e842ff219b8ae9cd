"""The server: whether it answers, takes the token, has collaboration, and lets its pages and agents use it."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from collab_agent.config import Server
from collab_agent.doctor.finding import Finding
from collab_agent.doctor.process import ServerProcess
from collab_agent.errors import CollabAgentError, Unauthorized, Unreachable
from collab_agent.jupyter.address import is_loopback, same_server
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.discovery import Candidate, is_alive
from collab_agent.jupyter.hub import place_of
from collab_agent.jupyter.pages import Pages

START = "collab-agent lab"
COLLABORATION = "'jupyter-collaboration>=5,<6'"
LEAST_COLLABORATION = 5
"""The major version that the fact pages, and so this package, were tested with."""
LEAST_LAB = (4, 4)
_PROBE_S = 3.0

PAGES_NEED = ("@jupyter/docprovider-extension", "@jupyter/collaboration-extension")
"""The extensions of a page without which it is not in the rooms, or shows nobody in them."""
SERVER_DOCUMENTS = "@jupyter-ai-contrib/server-documents"
NBMODEL = "@datalayer/jupyter-server-nbmodel"


@dataclass(frozen=True, slots=True)
class Patient:
    """The server that is looked at.  ``here``: its file in the runtime folder; ``process``: what runs it, if known."""

    api: JupyterApi
    server: Server
    here: Candidate | None = None
    process: ServerProcess | None = None

    def pip(self, *arguments: str, then: str = "restart the server") -> str:
        """Pip commands for the server's own environment, as exact as can be; ``then`` stands behind as a comment."""
        return self._commands("-m pip", "pip", arguments, then)

    def jupyter(self, *arguments: str, then: str = "restart the server") -> str:
        """``jupyter`` commands of the server's own environment, likewise."""
        return self._commands("-m jupyter", "jupyter", arguments, then)

    def _commands(self, exact: str, plain: str, arguments: Sequence[str], then: str) -> str:
        python = self.process.python if self.process is not None else None
        command = plain if python is None else f"{shlex.quote(str(python))} {exact}"
        place = "where the server is installed; " if python is None else ""
        return " && ".join(f"{command} {words}" for words in arguments) + f"   # {place}then {then}"


async def passed_over(servers: Sequence[Server], ca_file: str | None) -> list[Finding]:
    """The running servers of this user that are not considered, because they do not answer."""
    found = []
    for server in servers:
        try:  # without the token, as they are looked for
            async with JupyterApi(replace(server, token="", ca_file=ca_file), timeout_s=_PROBE_S) as api:
                await api.version()
        except CollabAgentError as error:
            text = f"A server of yours is passed over, root folder {server.root_dir}: {error.message}"
            found.append(Finding("note", text, mends(error)))
    return found


async def answers(patient: Patient) -> Finding:
    """Whether anything answers at its address."""
    try:
        return Finding("ok", f"It answers: jupyter_server {await patient.api.version()}.")
    except CollabAgentError as error:
        startable = type(error) is Unreachable and is_loopback(patient.server.url)
        return Finding("BAD", error.message, START if startable else mends(error))


async def accepts(patient: Patient) -> Finding:
    """Whether it takes our token."""
    try:
        await patient.api.status()
    except Unauthorized as error:
        at_hub = place_of(patient.api.url) is not None
        return Finding("BAD", error.message, mends(error) if at_hub else _other_token(patient))
    except CollabAgentError as error:
        return Finding("BAD", error.message, mends(error))
    return Finding("ok", "The token is accepted." if patient.api.headers else "No token is needed.")


def mends(error: CollabAgentError) -> str:
    """What an error advises, beside the doctor, who is here."""
    return error.hint.replace("Run: collab-agent doctor", "").strip()


def _other_token(patient: Patient) -> str:
    own = "" if patient.here is None else patient.here.server.token
    if own and own != patient.server.token:
        return "unset JUPYTER_TOKEN (or leave out --token-file): the token of a server on this machine is found"
    if patient.here is not None and not own:
        return (
            "it has no token, only a password, which is for people: end it, export JUPYTER_TOKEN=…, and start it again "
            "(the password goes on working)"
        )
    return "jupyter server list   # where it runs, shows it; then: export JUPYTER_TOKEN=…"


async def collaboration(patient: Patient, pages: Pages | None, present: bool) -> AsyncIterator[Finding]:
    """Whether it has the rooms (``present``), in a version that we know; ``BAD`` ends the examination of them."""
    api = patient.api
    if pages is not None and pages.load(SERVER_DOCUMENTS):
        yield await _server_documents(patient)
    elif not present and pages is not None and PAGES_NEED[0] in pages.extensions:
        yield Finding(
            "BAD",
            "jupyter-collaboration is installed, but its server extension jupyter_server_ydoc is off: there are no "
            "rooms. Pages work alone, on the file.",
            patient.jupyter("server extension enable jupyter_server_ydoc"),
        )
    elif not present:
        yield Finding(
            "BAD",
            "jupyter-collaboration is not installed where the server runs: there are no rooms to join. Pages work "
            "alone, on the file.",
            patient.pip(f"install {COLLABORATION}"),
        )
    else:
        yield judge_collaboration(await api.collaboration_version(), patient)
    if pages is not None and pages.load(NBMODEL):
        yield await _nbmodel(patient)


async def _server_documents(patient: Patient) -> Finding:
    version = await patient.api.extension_version(SERVER_DOCUMENTS)
    return Finding(
        "BAD",
        f"jupyter-server-documents {version or ''} serves the rooms in place of jupyter-collaboration, in a protocol "
        "of its own, and writes the outputs itself. Pages work with it; an agent cannot join, even if both are "
        "installed.",
        patient.pip("uninstall --yes jupyter-server-documents", f"install --force-reinstall {COLLABORATION}"),
    )


async def _nbmodel(patient: Patient) -> Finding:
    version = await patient.api.extension_version(NBMODEL)
    return Finding(
        "note",
        f"jupyter-server-nbmodel {version or ''} is installed: of a cell that a human runs in a page the server writes "
        "the outputs, of the agent's cells the agent does, so each has exactly one writer, and all works.",
        patient.pip("uninstall --yes jupyter-server-nbmodel", then="restart the server; only if you do not need it"),
    )


def judge_collaboration(version: str | None, patient: Patient) -> Finding:
    """Whether this version of jupyter-collaboration is one that this package was tested with."""
    if version is None:
        return Finding("ok", "jupyter-collaboration is installed; its page extension does not tell its version.")
    major = version.partition(".")[0]
    if major.isdecimal() and int(major) < LEAST_COLLABORATION:
        return Finding(
            "BAD",
            f"jupyter-collaboration {version} is older than what is supported: it may work, but nothing of this "
            "package was tried with it.",
            patient.pip(f"install {COLLABORATION}"),
        )
    return Finding("ok", f"jupyter-collaboration {version} is installed.")


def judge_pages(pages: Pages | None, patient: Patient) -> Sequence[Finding]:
    """Whether pages come into the rooms that the server has: else page and agent overwrite each other on disk."""
    alone = "Pages save the file by themselves, over what the agent writes in the room."
    if pages is None:
        return [
            Finding(
                "note",
                "The server has no page of JupyterLab, so it is not known whether its pages come into the rooms.",
            )
        ]
    if not pages.collaborate:
        setting = (
            "set YDocExtension.disable_rtc to False, or take it out; then restart the server, and reload the pages"
        )
        return [Finding("BAD", f"Collaboration is turned off for pages (YDocExtension.disable_rtc). {alone}", setting)]
    found = []
    off = sorted(item for item in pages.disabled if item.partition(":")[0] in PAGES_NEED and _matters(item))
    if off:
        commands = patient.jupyter(*(f"labextension enable {item}" for item in off), then="reload the pages")
        found.append(Finding("BAD", f"Pages are told to leave out {', '.join(off)}. {alone}", commands))
    missing = [name for name in PAGES_NEED if name not in pages.extensions]
    if missing:
        install = patient.pip(f"install --force-reinstall {COLLABORATION}", then="restart the server; reload the pages")
        found.append(Finding("BAD", f"Pages do not have {', '.join(missing)}. {alone}", install))
    if (lab := _release(pages.lab)) and lab < LEAST_LAB:
        found.append(
            Finding("BAD", f"JupyterLab {pages.lab} is older than 4.4.", patient.pip("install -U 'jupyterlab>=4.4,<5'"))
        )
    return found or [Finding("ok", f"Its pages, of JupyterLab {pages.lab}, come into the rooms.")]


def _matters(plugin: str) -> bool:
    """Whether a page without this plugin is not in the rooms; other extensions replace the one that runs cells."""
    return not plugin.endswith(
        ("cell-executor", ":statusBarTimeline", ":forkManager", ":user-menu-bar", ":shared-link")
    )


def _release(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


async def rivals(server: Server, running: Sequence[Candidate]) -> list[Finding]:
    """Two servers that serve one folder destroy each other's edits (fault facts, section 2)."""
    if server.root_dir is None:
        return []
    found = []
    for other in (c.server for c in running if c.server.root_dir and not same_server(c.server.url, server.url)):
        root, theirs = _real(server), _real(other)
        if os.path.commonpath([root, theirs]) not in (root, theirs) or not await is_alive(other):
            continue
        stop = "jupyter server stop " + other.url.rstrip("/").partition("//")[2].partition("/")[0].rpartition(":")[2]
        lost = "a notebook that is open on both is overwritten, and what people type is lost"
        if theirs == root:
            text = f"Another server of yours runs on the same root folder: {other.url}; {lost}."
            found.append(Finding("BAD", text, stop))
        else:
            text = (
                f"Another server of yours serves a part of this folder, or all of it: {other.url} ({theirs}); {lost}."
            )
            text += " The agent refuses to open one that is open there."
            found.append(Finding("note", text, f"{stop}   # or keep to one of them"))
    return found


def _real(server: Server) -> str:
    return os.path.realpath(str(server.root_dir))
