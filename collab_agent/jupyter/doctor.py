"""What would be joined and what is missing: one ``Finding`` a line, each with the command that mends it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from collab_agent.config import Server, Settings
from collab_agent.errors import CollabAgentError, ConfigError, Unauthorized
from collab_agent.jupyter.address import same_server
from collab_agent.jupyter.api import INSTALL_COLLABORATION, JupyterApi
from collab_agent.jupyter.discovery import Candidate, find_server, running_servers, runtime_dir
from collab_agent.jupyter.embedded import INSTALL_LAB, require_lab

_PROBE_S = 5.0
_START = "collab-agent lab"
_LEAST_COLLABORATION = 5
"""The major version that the fact pages, and so this package, were tested with."""

_RISKY = re.compile(
    r"""^(?!\s*\#).*\b(document_ttl|squash_after_inactivity_of)\b["']?\s*[:=]\s*(?!None|null|\s)""",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: whether it is well, what was seen, and the command that mends it (may be empty)."""

    ok: bool
    text: str
    command: str = ""


async def diagnose(settings: Settings, env: Mapping[str, str], cwd: Path) -> list[Finding]:
    """All findings, in the order in which things are needed; what cannot be asked after a failure is left out.

    ``cwd``: an absolute path.  Changes nothing anywhere; no finding holds a token.
    """
    try:
        server = await find_server(settings, env, cwd)
    except ConfigError as error:
        return [Finding(False, error.message, "export JUPYTER_URL=http://…")]
    if server is None:
        return [_without_server(settings)]
    running = running_servers(runtime_dir(env))
    findings = [_found(server, settings)]
    async with JupyterApi(server, timeout_s=_PROBE_S) as api:
        if await _answers(api, findings) and await _token(api, findings):
            if await _collaboration(api, findings):
                findings.append(await _room(api))
            findings.append(await _kernels(api))
    findings += _shared_root(server, running)
    if server.root_dir is not None:
        findings += await anyio.to_thread.run_sync(_history, _config_folders(env))
    return findings


def _without_server(settings: Settings) -> Finding:
    if not settings.embedded:
        return Finding(False, "No Jupyter server of yours is running, and --no-embedded is set.", _START)
    try:
        require_lab()
    except ConfigError as error:
        return Finding(False, f"No Jupyter server of yours is running. {error.message}", INSTALL_LAB)
    return Finding(True, "No Jupyter server of yours is running: an embedded JupyterLab will be started.", _START)


def _found(server: Server, settings: Settings) -> Finding:
    source = "configured" if settings.server is not None else "running"
    root = f", root folder {server.root_dir}" if server.root_dir else ""
    return Finding(True, f"Server: {server.url} ({source}{root}).")


async def _answers(api: JupyterApi, findings: list[Finding]) -> bool:
    try:
        findings.append(Finding(True, f"It answers: jupyter_server {await api.version()}."))
    except CollabAgentError as error:
        findings.append(Finding(False, error.message, _START))
        return False
    return True


async def _token(api: JupyterApi, findings: list[Finding]) -> bool:
    try:
        await api.status()
    except Unauthorized as error:
        findings.append(Finding(False, error.message, "jupyter server list   # shows it; then: export JUPYTER_TOKEN=…"))
        return False
    except CollabAgentError as error:
        findings.append(Finding(False, error.message))
        return False
    findings.append(Finding(True, "The token is accepted." if api.headers else "No token is needed."))
    return True


async def _collaboration(api: JupyterApi, findings: list[Finding]) -> bool:
    try:
        present = await api.has_collaboration()
        version = await api.collaboration_version() if present else None
    except CollabAgentError as error:
        findings.append(Finding(False, error.message))
        return False
    if not present:
        findings.append(
            Finding(False, "jupyter-collaboration is not installed where the server runs.", INSTALL_COLLABORATION)
        )
        return False
    findings.append(judge_collaboration(version))
    return True


def judge_collaboration(version: str | None) -> Finding:
    """Whether this version of jupyter-collaboration is one that this package was tested with."""
    if version is None:
        return Finding(True, "jupyter-collaboration is installed; its page extension does not tell its version.")
    major = version.partition(".")[0]
    if major.isdecimal() and int(major) < _LEAST_COLLABORATION:
        return Finding(
            False, f"jupyter-collaboration {version} is older than what is supported.", INSTALL_COLLABORATION
        )
    return Finding(True, f"jupyter-collaboration {version} is installed.")


async def _kernels(api: JupyterApi) -> Finding:
    try:
        specs = await api.kernelspecs()
    except CollabAgentError as error:
        return Finding(False, error.message)
    if not specs.specs:
        return Finding(False, "The server has no kernelspec, so nothing can run.", "pip install ipykernel")
    names = ", ".join(f"{s.name} (default)" if s.name == specs.default else s.name for s in specs.specs)
    return Finding(True, f"Kernelspecs: {names}.")


async def _room(api: JupyterApi) -> Finding:
    """Whether websockets get through: the presence room, joined without a presence, opens with a sync step 1."""
    from websockets.exceptions import WebSocketException

    from collab_agent.websocket import open_websocket

    url = api.ws_url("api/collaboration/room/JupyterLab:globalAwareness")
    try:
        with anyio.fail_after(_PROBE_S):
            socket = await open_websocket(url, api.headers, api.limits, open_s=_PROBE_S, tls=api.tls)
            async with socket:
                await socket.recv()
    except (OSError, WebSocketException) as error:  # TimeoutError is an OSError
        return Finding(
            False,
            f"The collaboration rooms' websocket does not open ({type(error).__name__}): "
            "a proxy in front of the server may not pass websockets on.",
        )
    return Finding(True, "The collaboration rooms can be joined.")


def _shared_root(server: Server, running: Sequence[Candidate]) -> list[Finding]:
    """Two servers on one root destroy each other's edits (fault facts, section 2)."""
    others = [
        c.server.url
        for c in running
        if server.root_dir and c.server.root_dir == server.root_dir and not same_server(c.server.url, server.url)
    ]
    if not others:
        return []
    text = f"Other servers run on the same root folder ({', '.join(others)}): human edits would be lost."
    return [Finding(False, text, "jupyter server stop " + others[0].rstrip("/").rpartition(":")[2])]


def _config_folders(env: Mapping[str, str]) -> list[Path]:
    from jupyter_core.paths import jupyter_config_path

    own = [Path(env["JUPYTER_CONFIG_DIR"])] if env.get("JUPYTER_CONFIG_DIR") else []
    return own + [Path(folder) for folder in jupyter_config_path()]


def _history(folders: Sequence[Path]) -> list[Finding]:
    """Options of the document store that make it forget, after which every cell doubles (fault facts, section 2)."""
    found: dict[Path, str] = {}
    for folder in folders:
        for pattern in ("jupyter*_config.py", "jupyter*_config.json", "jupyter*_config.d/*.json"):
            for file in folder.glob(pattern):
                try:
                    options = risky_options(file.read_text("utf-8", "replace"))
                except OSError:
                    continue
                if options:
                    found[file] = ", ".join(options)
    return [
        Finding(False, f"{file} sets {options}: with it cells double after a reload. Remove it.")
        for file, options in found.items()
    ]


def risky_options(config: str) -> list[str]:
    """The dangerous options that a configuration file (Python or JSON) sets to a value, sorted."""
    return sorted(set(_RISKY.findall(config)))
