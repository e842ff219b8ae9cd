"""Which Jupyter server to join, when the user named none.

Every running Jupyter server of this user leaves a ``jpserver-<pid>.json`` (mode 0600) in the Jupyter runtime
folder, with its address, token and root folder.  ``choose`` is the rule; the rest is thin I/O around it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from collab_agent.config import Server
from collab_agent.errors import ConfigError

_PROBE_S = 3.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that may be joined.  ``started`` is when its file was written, in seconds since the epoch."""

    server: Server
    started: float
    pid: int


def choose(candidates: Sequence[Candidate], cwd: Path) -> Server | None:
    """The server to join: whose root folder holds ``cwd``, then the newest; None if there is none.

    Of several roots that hold ``cwd`` the deepest is the nearest to what the user is looking at.  Raises
    ConfigError, which lists the addresses and no tokens, if several remain equal.
    """
    if not candidates:
        return None
    ranks = [(_depth_of_root(c.server.root_dir, cwd), c.started) for c in candidates]
    best = max(ranks)
    tied = [c.server for c, rank in zip(candidates, ranks, strict=True) if rank == best]
    if len(tied) > 1:
        listing = "\n".join(f"  {server.url}  root folder {server.root_dir}" for server in tied)
        raise ConfigError(
            f"{len(tied)} Jupyter servers could be meant:\n{listing}",
            "Set JUPYTER_URL and JUPYTER_TOKEN, or pass --url URL --token-file FILE.",
        )
    return tied[0]


def _depth_of_root(root_dir: str | None, cwd: Path) -> int:
    """How many parts ``root_dir`` has if it holds ``cwd``, else -1."""
    if not root_dir:
        return -1
    root = Path(root_dir)
    return len(root.parts) if cwd.is_relative_to(root) else -1


def parse_info(text: str, started: float) -> Candidate | None:
    """A ``jpserver-*.json`` as a candidate; None if it is half written or not of a TCP server."""
    try:
        info = json.loads(text)
        if not isinstance(info, dict) or info.get("sock") or not isinstance(info["pid"], int):
            return None
        url, token, root_dir = info["url"], info.get("token") or "", info.get("root_dir")
    except (ValueError, KeyError):
        return None
    if not isinstance(url, str) or not isinstance(token, str) or not url.startswith(("http://", "https://")):
        return None
    return Candidate(
        Server(on_loopback(url), token, root_dir if isinstance(root_dir, str) else None), started, info["pid"]
    )


def on_loopback(url: str) -> str:
    """``url`` as base URL with a trailing slash; an address that means "every interface" becomes loopback."""
    parts = urlsplit(url)
    netloc = parts.netloc
    if parts.hostname in ("0.0.0.0", "::"):
        netloc = "127.0.0.1" if parts.port is None else f"127.0.0.1:{parts.port}"
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/") + "/", "", ""))


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
            candidate = parse_info(file.read_text("utf-8"), file.stat().st_mtime)
        except (OSError, UnicodeDecodeError):
            continue  # it ended in between, or is somebody else's
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
    """Whether a Jupyter server answers there.  ``/api`` needs no token, so a wrong one is not sent around."""
    import httpx2

    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=_PROBE_S) as client:
            answer = await client.get(server.url + "api")
            return answer.status_code == 200 and "version" in answer.json()
    except (httpx2.HTTPError, ValueError):
        return False


async def discover(env: Mapping[str, str], cwd: Path) -> Server | None:
    """The running server to join; None if this user has none.  Raises ConfigError if several are equal.

    ``cwd``: an absolute path.
    """
    alive = [c for c in running_servers(runtime_dir(env)) if await is_alive(c.server)]
    return choose(alive, cwd)
