"""A JupyterLab of our own, for the user who has none running.

It is a child process in a process group of its own, on a leash: when our process ends, even killed, so does it
(``leash``).  Its token goes through the environment, never argv,
which every user of the machine can read.  Its output goes to a log file, never to our stdout, which is MCP's
wire.  It is found again by the ``jpserver-*.json`` that every Jupyter server writes and that holds the token,
so that neither the port nor the process id (a launcher's, on Windows) has to be guessed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio.abc import Process

from collab_agent.config import Server
from collab_agent.errors import CollabAgentError, ConfigError, Unreachable
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.discovery import is_alive, running_servers, runtime_dir
from collab_agent.jupyter.environment import prepared
from collab_agent.jupyter.leash import KINDLY_S

INSTALL_LAB = "pip install 'collab-agent[lab]'"
_NEEDED = ("jupyterlab", "jupyter_server_ydoc", "jupyter_collaboration", "ipykernel")
_POLL_S = 0.1
_KINDLY_S = 6.0
"""How long the server may take to shut its kernels down; jupyter_server itself gives a kernel 5 s."""
_FIRMLY_S = 1.5


@dataclass(frozen=True, slots=True)
class EmbeddedLab:
    """A running JupyterLab: where it is, its process id, and the file that holds what it printed."""

    server: Server
    pid: int
    log_path: Path


@contextlib.asynccontextmanager
async def embedded_lab(
    root_dir: str | os.PathLike[str],
    *,
    env: Mapping[str, str],
    open_browser: bool = False,
    notebook: str | None = None,
    port: int = 0,
    log_path: Path | None = None,
    extra_args: Sequence[str] = (),
    timeout_s: float = 60.0,
) -> AsyncIterator[EmbeddedLab]:
    """JupyterLab with collaboration on ``root_dir``, ready to be joined; stopped at the end of the block.

    ``env`` is the environment that the server and its kernels get; its active Python environment runs notebooks
    (``python_of``).  ``notebook`` (relative to ``root_dir``)
    is what the browser opens.  ``port`` 0 takes a free one; a taken one moves on.  ``log_path`` None: a new
    file in the temporary folder, readable by this user only.

    Raises ConfigError if JupyterLab or its collaboration is not installed here or ``root_dir`` is no folder,
    Unreachable if it does not come up in ``timeout_s`` seconds.
    """
    require_lab()
    root = _folder(root_dir)
    token = secrets.token_urlsafe(32)
    argv = lab_command(root, port=port or free_port(), open_browser=open_browser, notebook=notebook, as_root=_is_root())
    log = log_path or _new_log()
    with prepared(env) as (ready, folder):
        process = await _spawn(leashed([*argv, *extra_args], folder), {**ready, "JUPYTER_TOKEN": token}, root, log)
        server: Server | None = None
        try:
            server = await _ready(process, token, runtime_dir(env), log, timeout_s)
            yield EmbeddedLab(server, process.pid, log)
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(process, server)


def require_lab() -> None:
    """Raise ConfigError unless this Python can start JupyterLab with collaboration and a Python kernel."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"No JupyterLab can be started here: {', '.join(missing)} is not installed in {sys.prefix}.",
            f"Run: {INSTALL_LAB}",
        )


def lab_command(
    root: Path, *, port: int, open_browser: bool = False, notebook: str | None = None, as_root: bool = False
) -> list[str]:
    """The argument list that starts JupyterLab; it holds no secret.

    News and the update check are off: a server that we start for somebody does not call home, and its pop-up
    would lie over the notebook.
    """
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=50",
        f"--ServerApp.root_dir={root}",
        f"--ServerApp.open_browser={open_browser}",
        f"--ServerApp.allow_root={as_root}",
        "--ServerApp.answer_yes=True",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *([str(root / notebook)] if notebook else []),
    ]


def leashed(argv: Sequence[str], folder: Path) -> list[str]:
    """The same server (``lab_command``), which ends when its stdin does, and takes this folder along."""
    return [argv[0], "-m", "collab_agent.jupyter.leash", str(folder), *argv[3:]]


def _folder(root_dir: str | os.PathLike[str]) -> Path:
    root = Path(root_dir).resolve()
    if not root.is_dir():
        raise ConfigError(f"{root} is not a folder.", "Name an existing folder.")
    return root


def free_port() -> int:
    """A TCP port that is free on the loopback interface at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _new_log() -> Path:
    handle, name = tempfile.mkstemp(prefix="collab-agent-lab-", suffix=".log")  # mode 0600
    os.close(handle)
    return Path(name)


async def _spawn(argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path) -> Process:
    with log.open("ab") as output:
        return await anyio.open_process(
            argv,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )


async def _ready(process: Process, token: str, runtime: Path, log: Path, timeout_s: float) -> Server:
    """Wait until the server that carries ``token`` answers."""
    with anyio.move_on_after(timeout_s):
        while process.returncode is None:
            for found in running_servers(runtime):
                if found.server.token == token and await is_alive(found.server):
                    return replace(found.server, runtime_dir=runtime)
            await anyio.sleep(_POLL_S)
    state = "did not answer in time" if process.returncode is None else f"ended with {process.returncode}"
    raise Unreachable(
        f"The embedded JupyterLab {state}. The end of its log:\n{_tail(log, token)}",
        f"See {log}, or start JupyterLab yourself: {sys.executable} -m jupyterlab",
    )


def _tail(log: Path, token: str, lines: int = 8) -> str:
    try:
        text = log.read_text("utf-8", "replace").replace(token, "…")
    except OSError:  # the temporary folder was swept
        return "(the log is gone)"
    return "\n".join(text.splitlines()[-lines:])


async def _stop(process: Process, server: Server | None) -> None:
    """End the server: first by request, so that it ends its kernels too, then by its leash, then by signal.

    With a client attached the server answers the request when rooms and kernels are down (0.3 s), and then hangs
    in its stopped loop, as it does on SIGTERM (rtc facts, section 2): killing it then loses nothing more.
    """
    told = False
    if os.name == "posix":
        _signal_group(process, signal.SIGCONT)  # a stopped one could do nothing of what follows
    if server is not None and process.returncode is None:
        with anyio.move_on_after(_KINDLY_S), contextlib.suppress(CollabAgentError):
            async with JupyterApi(server, timeout_s=_KINDLY_S) as api:
                await api.shutdown()
                told = True
    if process.returncode is None and not told and process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(_FIRMLY_S if told else KINDLY_S + _FIRMLY_S):
        await process.wait()
    if process.returncode is None:
        _signal_group(process, signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    await process.aclose()


def _signal_group(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
