"""Which Jupyter server to join, when the user named none.

Every running Jupyter server of this user leaves a ``jpserver-<pid>.json`` (mode 0600) in the Jupyter runtime
folder, with its address, token and root folder.  ``choose`` is the rule; the rest is thin I/O around it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from collab_agent.config import Server, Settings
from collab_agent.errors import CollabAgentError, ConfigError
from collab_agent.jupyter.address import base_url, same_server
from collab_agent.jupyter.api import JupyterApi

_PROBE_S = 3.0
_AS_NEW_S = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that may be joined.  ``started`` is when its file was written, in seconds since the epoch."""

    server: Server
    started: float
    pid: int


def configured(url: str, token: str = "") -> Server:
    """The server that the user named; ``url`` may be a page's address.  Raises ConfigError for a bad one."""
    return Server(base_url(url), token.strip())


def choose(candidates: Sequence[Candidate], cwd: Path) -> Server | None:
    """The server to join: whose root folder holds ``cwd``, then the newest; None if there is none.

    Two that started within a second of each other count as equally new.  Raises ConfigError, which lists the
    addresses and no tokens, if several remain equal.
    """
    if not candidates:
        return None
    near = [c for c in candidates if _holds(c.server.root_dir, cwd)] or candidates
    newest = max(c.started for c in near)
    equal = [c.server for c in near if newest - c.started < _AS_NEW_S]
    if len(equal) > 1:
        listing = "\n".join(f"  {s.url}  root folder {s.root_dir or 'unknown'}" for s in equal)
        raise ConfigError(
            f"{len(equal)} running Jupyter servers could be meant:\n{listing}",
            "Set JUPYTER_URL and JUPYTER_TOKEN, or pass --url URL --token-file FILE.",
        )
    return equal[0]


def _holds(root_dir: str | None, cwd: Path) -> bool:
    return bool(root_dir) and cwd.is_relative_to(str(root_dir))


def completed(server: Server, running: Sequence[Candidate]) -> Server:
    """``server`` with the token and the root folder that its own ``jpserver-*.json`` tells, where it has one.

    A token that the user configured stays; a file's token goes to no other address than the file's own.
    """
    for candidate in running:
        known = candidate.server
        if same_server(known.url, server.url):
            return replace(server, token=server.token or known.token, root_dir=server.root_dir or known.root_dir)
    return server


def parse_info(text: str, started: float) -> Candidate | None:
    """A ``jpserver-*.json`` as a candidate; None if it is half written or not of a TCP server."""
    try:
        info = json.loads(text)
        pid, token, root_dir = info["pid"], info.get("token") or "", info.get("root_dir")
        server = Server(base_url(info["url"]), token, root_dir if isinstance(root_dir, str) else None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError):
        return None
    if info.get("sock") or not isinstance(pid, int) or not isinstance(token, str):
        return None
    return Candidate(server, started, pid)


def runtime_dir(env: Mapping[str, str]) -> Path:
    """The folder where this user's Jupyter servers leave their ``jpserver-*.json``."""
    if named := env.get("JUPYTER_RUNTIME_DIR"):
        return Path(named)
    if data := env.get("JUPYTER_DATA_DIR"):
        return Path(data) / "runtime"
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


def running_servers(folder: Path) -> list[Candidate]:
    """The servers in the runtime folder whose process lives, without asking them anything."""
    found = []
    for file in sorted(folder.glob("jpserver-*.json")):
        try:
            stat = file.stat()
            candidate = parse_info(file.read_text("utf-8"), stat.st_mtime)
        except (OSError, UnicodeDecodeError):
            continue  # it ended in between
        if os.name == "posix" and stat.st_uid != os.geteuid():
            continue  # somebody else wrote it, and would choose where our user's work goes
        if candidate is not None and pid_lives(candidate.pid):
            found.append(candidate)
    return found


def pid_lives(pid: int) -> bool:
    """Whether a process of this number is there (always true where that cannot be told without a library)."""
    if os.name != "posix":
        return True
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def is_alive(server: Server) -> bool:
    """Whether a Jupyter server answers there.  The question needs no token, so none is sent to who knows whom."""
    try:
        async with JupyterApi(replace(server, token=""), timeout_s=_PROBE_S) as api:
            await api.version()
    except CollabAgentError:
        return False
    return True


async def find_server(settings: Settings, env: Mapping[str, str], cwd: Path) -> Server | None:
    """The server to join: the configured one, else a running one, else None; its runtime folder is taken to be ours.

    ``cwd``: an absolute path.  Raises ConfigError if several running ones could be meant.
    """
    folder = runtime_dir(env)
    running = [replace(each, server=replace(each.server, ca_file=settings.ca_file)) for each in running_servers(folder)]
    if settings.server is not None:
        found: Server | None = completed(replace(settings.server, ca_file=settings.ca_file), running)
    else:
        found = choose([c for c in running if await is_alive(c.server)], cwd)
    return None if found is None else replace(found, runtime_dir=found.runtime_dir or folder)
